package ylemtest

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// hold starts a run request that is not answered, and returns once it has arrived.
func (s *testServer) hold(t *testing.T, pipeline string) {
	t.Helper()
	before := len(s.Requests(RouteRun))
	s.Inject(Fault{Route: RouteRun, PipelineUUID: pipeline, Stall: time.Hour})
	go s.run(pipeline, "")
	eventually(t, "the request is under way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		return len(s.requests) > before && s.running[pipeline] > 0
	})
}

func TestFirstRunsDeadlock(t *testing.T) {
	t.Parallel()
	s := start(t, WithDeadlocks(0))
	fresh := func() string { return s.AddPipeline(Pipeline{}).UUID }
	alone := fresh()
	if r := s.run(alone, ""); r.status != 201 {
		t.Fatalf("alone: %+v", r)
	}
	added, logged := fresh(), fresh()
	s.AddRun(added, s.clock.now())
	s.AddRows(Row{PipelineUUID: logged})

	s.hold(t, fresh())
	p := fresh()
	for i, want := range []int{500, 201, 201, 201} {
		if r := s.run(p, ""); r.status != want || want == 500 && (r.body != "" || r.header.Get("Content-Length") != "0") {
			t.Errorf("request %d: %+v, want %d", i, r, want)
		}
	}
	for name, pipeline := range map[string]string{"by request": alone, "by AddRun": added, "by AddRows": logged} {
		for range 2 {
			if r := s.run(pipeline, ""); r.status != 201 {
				t.Errorf("has run before, %s: %+v", name, r)
			}
		}
	}
	// A request that is refused for another reason does not deadlock.
	if r := s.run(s.AddPipeline(Pipeline{Paused: true}).UUID, ""); r.status != 403 {
		t.Errorf("paused: %+v", r)
	}
	if r := s.run(NewUUID(), ""); r.status != 404 {
		t.Errorf("unknown: %+v", r)
	}
	failed := 0
	for range 40 {
		if s.run(fresh(), "").status == 500 {
			failed++
		}
	}
	if failed != 20 || s.Deadlocks() != 21 {
		t.Errorf("%d of 40 deadlocked, %d in all", failed, s.Deadlocks())
	}
	if n := len(s.Runs("")); n != 1+3+6+20 {
		t.Errorf("%d runs", n)
	}
}

func TestDeadlocksInARow(t *testing.T) {
	t.Parallel()
	s := start(t, WithDeadlocks(1), WithRunCapacity(40))
	s.SetLatency(ms)
	var group sync.WaitGroup
	var most atomic.Int64
	for range 40 {
		p := s.AddPipeline(Pipeline{}).UUID
		group.Go(func() {
			for tries := int64(1); ; tries++ {
				r := s.run(p, "")
				if r.status == 500 {
					continue
				}
				if r.status != 201 {
					t.Errorf("%+v", r)
				}
				for {
					if known := most.Load(); known >= tries || most.CompareAndSwap(known, tries) {
						return
					}
				}
			}
		})
	}
	group.Wait()
	if n := len(s.Runs("")); n != 40 || most.Load() > 2 {
		t.Errorf("%d runs, at most %d requests for one", n, most.Load())
	}
}

func TestDeadlockOnTheWire(t *testing.T) {
	t.Parallel()
	s := start(t, WithDeadlocks(0))
	s.hold(t, s.AddPipeline(Pipeline{}).UUID)
	p := s.AddPipeline(Pipeline{}).UUID
	s.Inject(DeadlockFault(1))
	for _, how := range []string{"by a fault", "for real"} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /v1/pipelines/%s/runs/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n", p, s.token)
		text, err := io.ReadAll(bufio.NewReader(conn))
		want := "HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nContent-Type: application/json; charset=utf-8\r\nDate: " +
			s.clock.now().Format(http.TimeFormat) + "\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
		if string(text) != want || err != nil {
			t.Errorf("%s: %q, %v\nwant %q", how, text, err, want)
		}
	}
	if len(s.Runs("")) != 0 || s.Deadlocks() != 1 {
		t.Errorf("runs %v, %d deadlocks", s.Runs(""), s.Deadlocks())
	}
}
