package ylemtest

import (
	"net/http"
	"strings"
)

// WithRunCapacity lets requests to run more than n different pipelines at once
// fail with 500 and start nothing, whether they have run before or not. The
// real server's database deadlocks then, more often the more there are; here
// it is certain. See also WithDeadlocks.
func WithRunCapacity(n int) Option {
	return func(s *Server) { s.runCapacity = n }
}

// WithDeadlocks makes first runs deadlock: requests to run pipelines that have
// never run, as two at once can on the real server. A first run is contended
// if another one is in flight when it arrives. Of the contended ones the first,
// the third and so on are answered with an empty 500 and start nothing. If
// inARow is positive, no pipeline deadlocks more often than that in succession.
//
// A request is in flight until it is answered: SetLatency or a Fault that
// stalls makes requests meet. A pipeline has run before if a request or AddRun
// has started a run of it, or AddRows has added one of its rows.
func WithDeadlocks(inARow int) Option {
	return func(s *Server) { s.deadlocks = &deadlocks{limit: inARow, inARow: map[string]int{}} }
}

// DeadlockFault answers run requests as a deadlock does, whatever else is in
// flight. Times is as in Fault.
func DeadlockFault(times int) Fault {
	a := deadlock()
	return Fault{Route: RouteRun, Times: times, Status: a.status, Header: a.header}
}

// Deadlocks is the number of run requests that WithDeadlocks has refused.
func (s *Server) Deadlocks() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.deadlocks == nil {
		return 0
	}
	return s.deadlocks.count
}

type deadlocks struct {
	limit     int
	contended int            // requests so far that could have deadlocked
	count     int            // those that did
	inARow    map[string]int // by pipeline, since its last success
}

// strike decides about a contended request.
func (d *deadlocks) strike(pipeline string) bool {
	if d.limit > 0 && d.inARow[pipeline] >= d.limit {
		return false
	}
	d.contended++
	if d.contended%2 == 0 {
		return false
	}
	d.inARow[pipeline]++
	d.count++
	return true
}

func deadlock() answer {
	a := emptyAnswer(http.StatusInternalServerError)
	a.header.Set("Content-Length", "0")
	return a
}

// enter counts a run request as under way until it is left. There is no room for it where it is about one pipeline
// more than the server can start at once.
func (s *Server) enter(c *call) (leave func(), room bool) {
	if c.route != RouteRun {
		return func() {}, true
	}
	pipeline := strings.ToLower(c.subject)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.runCapacity > 0 && s.running[pipeline] == 0 && len(s.running) >= s.runCapacity {
		return func() {}, false
	}
	s.running[pipeline]++
	first := 0
	if s.pipelines[pipeline] != nil && !s.ran[pipeline] {
		first = 1
		c.contended = s.firstRuns > 0
	}
	s.firstRuns += first
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.firstRuns -= first
		if s.running[pipeline]--; s.running[pipeline] == 0 {
			delete(s.running, pipeline)
		}
	}, true
}
