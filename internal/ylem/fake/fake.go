// Package fake serves literal answers as a Ylem that grants tokens, for the tests of the client's packages.
package fake

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// What most tests ask about.
const (
	PipelineUUID = "10000000-0000-4000-8000-00000000000a"
	TaskUUID     = "30000000-0000-4000-8000-0000000000aa"
	RunUUID      = "0e204465-c35b-46ae-861d-c2ea130720c3"

	// Prefix is the path that the API is served under: a request that forgets it fails the test.
	Prefix = "/behind/a%20proxy"

	StartedRun = `{"pipeline_run_uuid":"` + RunUUID + `"}`
	Forbidden  = `{"code":403,"message":"Forbidden"}` + "\n"
	LastRun    = `{"is_successful":true,"duration":7,"executed_at":"2025-12-31 23:59:59"}`
)

// Recorded is a request as it came over the wire.
type Recorded struct {
	Method, Path string // escaped, without the prefix
	Query        string
	Header       http.Header
	Body         string
	Length       int64
}

// Server is a Ylem that hands out tokens TOKEN-1, TOKEN-2 and so on, and leaves the rest to API.
type Server struct {
	t     *testing.T
	Token http.HandlerFunc // nil: grants
	API   http.HandlerFunc

	mu            sync.Mutex
	tokenRequests []Recorded
	apiRequests   []Recorded
}

// ServeHTTP answers a request.
func (f *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Logf("reading a request: %v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), Prefix)
	if !ok {
		f.t.Errorf("%s %s is not under the base URL", r.Method, r.URL)
	}
	got := Recorded{
		Method: r.Method, Path: path, Query: r.URL.RawQuery,
		Header: r.Header.Clone(), Body: string(body), Length: r.ContentLength,
	}

	f.mu.Lock()
	isToken := path == "/v1/oauth/token"
	if isToken {
		f.tokenRequests = append(f.tokenRequests, got)
	} else {
		f.apiRequests = append(f.apiRequests, got)
	}
	n, token, api := len(f.tokenRequests), f.Token, f.API
	f.mu.Unlock()

	switch {
	case !isToken:
		api(w, r)
	case token != nil:
		token(w, r)
	default:
		Grant(w, n, 86400, "stats:read,pipelines:run")
	}
}

// AnswerWith changes what is answered from now on.
func (f *Server) AnswerWith(token, api http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Token, f.API = token, api
}

// Tokens returns the requests so far of the token endpoint.
func (f *Server) Tokens() []Recorded { f.mu.Lock(); defer f.mu.Unlock(); return f.tokenRequests }

// Calls returns all other requests so far.
func (f *Server) Calls() []Recorded { f.mu.Lock(); defer f.mu.Unlock(); return f.apiRequests }

// Grant answers as the open-source server's token endpoint does.
func Grant(w http.ResponseWriter, n, expiresIn int, scope string) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	fmt.Fprintf(w, `{"access_token":"TOKEN-%d","expires_in":%d,"refresh_token":"REFRESH-%d","scope":"%s","token_type":"Bearer"}`+"\n",
		n, expiresIn, n, scope)
}

// New answers every call of the API with one handler; NewClient or NewPipeClient connects to it.
func New(t *testing.T, api http.HandlerFunc) *Server {
	t.Helper()
	return &Server{t: t, API: api}
}

// NewClientAt connects to a URL.
func NewClientAt(t *testing.T, url string, change ...func(*request.Config)) *ylem.Client {
	t.Helper()
	cfg := request.Config{
		BaseURL: url, ClientID: "client-id", ClientSecret: "client-secret",
		RetryWait: time.Millisecond, MaxRetries: 2, RequestTimeout: time.Minute,
	}
	for _, f := range change {
		f(&cfg)
	}
	client, err := ylem.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// NewClient serves f over TCP.
func NewClient(t *testing.T, f *Server, change ...func(*request.Config)) *ylem.Client {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return NewClientAt(t, server.URL+Prefix, change...)
}

// Pipe is a listener in memory, so that client and server can live in a synctest bubble.
type Pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	Refuse func() bool
}

// Accept waits for a connection.
func (p *Pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

// Close ends Accept.
func (p *Pipe) Close() error { close(p.closed); return nil }

// Addr names the pipe.
func (p *Pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *Pipe) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	if p.Refuse != nil && p.Refuse() {
		return nil, &net.OpError{Op: "dial", Net: network, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	near, far := net.Pipe()
	select {
	case p.conns <- far:
		return near, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// NewPipeClient serves f in memory. Each attempt opens a connection of its own, so that attempts can be counted.
func NewPipeClient(t *testing.T, f *Server, change ...func(*request.Config)) (*ylem.Client, *Pipe) {
	t.Helper()
	p := &Pipe{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(p) }()
	t.Cleanup(func() { _ = server.Close() })
	client := NewClientAt(t, "http://ylem.test"+Prefix, append([]func(*request.Config){func(cfg *request.Config) {
		cfg.Transport = &http.Transport{DialContext: p.dial, DisableKeepAlives: true}
	}}, change...)...)
	return client, p
}

// Answer is a handler of one literal answer. Headers are pairs of a name and a value.
func Answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // no guess where the case gives none
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// The types of Ylem's answers.
const (
	TypeJSON = "application/json; charset=utf-8"
	TypeText = "text/plain; charset=utf-8"
	TypeHTML = "text/html"
)

// AnswerJSON is a handler that answers 200 with a JSON text.
func AnswerJSON(body string) http.HandlerFunc {
	return Answer(http.StatusOK, body, "Content-Type", "application/json")
}

// Drop closes the connection without an answer.
func Drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// Stall never answers.
func Stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// AsError is err as the client's own error; anything else fails the test.
func AsError(t *testing.T, err error) *request.Error {
	t.Helper()
	e, ok := errors.AsType[*request.Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want an *request.Error", err, err)
	}
	return e
}

// Fixture is a file of the folder testdata.
func Fixture(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// Day is a time of January 2024, UTC.
func Day(d, hour, minute, second int) time.Time {
	return time.Date(2024, time.January, d, hour, minute, second, 0, time.UTC)
}

// Calls are all requests of the API by name, for what must hold for each of them.
var Calls = map[string]func(context.Context, *ylem.Client, string) error{
	"run": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.RunPipeline(ctx, uuid, ylem.Input{})
		return err
	},
	"logs": func(ctx context.Context, c *ylem.Client, uuid string) error {
		for _, err := range c.PipelineLogs(ctx, uuid, Day(1, 0, 0, 0), Day(31, 23, 59, 59)) {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"stats": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.Stats(ctx, ylem.Tasks, uuid, Day(1, 0, 0, 0), Day(31, 23, 59, 59))
		return err
	},
	"aggregated stats": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.AggregatedStats(ctx, ylem.Pipelines, uuid, Day(1, 0, 0, 0), "month", 12)
		return err
	},
	"last run": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.LastRun(ctx, ylem.Pipelines, uuid)
		return err
	},
}

// CallLastRun asks about another pipeline each time: those who ask for the same at the same time share a request.
func CallLastRun(ctx context.Context, c *ylem.Client) error {
	return Calls["last run"](ctx, c, fmt.Sprintf("10000000-0000-4000-8000-%012d", asked.Add(1)))
}

var asked atomic.Int64

// CheckText holds for every error's text: one line, printable, and no longer than a person reads.
func CheckText(t *testing.T, text string) {
	t.Helper()
	if !utf8.ValidString(text) || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		t.Errorf("not one printable line: %q", text)
	}
	if len(text) > 4000 {
		t.Errorf("%d bytes long: %.100q…", len(text), text)
	}
}
