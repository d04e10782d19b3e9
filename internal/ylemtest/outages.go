package ylemtest

import "time"

// outages is the times in which a service was down, in order.
type outages []outage

// outage lasts until a time, or on, and then that is zero.
type outage struct{ from, to time.Time }

func (o outages) down() bool {
	return len(o) > 0 && o[len(o)-1].to.IsZero()
}

func (o *outages) begin(now time.Time) {
	if !o.down() {
		*o = append(*o, outage{from: now})
	}
}

// end is false when the service was up.
func (o outages) end(now time.Time) bool {
	down := o.down()
	if down {
		o[len(o)-1].to = now
	}
	return down
}

// next is the earliest time, from t on, at which the service is up.
func (o outages) next(t time.Time) (at time.Time, up bool) {
	for _, out := range o {
		switch {
		case t.Before(out.from):
		case out.to.IsZero():
			return time.Time{}, false
		case t.Before(out.to):
			t = out.to
		}
	}
	return t, true
}

// upAt is whether the service was up, as far as is known by now.
func (o outages) upAt(t time.Time) bool {
	at, up := o.next(t)
	return up && at.Equal(t)
}

// StopScheduler does what an outage of MySQL leaves behind: the scheduler has
// exited. Run requests are still answered with 201, but no further task starts,
// in any run. Tasks that are running go on and report.
func (s *Server) StopScheduler() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.schedulerStops.begin(now)
	s.reschedule(now, "")
}

// StartScheduler starts what was ready while the scheduler was down.
func (s *Server) StartScheduler() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.schedulerStops.end(now) {
		s.reschedule(now, "")
	}
}

// StopClickHouse takes the database of the log and the statistics down. Their
// routes then answer as if nothing had ever run: no rows, zeros, null, and 403
// for the last run. Rows reported in the meantime are lost, except those of
// AddRows. Runs can still be started.
func (s *Server) StopClickHouse() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clickHouseStops.begin(now)
}

// StartClickHouse ends what StopClickHouse began. The lost rows stay lost.
func (s *Server) StartClickHouse() {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.clickHouseStops.end(now)
}

// LoseSessions restarts Redis without its data. The log and the statistics
// refuse every token issued so far with a 403 in JSON, as they refuse another
// organization's. Such a token still starts runs, and a new one works.
func (s *Server) LoseSessions() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.tokens {
		t.sessionLost = true
	}
}
