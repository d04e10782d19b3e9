package provider

import (
	"context"
	"os"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// process is one that is sent SIGTERM.
type process struct {
	mu       sync.Mutex
	signals  chan<- os.Signal // nil: SIGTERM would end it at once
	exited   bool
	exitedAt time.Time
}

func (p *process) notify(signals chan<- os.Signal) (stop func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.signals = signals
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.signals = nil
	}
}

func (p *process) exit() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.exited, p.exitedAt = true, time.Now()
}

func (p *process) termination() *termination { return newTermination(p.notify, p.exit) }

// terminate sends SIGTERM.
func (p *process) terminate(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.signals == nil {
		t.Error("SIGTERM ends the process at once")
		return
	}
	p.signals <- syscall.SIGTERM
}

func (p *process) expect(t *testing.T, listening, exited bool) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	if (p.signals != nil) != listening || p.exited != exited {
		t.Errorf("takes SIGTERM: %t, want %t; ended: %t, want %t", p.signals != nil, listening, p.exited, exited)
	}
}

// wait lets time pass, and then all that was due happen.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestSIGTERMHasItsDefaultMeaningAtRest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p process
		termination := p.termination()
		p.expect(t, false, false)
		_, end := termination.begin(t.Context())
		_, endOther := termination.begin(t.Context())
		end()
		wait(2 * answerTime)
		p.expect(t, true, false) // for the other one
		endOther()
		wait(answerTime / 2)
		p.expect(t, true, false) // the answer is on its way
		_, end = termination.begin(t.Context())
		end()
		wait(answerTime * 3 / 4)
		p.expect(t, true, false) // so is the second one
		_, end = termination.begin(t.Context())
		wait(answerTime)
		p.expect(t, true, false)
		end()
		wait(answerTime)
		p.expect(t, false, false)
	})
}

func TestSIGTERMEndsCallsAndThenTheProcess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p process
		termination := p.termination()
		ctx, end := termination.begin(t.Context())
		wait(time.Minute)
		if ctx.Err() != nil {
			t.Error("the call ends by itself")
		}
		p.terminate(t)
		<-ctx.Done()
		// One that begins now has ended already.
		if late, end := termination.begin(t.Context()); late.Err() == nil {
			t.Error("a call begins in a process that ends")
		} else {
			end()
		}
		wait(2 * answerTime)
		p.expect(t, true, false)
		end()
		wait(answerTime - 1)
		p.expect(t, true, false)
		wait(1)
		p.expect(t, false, true)
	})
}

func TestSIGTERMWhileAnAnswerIsOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p process
		_, end := p.termination().begin(t.Context())
		end()
		wait(answerTime / 2)
		p.terminate(t)
		wait(0)
		p.expect(t, true, false)
		wait(answerTime)
		p.expect(t, false, true)
	})
}

func TestSIGTERMEndsTheProcessThoughACallDoesNotEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var p process
		_, end := p.termination().begin(t.Context())
		begin := time.Now()
		p.terminate(t)
		wait(time.Hour)
		if took := p.exitedAt.Sub(begin); !p.exited || took != terminationTime {
			t.Errorf("ended: %t, after %s", p.exited, took)
		}
		end()
		wait(answerTime)
	})
}

// terminable is a provider in a process of its own, as it were.
func (s *sandbox) terminable(t *testing.T) (*protocol, *process) {
	t.Helper()
	connection, p := s.connect(t, nil), new(process)
	own := connection.server.(server)
	own.termination = p.termination()
	connection.server = own
	return connection, p
}

func TestSIGTERMEndsAWait(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline, arguments := s.waitingAction()
	connection, p := s.terminable(t)
	go func() {
		if happens(func() bool { return s.count(ylemtest.RouteLogs) > 0 }) {
			p.terminate(t)
		}
	}()
	state, diags := connection.create(t, arguments)
	diags.expectWarning(t, "", "Stopped waiting for the run", "The next apply resumes waiting")
	state.expect(t, object{"id": s.Runs(pipeline)[0].UUID, "status": "pending"})
	eventually(t, "the process ends", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.exited
	})
}

func TestSIGTERMEndsAnAction(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline, arguments := s.waitingAction()
	connection, p := s.terminable(t)
	go func() {
		if happens(func() bool { return s.count(ylemtest.RouteLogs) > 0 }) {
			p.terminate(t)
		}
	}()
	_, diags := connection.invoke(t.Context(), t, arguments)
	diags.expectError(t, "", "Stopped waiting for the run", s.Runs(pipeline)[0].UUID)
}

func TestSIGTERMIsNotTakenWhileNothingIsStarted(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.AddPipeline(ylemtest.Pipeline{}).UUID
	connection, p := s.terminable(t)
	connection.mustRead(t, "ylem_pipeline_stats", object{"pipeline_uuid": pipeline, "lookback": "1h"})
	p.expect(t, false, false)
	if _, err := connection.server.StopProvider(context.Background(), &tfprotov6.StopProviderRequest{}); err != nil {
		t.Error(err)
	}
	p.expect(t, false, false)
}
