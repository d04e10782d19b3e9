package request_test

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

func TestRetryPolicies(t *testing.T) {
	t.Parallel()
	refused := &url.Error{Op: "Post", URL: "http://ylem.test", Err: syscall.ECONNREFUSED}
	eof := &url.Error{Op: "Post", URL: "http://ylem.test", Err: io.EOF}
	wait := http.Header{"Retry-After": {"1"}}
	type row struct {
		status    int
		header    http.Header
		err       error
		connected bool
		empty     bool
	}
	json, plain := http.Header{"Content-Type": {fake.TypeJSON}}, http.Header{"Content-Type": {fake.TypeText}}
	for name, test := range map[string]struct {
		row
		read, token, run bool
	}{
		"connection refused":    {row{err: refused}, true, true, true},
		"EOF after write":       {row{err: eof, connected: true}, true, true, false},
		"200":                   {row{status: 200, connected: true}, false, false, false},
		"201":                   {row{status: 201, connected: true}, false, false, false},
		"307":                   {row{status: 307, connected: true}, false, false, false},
		"400":                   {row{status: 400, connected: true}, false, false, false},
		"401":                   {row{status: 401, connected: true}, false, false, false},
		"403":                   {row{status: 403, connected: true}, false, false, false},
		"404":                   {row{status: 404, connected: true}, false, false, false},
		"429":                   {row{status: 429, connected: true}, true, true, true},
		"429 with Retry-After":  {row{status: 429, header: wait, connected: true}, true, true, true},
		"500":                   {row{status: 500, connected: true}, true, true, false},
		"500 with Retry-After":  {row{status: 500, header: wait, connected: true}, true, true, false},
		"500 of a deadlock":     {row{status: 500, header: json, connected: true, empty: true}, true, true, true},
		"500 with a body":       {row{status: 500, header: json, connected: true}, true, true, false},
		"500 in plain text":     {row{status: 500, header: plain, connected: true, empty: true}, true, true, false},
		"502, empty":            {row{status: 502, header: json, connected: true, empty: true}, true, true, false},
		"501":                   {row{status: 501, connected: true}, false, false, false},
		"502":                   {row{status: 502, connected: true}, true, true, false},
		"503":                   {row{status: 503, connected: true}, true, true, false},
		"503 with Retry-After":  {row{status: 503, header: wait, connected: true}, true, true, true},
		"504":                   {row{status: 504, connected: true}, true, true, false},
		"504, with Retry-After": {row{status: 504, header: wait, connected: true}, true, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			attempt := request.Attempt{Op: request.OpRun, Status: test.status, Header: test.header, Err: test.err, InFlight: test.connected, Empty: test.empty}
			if got := request.RetriesRead(attempt); got != test.read {
				t.Errorf("a read is repeated: %t, want %t", got, test.read)
			}
			if got := request.RetriesToken(attempt, 0); got != test.token {
				t.Errorf("a token request is repeated: %t, want %t", got, test.token)
			}
			// After a 500, another one is not.
			if got := request.RetriesToken(attempt, 1); got != (test.token && test.status != 500) {
				t.Errorf("a token request is repeated after a 500: %t", got)
			}
			if got := request.RetriesRun(attempt); got != test.run {
				t.Errorf("a run request is repeated: %t, want %t", got, test.run)
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	t.Parallel()
	half := 500 * time.Millisecond
	for name, test := range map[string]struct {
		wait    time.Duration
		attempt int
		status  int
		after   string
		want    time.Duration
	}{
		"first":                            {0, 0, 500, "", half},
		"doubled":                          {0, 3, 500, "", 4 * time.Second},
		"bounded":                          {0, 20, 500, "", request.MaxRetryWait},
		"more than a float holds":          {0, 2000, 500, "", request.MaxRetryWait},
		"asked for more than the bound":    {time.Hour, 0, 500, "", request.MaxRetryWait},
		"Retry-After of 429":               {0, 0, 429, "7", 7 * time.Second},
		"Retry-After of 503":               {0, 0, 503, "7", 7 * time.Second},
		"Retry-After of 500 is not one":    {0, 0, 500, "7", half},
		"Retry-After 0":                    {0, 0, 429, "0", 0},
		"Retry-After is bounded":           {0, 0, 429, "3600", request.MaxRetryWait},
		"Retry-After of nonsense":          {0, 0, 429, "soon", half},
		"Retry-After is negative":          {0, 0, 429, "-5", half},
		"Retry-After overflows a duration": {0, 0, 429, "10000000000", request.MaxRetryWait},
		"Retry-After overflows an integer": {0, 0, 429, "99999999999999999999", half},
		"Retry-After was long ago":         {0, 0, 503, "Fri, 31 Dec 1999 23:59:59 GMT", 0},
		"Retry-After is far away":          {0, 0, 503, "Fri, 31 Dec 2999 23:59:59 GMT", request.MaxRetryWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			resp := &http.Response{StatusCode: test.status, Header: http.Header{}}
			if test.after != "" {
				resp.Header.Set("Retry-After", test.after)
			}
			if got := request.Backoff(cmp.Or(test.wait, half), test.attempt, resp); got != test.want {
				t.Errorf("waits %s, want %s", got, test.want)
			}
		})
	}
}

// step is what happens to one attempt.
type step struct {
	do    http.HandlerFunc // nil refuses the connection
	takes time.Duration    // until the attempt is over
	pause time.Duration    // that Retry-After asks for; -1: none
}

func status(code int, headers ...string) step {
	s := step{do: fake.Answer(code, "", headers...), pause: -1}
	if len(headers) == 2 && headers[0] == "Retry-After" {
		if seconds, err := strconv.Atoi(headers[1]); err == nil {
			s.pause = time.Duration(seconds) * time.Second
		}
	}
	return s
}

// Every fault that a request can meet: how often it is sent, with which pauses, and what is said in the end. The steps of
// a case are what happens to one attempt after another; the last one goes on. A wanted status of 0 is success, -1 is no
// answer.
func TestRepeatedOnTheWire(t *testing.T) {
	t.Parallel()
	good := step{pause: -1, do: func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/token"):
			fake.Grant(w, 1, 86400, "")
		case r.Method == http.MethodPost:
			fake.Answer(http.StatusCreated, fake.StartedRun, "Content-Type", fake.TypeJSON)(w, r)
		default:
			fake.AnswerJSON(fake.LastRun)(w, r)
		}
	}}
	refused := step{pause: -1}
	dropped := step{do: fake.Drop, pause: -1}
	silent := step{do: fake.Stall, takes: time.Minute, pause: -1}
	broken := step{pause: -1, do: func(w http.ResponseWriter, _ *http.Request) { // the status line, and then nothing
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}}
	tomorrow := step{do: fake.Answer(503, "", "Retry-After", "Sun, 02 Jan 2000 00:00:00 GMT"), pause: request.MaxRetryWait} // a bubble begins on the 1st
	type want struct {
		attempts, status int
		maybeStarted     bool
	}
	for name, test := range map[string]struct {
		steps            []step
		read, token, run want
	}{
		"answered":                       {[]step{good}, want{1, 0, false}, want{1, 0, false}, want{1, 0, false}},
		"connection refused":             {[]step{refused}, want{3, -1, false}, want{3, -1, false}, want{3, -1, false}},
		"refused once":                   {[]step{refused, good}, want{2, 0, false}, want{2, 0, false}, want{2, 0, false}},
		"dropped without answer":         {[]step{dropped}, want{3, -1, false}, want{3, -1, false}, want{1, -1, true}},
		"dropped once":                   {[]step{dropped, good}, want{2, 0, false}, want{2, 0, false}, want{1, -1, true}},
		"dropped within the answer":      {[]step{broken}, want{3, 200, false}, want{3, 200, false}, want{1, 200, true}},
		"dropped within the answer once": {[]step{broken, good}, want{2, 0, false}, want{2, 0, false}, want{1, 200, true}},
		"no answer in time":              {[]step{silent}, want{3, -1, false}, want{3, -1, false}, want{1, -1, true}},
		"no answer in time, once":        {[]step{silent, good}, want{2, 0, false}, want{2, 0, false}, want{1, -1, true}},
		"refused, then dropped":          {[]step{refused, dropped}, want{3, -1, false}, want{3, -1, false}, want{2, -1, true}},
		"307":                            {[]step{status(307, "Location", "/x")}, want{1, 307, false}, want{1, 307, false}, want{1, 307, false}},
		"400":                            {[]step{status(400)}, want{1, 400, false}, want{1, 400, false}, want{1, 400, false}},
		"403":                            {[]step{status(403)}, want{1, 403, false}, want{1, 403, false}, want{1, 403, false}},
		"404":                            {[]step{status(404)}, want{1, 404, false}, want{1, 404, false}, want{1, 404, false}},
		"408":                            {[]step{status(408)}, want{1, 408, false}, want{1, 408, false}, want{1, 408, true}},
		"413":                            {[]step{status(413)}, want{1, 413, false}, want{1, 413, false}, want{1, 413, false}},
		"429":                            {[]step{status(429)}, want{3, 429, false}, want{3, 429, false}, want{3, 429, false}},
		"429 with Retry-After, once":     {[]step{status(429, "Retry-After", "7"), good}, want{2, 0, false}, want{2, 0, false}, want{2, 0, false}},
		"429, then refused":              {[]step{status(429), refused}, want{3, -1, false}, want{3, -1, false}, want{3, -1, false}},
		"429, then dropped":              {[]step{status(429), dropped}, want{3, -1, false}, want{3, -1, false}, want{2, -1, true}},
		"500":                            {[]step{status(500)}, want{3, 500, false}, want{2, 500, false}, want{1, 500, true}},
		"500 with Retry-After":           {[]step{{do: fake.Answer(500, "", "Retry-After", "7"), pause: -1}}, want{3, 500, false}, want{2, 500, false}, want{1, 500, true}},
		"500 once":                       {[]step{status(500), good}, want{2, 0, false}, want{2, 0, false}, want{1, 500, true}},
		"500, 503, 500":                  {[]step{status(500), status(503), status(500)}, want{3, 500, false}, want{3, 500, false}, want{1, 500, true}},
		"501":                            {[]step{status(501)}, want{1, 501, false}, want{1, 501, false}, want{1, 501, true}},
		"502":                            {[]step{status(502)}, want{3, 502, false}, want{3, 502, false}, want{1, 502, true}},
		"503 without Retry-After":        {[]step{status(503)}, want{3, 503, false}, want{3, 503, false}, want{1, 503, true}},
		"503 with Retry-After":           {[]step{status(503, "Retry-After", "3")}, want{3, 503, false}, want{3, 503, false}, want{3, 503, false}},
		"503 with Retry-After, once":     {[]step{status(503, "Retry-After", "1"), good}, want{2, 0, false}, want{2, 0, false}, want{2, 0, false}},
		"503 until tomorrow":             {[]step{tomorrow, good}, want{2, 0, false}, want{2, 0, false}, want{2, 0, false}},
		"503 with and then without it":   {[]step{status(503, "Retry-After", "1"), status(503)}, want{3, 503, false}, want{3, 503, false}, want{2, 503, true}},
		"503 with Retry-After, then 404": {[]step{status(503, "Retry-After", "1"), status(404)}, want{2, 404, false}, want{2, 404, false}, want{2, 404, false}},
		"504":                            {[]step{status(504)}, want{3, 504, false}, want{3, 504, false}, want{1, 504, true}},
	} {
		for _, kind := range []string{"read", "token", "run"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					want, call := test.read, fake.Calls["last run"]
					switch kind {
					case "token":
						want = test.token
					case "run":
						want, call = test.run, func(ctx context.Context, c *ylem.Client, uuid string) error {
							_, err := c.RunPipeline(ctx, uuid, ylem.Input{Body: []byte(`{"a":1}`)})
							return err
						}
					}
					var attempts atomic.Int64
					at := func(i int64) step { return test.steps[min(int(i), len(test.steps)-1)] }
					next := func(w http.ResponseWriter, r *http.Request) {
						if do := at(attempts.Add(1) - 1).do; do != nil {
							do(w, r)
						}
					}
					f := fake.New(t, good.do)
					client, pipe := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.RetryWait = 0 })
					if kind == "token" {
						f.Token = next
					} else {
						f.API = next
						if _, err := client.Now(t.Context()); err != nil { // the token
							t.Fatal(err)
						}
					}
					pipe.Refuse = func() bool {
						i := attempts.Load()
						if at(i).do != nil {
							return false
						}
						attempts.Add(1)
						return true
					}

					begin := time.Now()
					err := call(t.Context(), client, fake.PipelineUUID)
					took := time.Since(begin)
					if got := int(attempts.Load()); got != want.attempts {
						t.Errorf("%d attempts, want %d", got, want.attempts)
					}
					var patience time.Duration
					for i := range int64(want.attempts) {
						patience += at(i).takes
						if pause := at(i).pause; i == int64(want.attempts)-1 {
							break
						} else if pause < 0 {
							patience += 500 * time.Millisecond << i
						} else {
							patience += pause
						}
					}
					if took != patience {
						t.Errorf("over after %s, want %s", took, patience)
					}
					for _, r := range f.Calls() {
						if kind == "run" && (r.Body != `{"a":1}` || r.Header.Get("Content-Type") != "application/json") {
							t.Errorf("an attempt sent %q as %q", r.Body, r.Header.Get("Content-Type"))
						}
					}
					if want.status == 0 {
						if err != nil {
							t.Errorf("error: %v", err)
						}
						return
					}
					e := fake.AsError(t, err)
					if status := max(want.status, 0); e.StatusCode != status || (e.Op == request.OpToken) != (kind == "token") {
						t.Errorf("status is %d, want %d: %v", e.StatusCode, status, err)
					}
					if e.MaybeStarted != want.maybeStarted {
						t.Errorf("MaybeStarted is %t, want %t", e.MaybeStarted, want.maybeStarted)
					}
					if e.StatusCode == 0 && e.Err == nil {
						t.Error("neither an answer nor a reason")
					}
				})
			})
		}
	}
}

// A call has max_retries repeats in all, also where it is refused first, then answered in part, then not at all.
func TestRepeatsAreCountedOverAll(t *testing.T) {
	t.Parallel()
	for name, call := range fake.Calls {
		if name == "run" {
			continue // is never asked again once it was answered in part
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var n atomic.Int64
				f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
					switch n.Add(1) % 3 {
					case 0:
						w.WriteHeader(http.StatusUnauthorized)
					case 1:
						w.WriteHeader(http.StatusBadGateway)
					default:
						w.Header().Set("Content-Length", "100")
						_, _ = io.WriteString(w, "[")
						_ = http.NewResponseController(w).Flush()
						panic(http.ErrAbortHandler)
					}
				})
				client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.MaxRetries = 6 })
				if err := call(t.Context(), client, fake.PipelineUUID); err == nil {
					t.Error("no error")
				}
				// What a new token repeats is no repeat.
				unauthorized := int(n.Load()) / 3
				if got := len(f.Calls()) - unauthorized; got != 7 {
					t.Errorf("%d requests, want 7", got)
				}
			})
		})
	}
}

// What is no answer by the rules of HTTP ends the call, although the connection goes on.
func TestStatusesThatAreNone(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"101":            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
		"101, no header": "HTTP/1.1 101 Switching Protocols\r\n\r\n",
		"000":            "HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n",
		"100 only":       "HTTP/1.1 100 Continue\r\n\r\n",
	} {
		for call, do := range fake.Calls {
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
						conn, _, err := http.NewResponseController(w).Hijack()
						if err != nil {
							t.Error(err)
							return
						}
						_, _ = io.WriteString(conn, raw)
						_, _ = io.Copy(io.Discard, conn) // until the client closes it
						_ = conn.Close()
					})
					client, _ := fake.NewPipeClient(t, f)
					begin := time.Now()
					e := fake.AsError(t, do(t.Context(), client, fake.PipelineUUID))
					if e.StatusCode != 0 || e.Err == nil || e.MaybeStarted != (call == "run") {
						t.Errorf("error is %+v", e)
					}
					if took := time.Since(begin); took > 4*time.Minute {
						t.Errorf("over after %s", took)
					}
				})
			})
		}
	}
}

// A 401 proves that nothing was started, so what comes after it is judged anew.
func TestRunRefusedAfterRenewedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var gone atomic.Bool
		var refusals atomic.Int64
		f := fake.New(t, fake.Answer(http.StatusUnauthorized, ""))
		f.Token = func(w http.ResponseWriter, _ *http.Request) {
			n := len(f.Tokens())
			gone.Store(n == 2)
			fake.Grant(w, n, 86400, "")
		}
		client, pipe := fake.NewPipeClient(t, f)
		pipe.Refuse = func() bool {
			if gone.Load() {
				refusals.Add(1)
			}
			return gone.Load()
		}
		_, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
		if !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("error: %v", err)
		}
		if e := fake.AsError(t, err); e.MaybeStarted {
			t.Errorf("MaybeStarted, but the only request that arrived was answered with 401")
		}
		if got := refusals.Load(); got != 3 {
			t.Errorf("%d attempts to connect, want 3", got)
		}
	})
}

func TestMaxRetriesZero(t *testing.T) {
	t.Parallel()
	for name, call := range fake.Calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.Answer(http.StatusTooManyRequests, "", "Retry-After", "3600"))
			client := fake.NewClient(t, f, func(cfg *request.Config) { cfg.MaxRetries = 0 })
			if e := fake.AsError(t, call(t.Context(), client, fake.PipelineUUID)); e.StatusCode != http.StatusTooManyRequests || e.MaybeStarted {
				t.Errorf("error is %+v", e)
			}
			if got := len(f.Calls()); got != 1 {
				t.Errorf("%d calls, want 1", got)
			}
		})
	}
}

// How long the pauses are, on the bubble's clock.
func TestPauses(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		after string
		want  time.Duration
	}{
		"doubled each time":      {"", 500*time.Millisecond + time.Second},
		"as the server asks":     {"3", 6 * time.Second},
		"but not for an hour":    {"3600", 2 * request.MaxRetryWait},
		"until a date":           {time.Date(2000, 1, 1, 0, 0, 20, 0, time.UTC).Format(http.TimeFormat), 20 * time.Second},
		"but not until tomorrow": {time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC).Format(http.TimeFormat), 2 * request.MaxRetryWait},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, call := range []string{"run", "last run"} {
				synctest.Test(t, func(t *testing.T) {
					var headers []string
					if test.after != "" {
						headers = []string{"Retry-After", test.after}
					}
					f := fake.New(t, fake.Answer(http.StatusTooManyRequests, "", headers...))
					client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.RetryWait = 0 })
					start := time.Now()
					if err := fake.Calls[call](t.Context(), client, fake.PipelineUUID); err == nil {
						t.Fatal("no error")
					}
					if got := time.Since(start); got != test.want {
						t.Errorf("%s: paused for %s, want %s", call, got, test.want)
					}
				})
			}
		})
	}
}

func TestRequestTimeoutIsOfOneAttempt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, fake.Stall)
		client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.RequestTimeout, cfg.RetryWait = 10*time.Second, time.Second })
		start := time.Now()
		err := fake.CallLastRun(t.Context(), client)
		if got := time.Since(start); got != 33*time.Second { // three attempts, pauses of 1 s and 2 s
			t.Errorf("gave up after %s, want 33s", got)
		}
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error: %v", err)
		}
	})
}

// The answer to a run request that was interrupted is worth waiting for: without it the run is unknown. Nothing more
// is sent, though.
func TestInterruptedRunIsNeitherLostNorRepeated(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		answer  func(http.ResponseWriter)
		started bool
	}{
		"slow answer": {func(w http.ResponseWriter) {
			time.Sleep(8 * time.Second)
			fake.Answer(201, fake.StartedRun)(w, nil)
		}, true},
		"slow body": {func(w http.ResponseWriter) {
			w.WriteHeader(201)
			_ = http.NewResponseController(w).Flush()
			time.Sleep(8 * time.Second)
			_, _ = io.WriteString(w, fake.StartedRun)
		}, true},
		"put off": {func(w http.ResponseWriter) {
			time.Sleep(3 * time.Second)
			fake.Answer(429, "", "Retry-After", "5")(w, nil)
		}, false},
		"token expired": {func(w http.ResponseWriter) {
			time.Sleep(3 * time.Second)
			fake.Answer(401, "")(w, nil)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) { test.answer(w) })
				client, _ := fake.NewPipeClient(t, f)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				begin := time.Now()
				run, err := client.RunPipeline(ctx, fake.PipelineUUID, ylem.Input{})
				if test.started && (err != nil || run.UUID != fake.RunUUID) || !test.started && (err == nil || fake.AsError(t, err).MaybeStarted) {
					t.Errorf("%v, %v", run, err)
				}
				if took := time.Since(begin); took > 8*time.Second || len(f.Calls()) != 1 || len(f.Tokens()) != 1 {
					t.Errorf("took %s, %d requests to run, %d for a token", took, len(f.Calls()), len(f.Tokens()))
				}
			})
		})
	}
}

// What a proxy answers that gave up does not say that nothing was started.
func TestStatusesThatLeaveDoubt(t *testing.T) {
	t.Parallel()
	for status, doubt := range map[int]bool{
		303: true, 408: true, 409: true, 460: true, 499: true, 500: true, 502: true, 503: true, 504: true, 599: true,
		302: false, 307: false, 400: false, 401: false, 403: false, 404: false, 405: false, 413: false, 415: false, 429: false,
	} {
		client := fake.NewClient(t, fake.New(t, fake.Answer(status, "")), func(cfg *request.Config) { cfg.MaxRetries = 0 })
		before := time.Now()
		_, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
		e := fake.AsError(t, err)
		if e.MaybeStarted != doubt || e.StatusCode != status {
			t.Errorf("%d: maybe started: %t, want %t: %v", status, e.MaybeStarted, doubt, err)
		}
		if status != 401 && (e.SentAt.Before(before.Add(-time.Minute)) || e.SentAt.After(time.Now().Add(time.Minute))) {
			t.Errorf("%d: sent at %s", status, e.SentAt)
		}
	}
}

// net/http sends a POST again by itself where one of these headers says that this does no harm.
func TestHeadersThatWouldChangeRequestsAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"Idempotency-Key", "x-idempotency-key", "authorization", "Host", "content-type", "Content-Length", "Accept-Encoding", "range",
		"If-None-Match", "Transfer-Encoding", "Connection", "", "a b", "a:b", "ä",
	} {
		if _, err := request.New(request.Config{ClientID: "a", ClientSecret: "b", Headers: map[string]string{name: "x"}}); err == nil {
			t.Errorf("%q is accepted", name)
		}
	}
	if _, err := request.New(request.Config{ClientID: "a", ClientSecret: "b", Headers: map[string]string{"X-Door": "one", "x-door": "two"}}); err == nil {
		t.Error("two values for one header are accepted")
	}
	if wrong := request.CheckHeaders([]string{"CF-Access-Client-Id", "CF-Access-Client-Secret"}); len(wrong) != 0 {
		t.Error(wrong)
	}
}

func TestCancelledContextEndsAtOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler      http.HandlerFunc
		maybeStarted bool
	}{
		"while it pauses after 429": {fake.Answer(429, "", "Retry-After", strconv.Itoa(50)), false},
		"while it pauses after 503": {fake.Answer(503, "", "Retry-After", strconv.Itoa(50)), false},
		"while it awaits an answer": {fake.Stall, true},
	} {
		for call, do := range fake.Calls {
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := fake.New(t, test.handler)
					client, _ := fake.NewPipeClient(t, f)
					if _, err := client.Now(t.Context()); err != nil {
						t.Fatal(err)
					}
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(5*time.Second, cancel)
					start := time.Now()
					err := do(ctx, client, fake.PipelineUUID)
					want := 5 * time.Second
					if test.maybeStarted && call == "run" {
						want += 10 * time.Second // for the answer that is on its way
					}
					if got := time.Since(start); got != want {
						t.Errorf("ended after %s, want %s", got, want)
					}
					if !errors.Is(err, context.Canceled) {
						t.Errorf("error: %v", err)
					}
					if e := fake.AsError(t, err); e.MaybeStarted != (test.maybeStarted && call == "run") {
						t.Errorf("MaybeStarted is %t", e.MaybeStarted)
					}
					if got := len(f.Calls()); got != 1 {
						t.Errorf("%d calls, want 1", got)
					}
				})
			})
		}
	}

	for name, do := range fake.Calls {
		t.Run("before it begins/"+name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.AnswerJSON("null"))
			client := fake.NewClient(t, f)
			if _, err := client.Now(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			err := do(ctx, client, fake.PipelineUUID)
			if e := fake.AsError(t, err); !errors.Is(err, context.Canceled) || e.MaybeStarted {
				t.Errorf("error: %+v", e)
			}
			if got := len(f.Calls()); got != 0 {
				t.Errorf("%d calls, want none", got)
			}
		})
	}
}
