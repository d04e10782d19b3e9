// Package ylemtest is a Ylem in memory: a stateful stand-in for the HTTP API,
// named like net/http/httptest, for tests, the demo and ylem-sandbox only.
//
// It is written from the API's documents and from recorded answers of a real
// server, and shares no code with the client, so that a wrong field name in
// the client fails a test. Everything in it runs on one injectable clock; all
// times are UTC and all durations on the wire are milliseconds.
package ylemtest

import (
	"context"
	"crypto/x509"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Server is a Ylem API on a loopback port. Its methods may be called at any
// time from any goroutine.
type Server struct {
	// URL is the base URL, with the path prefix and without a trailing slash.
	URL string

	dialect       Dialect
	clock         func() time.Time
	tokenLifetime time.Duration
	prefix        string // as on the wire
	decodedPrefix string
	useTLS        bool
	runCapacity   int
	deadlocks     *deadlocks // nil = none
	oneTaskRunner bool
	http2         bool
	http2Only     bool
	strictALPN    bool
	listener      net.Listener // nil = a free loopback port
	keepAnswers   bool
	clientCAs     *x509.CertPool
	certificate   []byte

	http        *http.Server
	closed      chan struct{}
	closeOnce   sync.Once
	connections atomic.Int64
	observe     func(Request) // nil = not observed

	mu        sync.Mutex
	clients   map[string]*client
	tokens    map[string]*token
	refreshes map[string]*token
	pipelines map[string]*Pipeline
	runs      []Run
	rows      []timedRow
	requests  []*Request
	faults    []*Fault
	latency   time.Duration
	running   map[string]int // run requests under way, by pipeline
	firstRuns int            // those of pipelines that had not run before
	ran       map[string]bool
	history   []Run // every run, AddRun's included

	schedulerStops  outages
	clickHouseStops outages
	leftovers       counts
	lastID          int
}

// NewServer starts a server on a free loopback port. The caller closes it.
// Like httptest.NewServer it panics when it cannot listen.
func NewServer(opts ...Option) *Server {
	s := &Server{
		clock:         time.Now,
		tokenLifetime: 24 * time.Hour,
		closed:        make(chan struct{}),
		clients:       map[string]*client{},
		tokens:        map[string]*token{},
		refreshes:     map[string]*token{},
		pipelines:     map[string]*Pipeline{},
		running:       map[string]int{},
		ran:           map[string]bool{},
	}
	for _, opt := range opts {
		opt(s)
	}
	listener := s.listener
	if listener == nil {
		var err error
		if listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			panic("ylemtest: " + err.Error())
		}
	}
	scheme := "http"
	if s.useTLS {
		scheme = "https"
	}
	s.URL = scheme + "://" + listener.Addr().String() + s.prefix
	s.http = &http.Server{
		Handler:   http.HandlerFunc(s.handle),
		Protocols: new(http.Protocols),
		// A refused handshake is what some tests are about, not news.
		ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				s.connections.Add(1)
			}
		},
	}
	s.http.Protocols.SetHTTP1(true)
	s.http.Protocols.SetHTTP2(s.http2)
	s.http.Protocols.SetUnencryptedHTTP2(s.http2Only && !s.useTLS)
	if s.useTLS {
		s.http.TLSConfig = s.tlsConfig()
		go func() { _ = s.http.ServeTLS(listener, "", "") }()
	} else {
		go func() { _ = s.http.Serve(listener) }()
	}
	return s
}

// Close stops the server and drops every connection, also those of stalled
// requests. It may be called more than once.
func (s *Server) Close() {
	s.closeOnce.Do(func() {
		close(s.closed)
		_ = s.http.Close()
	})
}

// Connections is the number of TCP connections accepted so far.
func (s *Server) Connections() int {
	return int(s.connections.Load())
}

// SetLatency makes every answer take at least this much real time.
func (s *Server) SetLatency(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.latency = d
}

func (s *Server) now() time.Time {
	return s.clock().UTC()
}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	if s.http2Only && r.ProtoMajor == 1 {
		answerInHTTP2(w, r)
		return
	}
	c := s.arrive(r)
	if s.observe != nil {
		defer func() {
			s.mu.Lock()
			entry := *c.entry
			s.mu.Unlock()
			s.observe(entry)
		}()
	}
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	c.body, c.entry.Body = body, body
	s.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a := s.serve(r.Context(), c)
	s.mu.Lock()
	c.entry.Reason = a.reason
	s.mu.Unlock()
	if a.reset {
		resetConnection(w)
	}
	if a.drop {
		panic(http.ErrAbortHandler)
	}

	header := w.Header()
	header.Set("Date", s.now().Format(http.TimeFormat))
	if len(a.body) > 0 {
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
	}
	maps.Copy(header, a.header)
	// Noted before the first byte leaves: who has read the answer finds it.
	s.mu.Lock()
	c.entry.Status = a.status
	c.entry.Answer, c.entry.AnsweredAt = header.Clone(), s.now()
	if s.keepAnswers {
		c.entry.AnswerBody = a.body
	}
	s.mu.Unlock()
	w.WriteHeader(a.status)
	if a.truncate != 0 {
		_, _ = w.Write(a.body[:min(max(a.truncate, 0), len(a.body))])
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
	for part := range slices.Chunk(a.body, 64<<10) {
		n, err := w.Write(part)
		s.mu.Lock()
		c.entry.Sent += n
		s.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// wait takes real time. It is false when the client went away or the server
// was closed meanwhile.
func (s *Server) wait(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return true
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
	case <-s.closed:
	}
	return false
}
