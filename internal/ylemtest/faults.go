package ylemtest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Fault makes requests fail, or take long. The zero Fault hits the next
// request of any route and changes nothing.
type Fault struct {
	Route        Route  // "" = every route
	PipelineUUID string // only requests about this pipeline or task; "" = about any
	Times        int    // how many requests it hits; 0 = one, negative = until cleared
	Skip         int    // lets that many matching requests pass first, whatever else they meet
	// After lets the server do its work first, so that a run is started
	// although its client never learns so. Otherwise Status and Drop happen
	// before, and nothing is started.
	After  bool
	Status int         // answer with this status instead of the true one
	Header http.Header // with these headers; without Status they join the true ones
	Body   string      // with this body; without Status it replaces the true one
	Prefix string      // text before the body, also before the true one, such as a byte order mark
	Suffix string      // text after it
	Drop   bool        // close the connection without an answer
	Reset  bool        // the same, but as when a machine dies: the client sees a reset (over HTTP/2, like Drop)
	Echo   bool        // the body also repeats the request, as of a proxy that helps to debug
	// ExpireTokens makes every token issued so far an expired one, first of all.
	ExpireTokens bool
	// Truncate cuts the body after this many bytes and drops the connection;
	// Content-Length announces the whole. Negative = not one byte of the body.
	Truncate int
	// Stall waits this long in real time before going on as said above. When
	// the client leaves or the server closes meanwhile, nothing more happens.
	Stall time.Duration
}

// Inject adds faults. Of several that match a request the oldest that is not
// used up hits it.
func (s *Server) Inject(faults ...Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range faults {
		f.Header = f.Header.Clone()
		if f.Times == 0 {
			f.Times = 1
		}
		s.faults = append(s.faults, &f)
	}
}

// ClearFaults removes all faults. Requests that stall already go on stalling.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

// nextFault uses up one hit of the fault that a request meets, if any.
func (s *Server) nextFault(c *call) (Fault, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var met *Fault
	for _, f := range s.faults {
		if f.Route != "" && f.Route != c.route {
			continue
		}
		if f.PipelineUUID != "" && !strings.EqualFold(f.PipelineUUID, c.subject) {
			continue
		}
		if f.Skip > 0 {
			f.Skip--
			continue
		}
		if met == nil && f.Times != 0 {
			met = f
			f.Times = max(f.Times-1, -1)
		}
	}
	if met == nil {
		return Fault{}, false
	}
	return *met, true
}

// echo is the request as a text.
func (c *call) echo() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\n%s %s\n", c.Method, c.URL)
	_ = c.Header.Write(&b)
	b.WriteString("\n")
	b.Write(c.body)
	return b.Bytes()
}

// serve is the true answer, or what a fault makes of it.
func (s *Server) serve(ctx context.Context, c *call) answer {
	leave, room := s.enter(c)
	defer leave()
	if !room {
		return emptyAnswer(http.StatusInternalServerError).because("the server starts too many runs at once")
	}
	s.mu.Lock()
	latency := s.latency
	s.mu.Unlock()
	fault, met := s.nextFault(c)
	if !s.wait(ctx, latency) {
		return dropped
	}
	if !met {
		return s.truth(c)
	}
	if fault.ExpireTokens {
		s.ExpireTokens()
	}

	var a answer
	if fault.After {
		a = s.truth(c)
	}
	if !s.wait(ctx, fault.Stall) || fault.Drop {
		return dropped
	}
	if fault.Reset {
		return answer{drop: true, reset: true}
	}
	if fault.Status != 0 {
		a = answer{status: fault.Status, header: fault.Header, body: []byte(fault.Body), reason: "a fault was injected"}
	} else {
		if !fault.After {
			a = s.truth(c)
		}
		if a.drop {
			return a
		}
		if fault.Header != nil {
			header := http.Header{}
			maps.Copy(header, a.header)
			maps.Copy(header, fault.Header)
			a.header = header
		}
		if fault.Body != "" {
			a.body = []byte(fault.Body)
		}
	}
	if fault.Prefix != "" || fault.Suffix != "" {
		a.body = slices.Concat([]byte(fault.Prefix), a.body, []byte(fault.Suffix))
	}
	if fault.Echo {
		a.body = append(bytes.Clone(a.body), c.echo()...)
	}
	a.truncate = fault.Truncate
	return a
}
