package ylemtest

import (
	"bytes"
	"net/http"
	"slices"
	"time"
)

// Route names a kind of request. The routes of pipelines and of tasks share
// one name.
type Route string

// The routes of the API. RouteOther is whatever has no route.
const (
	RouteToken           Route = "token"
	RouteRun             Route = "run"
	RouteLogs            Route = "logs"
	RouteStats           Route = "stats"
	RouteAggregatedStats Route = "aggregated-stats"
	RouteLastRun         Route = "last-run"
	RouteOther           Route = "other"
)

// Request is one entry of the request log.
type Request struct {
	Route      Route
	Method     string
	Path       string // as escaped on the wire, without the prefix
	Query      string
	Header     http.Header
	Body       []byte
	Status     int // 0 = no answer given (yet)
	Sent       int // bytes of the answer's body that the connection took
	Proto      string
	Run        string      // UUID of the run that it started; "" = none
	Answer     http.Header // headers of the answer; nil = no answer given (yet)
	AnswerBody []byte      // as it was to be sent; only WithAnswers
	AnsweredAt time.Time   // zero = no answer given (yet)
	At         time.Time
	RemoteAddr string
	// Reason says in words why the request was refused, or why its answer may
	// be empty. It never went over the wire.
	Reason string
}

// Requests is the log of requests in order of arrival, of the given routes or
// of all. What net/http itself refuses, as a bad percent escape, is not in it.
func (s *Server) Requests(routes ...Route) []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Request
	for _, r := range s.requests {
		if len(routes) == 0 || slices.Contains(routes, r.Route) {
			entry := *r
			entry.Header = r.Header.Clone()
			entry.Body = bytes.Clone(r.Body)
			entry.Answer = r.Answer.Clone()
			found = append(found, entry)
		}
	}
	return found
}

// ResetRequests empties the log of requests.
func (s *Server) ResetRequests() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = nil
}
