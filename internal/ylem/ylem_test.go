package ylem_test

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

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

const (
	pipelineUUID = "10000000-0000-4000-8000-00000000000a"
	taskUUID     = "30000000-0000-4000-8000-0000000000aa"
	runUUID      = "0e204465-c35b-46ae-861d-c2ea130720c3"

	// prefix is the path that the API is served under: a request that forgets it fails the test.
	prefix = "/behind/a%20proxy"

	startedRun = `{"pipeline_run_uuid":"` + runUUID + `"}`
	lastRun    = `{"is_successful":true,"duration":7,"executed_at":"2025-12-31 23:59:59"}`
)

// recorded is a request as it came over the wire.
type recorded struct {
	Method, Path string // escaped, without the prefix
	Query        string
	Header       http.Header
	Body         string
	Length       int64
}

// fake is a Ylem that hands out tokens TOKEN-1, TOKEN-2 and so on, and leaves the rest to api.
type fake struct {
	t     *testing.T
	token http.HandlerFunc // nil: grants
	api   http.HandlerFunc

	mu            sync.Mutex
	tokenRequests []recorded
	apiRequests   []recorded
}

func (f *fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		f.t.Logf("reading a request: %v", err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	path, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix)
	if !ok {
		f.t.Errorf("%s %s is not under the base URL", r.Method, r.URL)
	}
	got := recorded{
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
	n, token, api := len(f.tokenRequests), f.token, f.api
	f.mu.Unlock()

	switch {
	case !isToken:
		api(w, r)
	case token != nil:
		token(w, r)
	default:
		grant(w, n, 86400, "stats:read,pipelines:run")
	}
}

// answerWith changes what is answered from now on.
func (f *fake) answerWith(token, api http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.token, f.api = token, api
}

// tokens and calls return the requests so far of the token endpoint and of all the others.
func (f *fake) tokens() []recorded { f.mu.Lock(); defer f.mu.Unlock(); return f.tokenRequests }
func (f *fake) calls() []recorded  { f.mu.Lock(); defer f.mu.Unlock(); return f.apiRequests }

// grant answers as the open-source server's token endpoint does.
func grant(w http.ResponseWriter, n, expiresIn int, scope string) {
	w.Header().Set("Content-Type", "application/json;charset=UTF-8")
	fmt.Fprintf(w, `{"access_token":"TOKEN-%d","expires_in":%d,"refresh_token":"REFRESH-%d","scope":"%s","token_type":"Bearer"}`+"\n",
		n, expiresIn, n, scope)
}

// newFake answers every call of the API with one handler; newClient or newPipeClient connects to it.
func newFake(t *testing.T, api http.HandlerFunc) *fake {
	t.Helper()
	return &fake{t: t, api: api}
}

func newClientAt(t *testing.T, url string, change ...func(*ylem.Config)) *ylem.Client {
	t.Helper()
	cfg := ylem.Config{
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

// newClient serves f over TCP.
func newClient(t *testing.T, f *fake, change ...func(*ylem.Config)) *ylem.Client {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	return newClientAt(t, server.URL+prefix, change...)
}

// pipe is a listener in memory, so that client and server can live in a synctest bubble.
type pipe struct {
	conns  chan net.Conn
	closed chan struct{}
	refuse func() bool
}

func (p *pipe) Accept() (net.Conn, error) {
	select {
	case conn := <-p.conns:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipe) Close() error { close(p.closed); return nil }

func (p *pipe) Addr() net.Addr { return &net.UnixAddr{Name: "pipe", Net: "pipe"} }

func (p *pipe) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	if p.refuse != nil && p.refuse() {
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

// newPipeClient serves f in memory. Each attempt opens a connection of its own, so that attempts can be counted.
func newPipeClient(t *testing.T, f *fake, change ...func(*ylem.Config)) (*ylem.Client, *pipe) {
	t.Helper()
	p := &pipe{conns: make(chan net.Conn), closed: make(chan struct{})}
	server := &http.Server{Handler: f}
	go func() { _ = server.Serve(p) }()
	t.Cleanup(func() { _ = server.Close() })
	client := newClientAt(t, "http://ylem.test"+prefix, change...)
	client.SetTransport(&http.Transport{DialContext: p.dial, DisableKeepAlives: true})
	return client, p
}

// answer is a handler of one literal answer. Headers are pairs of a name and a value.
func answer(status int, body string, headers ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = nil // no guess where the case gives none
		for i := 0; i < len(headers); i += 2 {
			w.Header().Set(headers[i], headers[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const (
	typeJSON = "application/json; charset=utf-8"
	typeText = "text/plain; charset=utf-8"
	typeHTML = "text/html"
)

func answerJSON(body string) http.HandlerFunc {
	return answer(http.StatusOK, body, "Content-Type", "application/json")
}

// drop closes the connection without an answer.
func drop(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

// stall never answers.
func stall(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// asError is err as the client's own error; anything else fails the test.
func asError(t *testing.T, err error) *ylem.Error {
	t.Helper()
	e, ok := errors.AsType[*ylem.Error](err)
	if !ok {
		t.Fatalf("error is %T %v, want an *ylem.Error", err, err)
	}
	return e
}

func fixture(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// day is a time of January 2024, UTC.
func day(d, hour, minute, second int) time.Time {
	return time.Date(2024, time.January, d, hour, minute, second, 0, time.UTC)
}

// calls are all requests of the API by name, for what must hold for each of them.
var calls = map[string]func(context.Context, *ylem.Client, string) error{
	"run": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.RunPipeline(ctx, uuid, nil)
		return err
	},
	"logs": func(ctx context.Context, c *ylem.Client, uuid string) error {
		for _, err := range c.PipelineLogs(ctx, uuid, day(1, 0, 0, 0), day(31, 23, 59, 59)) {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"stats": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.Stats(ctx, ylem.Tasks, uuid, day(1, 0, 0, 0), day(31, 23, 59, 59))
		return err
	},
	"aggregated stats": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.AggregatedStats(ctx, ylem.Pipelines, uuid, day(1, 0, 0, 0), "month", 12)
		return err
	},
	"last run": func(ctx context.Context, c *ylem.Client, uuid string) error {
		_, err := c.LastRun(ctx, ylem.Pipelines, uuid)
		return err
	},
}

// callLastRun asks about another pipeline each time: those who ask for the same at the same time share a request.
func callLastRun(ctx context.Context, c *ylem.Client) error {
	return calls["last run"](ctx, c, fmt.Sprintf("10000000-0000-4000-8000-%012d", asked.Add(1)))
}

var asked atomic.Int64
