package ylem_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

const (
	invalidClient = `{"error":"invalid_client","error_description":"Client authentication failed"}` + "\n"
	serverError   = `{"error":"server_error","error_description":"The authorization server encountered an unexpected condition that prevented it from fulfilling the request"}` + "\n"
	invalidScope  = `{"error":"invalid_scope","error_description":"The requested scope is invalid, unknown, or malformed"}` + "\n"
)

func TestTokenRequest(t *testing.T) {
	t.Parallel()
	const secret = `+ / & = % space é`
	for name, test := range map[string]struct {
		scopes []string
		want   url.Values
	}{
		"no scopes asked": {nil, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"client-id"}, "client_secret": {secret},
		}},
		"two scopes": {[]string{"pipelines:run", "stats:read"}, url.Values{
			"grant_type": {"client_credentials"}, "client_id": {"client-id"}, "client_secret": {secret},
			"scope": {"pipelines:run,stats:read"},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answerJSON(lastRun))
			client := newClient(t, f, func(cfg *ylem.Config) {
				cfg.ClientSecret, cfg.Scopes = secret, test.scopes
				cfg.UserAgent, cfg.Headers = "provider/1", map[string]string{"X-Access": "let-me-in"}
			})
			if err := callLastRun(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if len(f.tokens()) != 1 {
				t.Fatalf("%d token requests, want 1", len(f.tokens()))
			}
			r := f.tokens()[0]
			form, err := url.ParseQuery(r.Body)
			if err != nil {
				t.Fatal(err)
			}
			if form.Encode() != test.want.Encode() {
				t.Errorf("form is %v, want %v", form, test.want)
			}
			if r.Method != http.MethodPost || r.Query != "" || r.Path != "/v1/oauth/token" {
				t.Errorf("%s %s?%s, want POST /v1/oauth/token", r.Method, r.Path, r.Query)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/x-www-form-urlencoded", "Authorization": "",
				"Accept": "application/json", "User-Agent": "provider/1", "X-Access": "let-me-in",
			} {
				if got := r.Header.Get(name); got != want {
					t.Errorf("%s is %q, want %q", name, got, want)
				}
			}
			for name, want := range map[string]string{
				"Authorization": "Bearer TOKEN-1", "Accept": "application/json", "User-Agent": "provider/1", "X-Access": "let-me-in",
			} {
				if got := f.calls()[0].Header.Get(name); got != want {
					t.Errorf("%s of the call is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestTokenReferenceSample(t *testing.T) {
	t.Parallel()
	f := newFake(t, answerJSON(lastRun))
	f.token = answerJSON(fixture(t, "reference_token.json"))
	if err := callLastRun(t.Context(), newClient(t, f)); err != nil {
		t.Fatal(err)
	}
	if got := f.calls()[0].Header.Get("Authorization"); got != "Bearer ACCESS-TOKEN" {
		t.Errorf("Authorization is %q", got)
	}
}

func TestOneTokenForConcurrentCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, answerJSON(lastRun))
		f.token = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second) // long enough for all to come, in the bubble's time
			grant(w, 1, 86400, "stats:read")
		}
		client, _ := newPipeClient(t, f)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := callLastRun(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if tokens, calls := len(f.tokens()), len(f.calls()); tokens != 1 || calls != 50 {
			t.Errorf("%d token requests for %d calls, want 1 for 50", tokens, calls)
		}
	})
}

func TestTokenRenewedBeforeItExpires(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		expiresIn int
		pause     time.Duration
		tokens    int
	}{
		"an hour, soon after":        {3600, time.Minute, 1},
		"an hour, just before":       {3600, 3595 * time.Second, 2},
		"an hour, long after":        {3600, 2 * time.Hour, 2},
		"a few seconds, at once":     {3, 0, 2},
		"a day, as Ylem gives":       {86400, 23 * time.Hour, 1},
		"the server gives no expiry": {0, 1000 * time.Hour, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var issued atomic.Pointer[time.Time]
				f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
					if age := time.Since(*issued.Load()); test.expiresIn > 0 && age > time.Duration(test.expiresIn)*time.Second {
						t.Errorf("a token came %s after it was issued, and expired after %d s", age, test.expiresIn)
					}
					answerJSON(lastRun)(w, r)
				})
				var n int
				f.token = func(w http.ResponseWriter, _ *http.Request) {
					n++
					issued.Store(new(time.Now()))
					grant(w, n, test.expiresIn, "stats:read")
				}
				client, _ := newPipeClient(t, f)
				for range 2 {
					if err := callLastRun(t.Context(), client); err != nil {
						t.Fatal(err)
					}
					time.Sleep(test.pause)
				}
				if got := len(f.tokens()); got != test.tokens {
					t.Errorf("%d token requests, want %d", got, test.tokens)
				}
				if got := len(f.calls()); got != 2 {
					t.Errorf("%d calls, want 2", got)
				}
			})
		})
	}
}

func TestTokenRenewedOnceWhenRefused(t *testing.T) {
	t.Parallel()
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answer(http.StatusUnauthorized, ""))
			e := asError(t, call(t.Context(), newClient(t, f), pipelineUUID))
			if e.StatusCode != http.StatusUnauthorized || e.Op == ylem.OpToken || e.MaybeStarted {
				t.Errorf("error is %+v, want the call's own 401", e)
			}
			if tokens, calls := len(f.tokens()), len(f.calls()); tokens != 2 || calls != 2 {
				t.Errorf("%d token requests and %d calls, want 2 and 2", tokens, calls)
			}
			first, second := f.calls()[0], f.calls()[1]
			if first.Header.Get("Authorization") != "Bearer TOKEN-1" || second.Header.Get("Authorization") != "Bearer TOKEN-2" {
				t.Errorf("tokens are %q and %q", first.Header.Get("Authorization"), second.Header.Get("Authorization"))
			}
		})
	}

	t.Run("the run request is whole the second time", func(t *testing.T) {
		t.Parallel()
		f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer TOKEN-1" {
				answer(http.StatusUnauthorized, "")(w, r)
				return
			}
			answer(http.StatusCreated, startedRun)(w, r)
		})
		run, err := newClient(t, f).RunPipeline(t.Context(), pipelineUUID, []byte(`{"a":1}`))
		if err != nil || run.UUID != runUUID {
			t.Fatalf("run %+v, error %v", run, err)
		}
		if calls := f.calls(); len(calls) != 2 || calls[1].Body != `{"a":1}` || calls[1].Header.Get("Content-Type") != "application/json" {
			t.Errorf("calls are %+v", calls)
		}
	})
}

func TestConcurrentRefusalsRenewOnce(t *testing.T) {
	t.Parallel()
	const n = 50
	var arrived atomic.Int64
	all := make(chan struct{})
	f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer TOKEN-1" {
			answerJSON(lastRun)(w, r)
			return
		}
		if arrived.Add(1) == n {
			close(all)
		}
		<-all
		w.WriteHeader(http.StatusUnauthorized)
	})
	client := newClient(t, f)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := callLastRun(t.Context(), client); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if tokens, calls := len(f.tokens()), len(f.calls()); tokens != 2 || calls != 2*n {
		t.Errorf("%d token requests and %d calls, want 2 and %d", tokens, calls, 2*n)
	}
}

func TestTokenOutlivesTheCallThatCausedIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		f := newFake(t, answerJSON(lastRun))
		f.token = func(w http.ResponseWriter, _ *http.Request) {
			<-proceed
			grant(w, 1, 86400, "stats:read")
		}
		client, _ := newPipeClient(t, f)

		ctx, cancel := context.WithCancel(t.Context())
		var first error
		go func() { first = callLastRun(ctx, client) }()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := callLastRun(t.Context(), client); err != nil {
					t.Errorf("a call that waited for the token: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if e := asError(t, first); !errors.Is(first, context.Canceled) || e.Op != ylem.OpLastRun {
			t.Errorf("the call that was given up: %v", first)
		}
		close(proceed)
		wg.Wait()
		if tokens, calls := len(f.tokens()), len(f.calls()); tokens != 1 || calls != 5 {
			t.Errorf("%d token requests and %d calls, want 1 and 5", tokens, calls)
		}
	})
}

func TestRefusedCredentialsAreAskedOnce(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status              int
		body, code, message string
	}{
		"wrong secret":  {http.StatusUnauthorized, invalidClient, "invalid_client", "Client authentication failed"},
		"unknown scope": {http.StatusBadRequest, invalidScope, "invalid_scope", "The requested scope is invalid, unknown, or malformed"},
		"other grant":   {http.StatusForbidden, `{"error":"access_denied","error_description":"No"}`, "access_denied", "No"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answerJSON(lastRun))
			f.token = answer(test.status, test.body, "Content-Type", "application/json;charset=UTF-8")
			client := newClient(t, f)
			for range 3 {
				for _, call := range calls {
					e := asError(t, call(t.Context(), client, pipelineUUID))
					if e.Op != ylem.OpToken || e.StatusCode != test.status || e.Code != test.code || e.Message != test.message || e.MaybeStarted {
						t.Fatalf("error is %+v", e)
					}
				}
			}
			if tokens, calls := len(f.tokens()), len(f.calls()); tokens != 1 || calls != 0 {
				t.Errorf("%d token requests and %d calls, want 1 and 0", tokens, calls)
			}
		})
	}
}

// What may be over in a moment is not remembered. Where it cannot be told from a wrong client ID, it is asked about once
// more only.
func TestTokenFailuresThatPass(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler  http.HandlerFunc
		status   int
		requests int // of the call that fails
	}{
		"500 server_error":   {answer(500, serverError, "Content-Type", typeJSON), 500, 2},
		"500 empty":          {answer(500, ""), 500, 2},
		"502 from a proxy":   {answer(502, "<html>Bad Gateway</html>", "Content-Type", typeHTML), 502, 3},
		"503":                {answer(503, ""), 503, 3},
		"429":                {answer(429, "slow down", "Content-Type", typeText), 429, 3},
		"429 with a code":    {answer(429, `{"error":"rate_limit_exceeded"}`, "Content-Type", typeJSON), 429, 3},
		"408 with a code":    {answer(408, `{"error":"request_timeout"}`, "Content-Type", typeJSON), 408, 1},
		"404 page":           {answer(404, "404 page not found\n", "Content-Type", typeText), 404, 1},
		"connection dropped": {drop, 0, 3},
		"200 HTML":           {answer(200, "<html>Log in</html>", "Content-Type", typeHTML), 200, 1},
		"200 without token":  {answer(200, `{}`, "Content-Type", typeJSON), 200, 1},
		"200 with an error":  {answer(200, invalidClient, "Content-Type", typeJSON), 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t, answerJSON(lastRun))
				f.token = test.handler
				client, _ := newPipeClient(t, f)
				err := callLastRun(t.Context(), client)
				if e := asError(t, err); e.Op != ylem.OpToken || e.StatusCode != test.status {
					t.Errorf("error is %+v, want status %d of the token endpoint", e, test.status)
				}
				if got := len(f.tokens()); got != test.requests {
					t.Errorf("%d token requests, want %d", got, test.requests)
				}
				f.answerWith(nil, answerJSON(lastRun))
				if err := callLastRun(t.Context(), client); err != nil {
					t.Errorf("after it passed: %v", err)
				}
			})
		})
	}

	t.Run("503 once", func(t *testing.T) {
		t.Parallel()
		f := newFake(t, answerJSON(lastRun))
		var n atomic.Int64
		f.token = func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			grant(w, 1, 86400, "")
		}
		if err := callLastRun(t.Context(), newClient(t, f)); err != nil {
			t.Fatal(err)
		}
		body := f.tokens()[0].Body
		if got := f.tokens(); len(got) != 2 || got[1].Body != body || !strings.Contains(body, "client_secret") {
			t.Errorf("token requests are %+v", got)
		}
	})
}

func TestTokenRedirectIsNotFollowed(t *testing.T) {
	t.Parallel()
	for _, status := range []int{301, 302, 303, 307, 308} {
		t.Run(http.StatusText(status), func(t *testing.T) {
			t.Parallel()
			elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				t.Errorf("the credentials travelled: %s %s", r.Method, r.URL)
			}))
			defer elsewhere.Close()
			f := newFake(t, answerJSON(lastRun))
			f.token = answer(status, "", "Location", elsewhere.URL+"/login")
			err := callLastRun(t.Context(), newClient(t, f))
			e := asError(t, err)
			if e.StatusCode != status || e.Location != elsewhere.URL+"/login" || !strings.Contains(err.Error(), e.Location) {
				t.Errorf("error is %v", err)
			}
			if tokens, calls := len(f.tokens()), len(f.calls()); tokens != 1 || calls != 0 {
				t.Errorf("%d token requests and %d calls, want 1 and 0", tokens, calls)
			}
		})
	}
}
