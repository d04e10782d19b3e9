// Package ylemtest is a Ylem in memory: a stateful stand-in for the HTTP API,
// named like net/http/httptest, for tests and the demo only.
//
// It is written from the API's documents and from recorded answers of a real
// server, and shares no code with the client, so that a wrong field name in
// the client fails a test. Everything in it runs on one injectable clock; all
// times are UTC and all durations on the wire are milliseconds.
package ylemtest

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"html"
	"io"
	"log"
	"maps"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Dialect is the form of the API that a Server speaks.
type Dialect int

// The two known forms of the API.
const (
	// OpenSource is what a running open-source Ylem was observed to answer.
	OpenSource Dialect = iota
	// Reference is the published reference of the hosted service.
	Reference
)

// Server is a Ylem API on a loopback port. Its methods may be called at any
// time from any goroutine.
type Server struct {
	// URL is the base URL, with the path prefix and without a trailing slash.
	URL string

	dialect       Dialect
	clock         func() time.Time
	tokenLifetime time.Duration
	prefix        string
	useTLS        bool
	runCapacity   int
	http2         bool
	clientCAs     *x509.CertPool
	certificate   []byte

	http        *http.Server
	closed      chan struct{}
	closeOnce   sync.Once
	connections atomic.Int64

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
	lastID    int
}

// Option changes how NewServer makes a Server.
type Option func(*Server)

// WithDialect makes the server speak the given dialect instead of OpenSource.
func WithDialect(d Dialect) Option {
	return func(s *Server) { s.dialect = d }
}

// WithClock gives the server its clock: the Date header, the progress of runs
// and the expiry of tokens follow it. The default is time.Now. Only stalls
// and latency take real time.
func WithClock(now func() time.Time) Option {
	return func(s *Server) { s.clock = now }
}

// WithTokenLifetime sets how long access tokens live, instead of 24 hours.
func WithTokenLifetime(d time.Duration) Option {
	return func(s *Server) { s.tokenLifetime = d }
}

// WithRunCapacity lets requests to run more than n different pipelines at once
// fail with 500 and start nothing. The real server's database deadlocks then,
// more often the more there are; here it is certain.
func WithRunCapacity(n int) Option {
	return func(s *Server) { s.runCapacity = n }
}

// WithPathPrefix puts all routes under a prefix, as behind a reverse proxy.
// URL ends with it, and paths outside it are not found.
func WithPathPrefix(prefix string) Option {
	return func(s *Server) {
		if prefix = strings.Trim(prefix, "/"); prefix != "" {
			s.prefix = "/" + prefix
		}
	}
}

// WithTLS serves https with a certificate of its own, see CertificatePEM. With
// a pool, clients must present a certificate that the pool vouches for.
func WithTLS(clientCAs *x509.CertPool) Option {
	return func(s *Server) { s.useTLS, s.clientCAs = true, clientCAs }
}

// WithHTTP2 makes a server WithTLS offer HTTP/2, as a proxy in front of the
// real one does; that speaks HTTP/1.1 only.
func WithHTTP2() Option {
	return func(s *Server) { s.http2 = true }
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
	}
	for _, opt := range opts {
		opt(s)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic("ylemtest: " + err.Error())
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

// CertificatePEM is the certificate of a server made WithTLS, self-signed and
// thus also the authority to trust. It is empty without TLS.
func (s *Server) CertificatePEM() string {
	if s.certificate == nil {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.certificate}))
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

func (s *Server) tlsConfig() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: "ylemtest"},
		// Wide, because tests may live in another year than the machine.
		NotBefore:             time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:              time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
		DNSNames:              []string{"localhost"},
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:                  true,
		BasicConstraintsValid: true,
	}
	s.certificate, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{{Certificate: [][]byte{s.certificate}, PrivateKey: key}},
	}
	if s.clientCAs != nil {
		config.ClientCAs = s.clientCAs
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

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
	At         time.Time
	RemoteAddr string
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

// call is a request on its way to an answer.
type call struct {
	*http.Request
	entry   *Request
	route   Route
	tasks   bool     // the subject is a task, not a pipeline
	subject string   // uuid of the subject, decoded, not yet validated
	args    []string // the path's segments after that, decoded
	body    []byte
	refusal *answer // what the router itself answers
}

// answer is what goes over the wire. Keeping it as a value lets faults change
// it after the fact.
type answer struct {
	status   int
	header   http.Header
	body     []byte
	truncate int  // as in Fault
	drop     bool // close the connection instead
	reset    bool // and make the client notice
}

var dropped = answer{drop: true}

func (s *Server) handle(w http.ResponseWriter, r *http.Request) {
	c := s.arrive(r)
	body, err := io.ReadAll(r.Body)
	s.mu.Lock()
	c.body, c.entry.Body = body, body
	s.mu.Unlock()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	a := s.serve(r.Context(), c)
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

// resetConnection lets the client's next look at its connection fail with ECONNRESET, where the protocol allows that.
func resetConnection(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if plain, ok := conn.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
	}
	_ = conn.Close()
}

// arrive finds the route of a request and logs it.
func (s *Server) arrive(r *http.Request) *call {
	c := &call{Request: r, route: RouteOther}
	logged := r.URL.EscapedPath()
	escaped, inside := strings.CutPrefix(logged, s.prefix)
	decoded, _ := strings.CutPrefix(r.URL.Path, s.prefix)
	if inside && strings.HasPrefix(escaped, "/") {
		logged = escaped
		s.findRoute(c, escaped, decoded)
	} else {
		c.refusal = &notFound
	}
	c.entry = &Request{
		Route:      c.route,
		Method:     r.Method,
		Path:       logged,
		Query:      r.URL.RawQuery,
		Header:     r.Header.Clone(),
		Proto:      r.Proto,
		At:         s.now(),
		RemoteAddr: r.RemoteAddr,
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, c.entry)
	return c
}

var (
	notFound = textAnswer(http.StatusNotFound, "404 page not found\n")
	// The gateway answers these itself, with neither body nor Content-Type.
	unauthorized     = answer{status: http.StatusUnauthorized}
	scopeMissing     = answer{status: http.StatusForbidden}
	methodNotAllowed = answer{status: http.StatusMethodNotAllowed}
)

// findRoute fills in the route's fields. The real gateway has two routers in a
// row: the first cleans the escaped path, the second the decoded one.
func (s *Server) findRoute(c *call, escaped, decoded string) {
	if clean := cleanPath(escaped); clean != escaped {
		redirect := s.redirect(c.Request, clean)
		c.refusal = &redirect
		return
	}
	if clean := cleanPath(decoded); clean != decoded {
		location := url.URL{Path: s.prefix + clean, RawQuery: c.URL.RawQuery}
		c.refusal = &answer{status: http.StatusMovedPermanently, header: http.Header{"Location": {location.String()}}}
		return
	}

	method := http.MethodGet
	parts := strings.Split(strings.TrimPrefix(decoded, "/"), "/")
	switch {
	case decoded == "/v1/oauth/token":
		c.route = RouteToken
		if c.Method == http.MethodPost {
			method = http.MethodPost
		}
	case len(parts) == 5 && parts[0] == "v1" && parts[1] == "pipelines" && parts[3] == "runs" && parts[4] == "":
		c.route, c.subject, method = RouteRun, parts[2], http.MethodPost
	case len(parts) >= 6 && parts[0] == "v1" && parts[1] == "stats" && (parts[2] == "pipelines" || parts[2] == "tasks") && parts[len(parts)-1] != "":
		c.tasks = parts[2] == "tasks"
		c.subject, c.args = parts[3], parts[5:]
		switch name := parts[4]; {
		case name == "logs" && len(c.args) == 2 && !c.tasks:
			c.route = RouteLogs
			if c.Method != http.MethodGet {
				c.refusal = &methodNotAllowed
				return
			}
		case name == "last-runs-log" && len(c.args) == 2 && !c.tasks:
			c.route = RouteLogs
		case name == "stats" && len(c.args) == 2:
			c.route = RouteStats
		case name == "aggregated-stats" && len(c.args) == 3:
			c.route = RouteAggregatedStats
		case name == "last-run" && len(c.args) == 1 && c.args[0] == "stats":
			c.route = RouteLastRun
		}
	}
	if c.route == RouteOther || c.Method != method {
		c.route = RouteOther
		c.refusal = &notFound
	}
}

// redirect leads to the clean path. As on the real server the escaped path is
// escaped once more, so that following it fails for paths with a date.
func (s *Server) redirect(r *http.Request, clean string) answer {
	target := url.URL{Path: s.prefix + clean, RawQuery: r.URL.RawQuery}
	location := target.String()
	a := answer{status: http.StatusTemporaryRedirect, header: http.Header{"Location": {location}}}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		a.header.Set("Content-Type", "text/html; charset=utf-8")
	}
	if r.Method == http.MethodGet {
		a.body = []byte(`<a href="` + html.EscapeString(location) + `">Temporary Redirect</a>.` + "\n\n")
	}
	return a
}

func cleanPath(p string) string {
	clean := path.Clean(p)
	if strings.HasSuffix(p, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}

// truth is the answer without faults. The order of the checks is the real
// server's: route, token, scope, and only then what the route itself wants.
func (s *Server) truth(c *call) answer {
	switch {
	case c.refusal != nil:
		return *c.refusal
	case c.route == RouteToken:
		return s.issueToken(c)
	}
	scope := scopeStats
	if c.route == RouteRun {
		scope = scopeRun
	}
	organization, refused := s.authorize(c.Header.Get("Authorization"), scope)
	if refused != nil {
		return *refused
	}
	switch c.route {
	case RouteRun:
		return s.startRun(c)
	case RouteLogs:
		return s.logs(c, organization)
	case RouteStats:
		return s.stats(c, organization)
	case RouteAggregatedStats:
		return s.aggregatedStats(c, organization)
	default:
		return s.lastRun(c, organization)
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

func textAnswer(status int, body string) answer {
	return answer{
		status: status,
		header: http.Header{
			"Content-Type":           {"text/plain; charset=utf-8"},
			"X-Content-Type-Options": {"nosniff"},
		},
		body: []byte(body),
	}
}

// dataAnswer is a success of the statistics routes.
func dataAnswer(v any) answer {
	body, err := json.Marshal(v)
	if err != nil {
		// A metric that is not a number: the real server stumbles over it too.
		return errorAnswer(http.StatusInternalServerError, "Internal error")
	}
	return answer{status: http.StatusOK, header: http.Header{"Content-Type": {"application/json"}}, body: body}
}

// errorAnswer is the error form of the statistics service.
func errorAnswer(status int, message string, details ...string) answer {
	body, err := json.Marshal(struct {
		Code    int      `json:"code"`
		Message string   `json:"message"`
		Errors  []string `json:"errors,omitempty"`
	}{status, message, details})
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	return answer{status: status, header: errorHeader(), body: append(body, '\n')}
}

func errorHeader() http.Header {
	return http.Header{
		"Content-Type":           {"application/json; charset=utf-8"},
		"X-Content-Type-Options": {"nosniff"},
	}
}

func badRequest(details []string) answer {
	return errorAnswer(http.StatusBadRequest, "Bad Request", details...)
}

func forbidden() answer {
	return errorAnswer(http.StatusForbidden, "Forbidden")
}
