package provider

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// CI systems, systemd and timeout(1) send SIGTERM to a whole process group: to Terraform, which stops in good order,
// and to its providers, which die of it, and with them what they know of a run that was just started. So while
// a call is under way that may start a run or wait for one, SIGTERM only ends that call, like Terraform's own StopProvider;
// the process ends a little later. At any other time SIGTERM has its default meaning. (SIGINT is ignored by go-plugin:
// Terraform gets it too.)

const (
	// stopTime is how long Terraform's own StopProvider is given to come first. If we answered before
	// Terraform handled SIGTERM, it would continue the apply.
	stopTime = 500 * time.Millisecond
	// answerTime is how long an answer takes to reach Terraform, at most. Until then the call counts as under way.
	answerTime = time.Second
	// terminationTime is when the process ends even if a call is still under way: later than the client gives up the answer to
	// a start, because without it nothing knows the run.
	terminationTime = 14 * time.Second
)

// notifySIGTERM sends SIGTERM to a channel instead of ending the process.
func notifySIGTERM(signals chan<- os.Signal) (stop func()) {
	signal.Notify(signals, syscall.SIGTERM)
	return func() { signal.Stop(signals) }
}

// exitTerminated ends the process with the code that shells report for SIGTERM.
func exitTerminated() { os.Exit(128 + int(syscall.SIGTERM)) }

// termination is what SIGTERM does to calls under way.
type termination struct {
	notify func(chan<- os.Signal) (stop func())
	exit   func()

	requested context.Context // ends with SIGTERM
	request   context.CancelFunc

	mu       sync.Mutex
	signaled bool // SIGTERM has come
	underWay int
	changes  int            // counts begins and ends
	signals  chan os.Signal // nil when nothing is under way
	stop     func()         // no more signals
}

func newTermination(notify func(chan<- os.Signal) (stop func()), exit func()) *termination {
	t := &termination{notify: notify, exit: sync.OnceFunc(exit)}
	t.requested, t.request = context.WithCancel(context.Background())
	return t
}

// begin returns a context that also ends with SIGTERM. The call is under way until end, and its answer a little longer.
func (t *termination) begin(ctx context.Context) (_ context.Context, end func()) {
	ctx, cancel := context.WithCancel(ctx)
	if t == nil {
		return ctx, cancel
	}
	unlink := context.AfterFunc(t.requested, cancel)
	if t.requested.Err() != nil {
		cancel() // at once, not a moment later
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.underWay++
	t.changes++
	if t.signals == nil {
		t.signals = make(chan os.Signal, 1)
		t.stop = t.notify(t.signals)
		go t.listen(t.signals)
	}
	return ctx, func() {
		unlink()
		cancel()
		t.mu.Lock()
		defer t.mu.Unlock()
		t.underWay--
		t.changes++
		change := t.changes
		time.AfterFunc(answerTime, func() { t.settle(change) })
	}
}

// listen waits for SIGTERM, or until the channel is closed.
func (t *termination) listen(signals <-chan os.Signal) {
	if _, ok := <-signals; !ok {
		return
	}
	time.AfterFunc(terminationTime, t.exit)
	time.AfterFunc(stopTime, t.request)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.signaled = true
	if t.signals == nil { // settled, while the signal was on its way
		t.exit()
	}
}

// settle gives SIGTERM its default meaning back, unless something has begun or ended since the change. Where SIGTERM has
// come meanwhile, the process ends.
func (t *termination) settle(change int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.underWay > 0 || t.changes != change {
		return
	}
	t.stop()
	close(t.signals) // listen still gets a signal that is in it
	t.signals = nil
	if t.signaled {
		t.exit()
	}
}

// ApplyResourceChange ends with SIGTERM, with the state as it is then.
func (s server) ApplyResourceChange(ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	ctx, end := s.termination.begin(ctx)
	defer end()
	return s.ProviderServer.ApplyResourceChange(ctx, req)
}
