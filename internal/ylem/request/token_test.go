package request_test

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
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
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
			f := fake.New(t, fake.AnswerJSON(fake.LastRun))
			client := fake.NewClient(t, f, func(cfg *request.Config) {
				cfg.ClientSecret, cfg.Scopes = secret, test.scopes
				cfg.UserAgent, cfg.Headers = "provider/1", map[string]string{"X-Access": "let-me-in"}
			})
			if err := fake.CallLastRun(t.Context(), client); err != nil {
				t.Fatal(err)
			}
			if len(f.Tokens()) != 1 {
				t.Fatalf("%d token requests, want 1", len(f.Tokens()))
			}
			r := f.Tokens()[0]
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
				if got := f.Calls()[0].Header.Get(name); got != want {
					t.Errorf("%s of the call is %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestTokenReferenceSample(t *testing.T) {
	t.Parallel()
	f := fake.New(t, fake.AnswerJSON(fake.LastRun))
	f.Token = fake.AnswerJSON(fake.Fixture(t, "reference_token.json"))
	if err := fake.CallLastRun(t.Context(), fake.NewClient(t, f)); err != nil {
		t.Fatal(err)
	}
	if got := f.Calls()[0].Header.Get("Authorization"); got != "Bearer ACCESS-TOKEN" {
		t.Errorf("Authorization is %q", got)
	}
}

func TestOneTokenForConcurrentCalls(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, fake.AnswerJSON(fake.LastRun))
		f.Token = func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second) // long enough for all to come, in the bubble's time
			fake.Grant(w, 1, 86400, "stats:read")
		}
		client, _ := fake.NewPipeClient(t, f)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				if err := fake.CallLastRun(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if tokens, calls := len(f.Tokens()), len(f.Calls()); tokens != 1 || calls != 50 {
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
				f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
					if age := time.Since(*issued.Load()); test.expiresIn > 0 && age > time.Duration(test.expiresIn)*time.Second {
						t.Errorf("a token came %s after it was issued, and expired after %d s", age, test.expiresIn)
					}
					fake.AnswerJSON(fake.LastRun)(w, r)
				})
				var n int
				f.Token = func(w http.ResponseWriter, _ *http.Request) {
					n++
					issued.Store(new(time.Now()))
					fake.Grant(w, n, test.expiresIn, "stats:read")
				}
				client, _ := fake.NewPipeClient(t, f)
				for range 2 {
					if err := fake.CallLastRun(t.Context(), client); err != nil {
						t.Fatal(err)
					}
					time.Sleep(test.pause)
				}
				if got := len(f.Tokens()); got != test.tokens {
					t.Errorf("%d token requests, want %d", got, test.tokens)
				}
				if got := len(f.Calls()); got != 2 {
					t.Errorf("%d calls, want 2", got)
				}
			})
		})
	}
}

func TestTokenRenewedOnceWhenRefused(t *testing.T) {
	t.Parallel()
	for name, call := range fake.Calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.Answer(http.StatusUnauthorized, ""))
			client := fake.NewClient(t, f)
			e := fake.AsError(t, call(t.Context(), client, fake.PipelineUUID))
			if e.StatusCode != http.StatusUnauthorized || e.Op == request.OpToken || e.MaybeStarted {
				t.Errorf("error is %+v, want the call's own 401", e)
			}
			if tokens, calls := len(f.Tokens()), len(f.Calls()); tokens != 2 || calls != 2 {
				t.Errorf("%d token requests and %d calls, want 2 and 2", tokens, calls)
			}
			first, second := f.Calls()[0], f.Calls()[1]
			if first.Header.Get("Authorization") != "Bearer TOKEN-1" || second.Header.Get("Authorization") != "Bearer TOKEN-2" {
				t.Errorf("tokens are %q and %q", first.Header.Get("Authorization"), second.Header.Get("Authorization"))
			}
			// The second token is only known to be refused for this request.
			_ = call(t.Context(), client, fake.PipelineUUID)
			if third := f.Calls()[2]; third.Header.Get("Authorization") != "Bearer TOKEN-2" || len(f.Tokens()) != 3 {
				t.Errorf("the next call began with %q, and there were %d token requests", third.Header.Get("Authorization"), len(f.Tokens()))
			}
		})
	}

	t.Run("the run request is whole the second time", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer TOKEN-1" {
				fake.Answer(http.StatusUnauthorized, "")(w, r)
				return
			}
			fake.Answer(http.StatusCreated, fake.StartedRun)(w, r)
		})
		run, err := fake.NewClient(t, f).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{Body: []byte(`{"a":1}`)})
		if err != nil || run.UUID != fake.RunUUID {
			t.Fatalf("run %+v, error %v", run, err)
		}
		if calls := f.Calls(); len(calls) != 2 || calls[1].Body != `{"a":1}` || calls[1].Header.Get("Content-Type") != "application/json" {
			t.Errorf("calls are %+v", calls)
		}
	})
}

func TestConcurrentRefusalsRenewOnce(t *testing.T) {
	t.Parallel()
	const n = 50
	var arrived atomic.Int64
	all := make(chan struct{})
	f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer TOKEN-1" {
			fake.AnswerJSON(fake.LastRun)(w, r)
			return
		}
		if arrived.Add(1) == n {
			close(all)
		}
		<-all
		w.WriteHeader(http.StatusUnauthorized)
	})
	client := fake.NewClient(t, f)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if err := fake.CallLastRun(t.Context(), client); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if tokens, calls := len(f.Tokens()), len(f.Calls()); tokens != 2 || calls != 2*n {
		t.Errorf("%d token requests and %d calls, want 2 and %d", tokens, calls, 2*n)
	}
}

func TestTokenOutlivesTheCallThatCausedIt(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		proceed := make(chan struct{})
		f := fake.New(t, fake.AnswerJSON(fake.LastRun))
		f.Token = func(w http.ResponseWriter, _ *http.Request) {
			<-proceed
			fake.Grant(w, 1, 86400, "stats:read")
		}
		client, _ := fake.NewPipeClient(t, f)

		ctx, cancel := context.WithCancel(t.Context())
		var first error
		go func() { first = fake.CallLastRun(ctx, client) }()
		synctest.Wait()
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if err := fake.CallLastRun(t.Context(), client); err != nil {
					t.Errorf("a call that waited for the token: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if e := fake.AsError(t, first); !errors.Is(first, context.Canceled) || e.Op != request.OpLastRun {
			t.Errorf("the call that was given up: %v", first)
		}
		close(proceed)
		wg.Wait()
		if tokens, calls := len(f.Tokens()), len(f.Calls()); tokens != 1 || calls != 5 {
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
			f := fake.New(t, fake.AnswerJSON(fake.LastRun))
			f.Token = fake.Answer(test.status, test.body, "Content-Type", "application/json;charset=UTF-8")
			client := fake.NewClient(t, f)
			for range 3 {
				for _, call := range fake.Calls {
					e := fake.AsError(t, call(t.Context(), client, fake.PipelineUUID))
					if e.Op != request.OpToken || e.StatusCode != test.status || e.Code != test.code || e.Message != test.message || e.MaybeStarted {
						t.Fatalf("error is %+v", e)
					}
				}
			}
			if tokens, calls := len(f.Tokens()), len(f.Calls()); tokens != 1 || calls != 0 {
				t.Errorf("%d token requests and %d calls, want 1 and 0", tokens, calls)
			}
		})
	}
}

// What may be over in a moment is not remembered. If it looks the same as a wrong client ID, it is asked about once
// more only.
func TestTokenFailuresThatPass(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		handler  http.HandlerFunc
		status   int
		requests int // of the call that fails
	}{
		"500 server_error":   {fake.Answer(500, serverError, "Content-Type", fake.TypeJSON), 500, 2},
		"500 empty":          {fake.Answer(500, ""), 500, 2},
		"502 from a proxy":   {fake.Answer(502, "<html>Bad Gateway</html>", "Content-Type", fake.TypeHTML), 502, 3},
		"503":                {fake.Answer(503, ""), 503, 3},
		"429":                {fake.Answer(429, "slow down", "Content-Type", fake.TypeText), 429, 3},
		"429 with a code":    {fake.Answer(429, `{"error":"rate_limit_exceeded"}`, "Content-Type", fake.TypeJSON), 429, 3},
		"408 with a code":    {fake.Answer(408, `{"error":"request_timeout"}`, "Content-Type", fake.TypeJSON), 408, 1},
		"404 page":           {fake.Answer(404, "404 page not found\n", "Content-Type", fake.TypeText), 404, 1},
		"connection dropped": {fake.Drop, 0, 3},
		"200 HTML":           {fake.Answer(200, "<html>Log in</html>", "Content-Type", fake.TypeHTML), 200, 1},
		"200 without token":  {fake.Answer(200, `{}`, "Content-Type", fake.TypeJSON), 200, 1},
		"200 with an error":  {fake.Answer(200, invalidClient, "Content-Type", fake.TypeJSON), 200, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				f := fake.New(t, fake.AnswerJSON(fake.LastRun))
				f.Token = test.handler
				client, _ := fake.NewPipeClient(t, f)
				err := fake.CallLastRun(t.Context(), client)
				if e := fake.AsError(t, err); e.Op != request.OpToken || e.StatusCode != test.status {
					t.Errorf("error is %+v, want status %d of the token endpoint", e, test.status)
				}
				if got := len(f.Tokens()); got != test.requests {
					t.Errorf("%d token requests, want %d", got, test.requests)
				}
				f.AnswerWith(nil, fake.AnswerJSON(fake.LastRun))
				if err := fake.CallLastRun(t.Context(), client); err != nil {
					t.Errorf("after it passed: %v", err)
				}
			})
		})
	}

	t.Run("503 once", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, fake.AnswerJSON(fake.LastRun))
		var n atomic.Int64
		f.Token = func(w http.ResponseWriter, r *http.Request) {
			if n.Add(1) == 1 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			fake.Grant(w, 1, 86400, "")
		}
		if err := fake.CallLastRun(t.Context(), fake.NewClient(t, f)); err != nil {
			t.Fatal(err)
		}
		body := f.Tokens()[0].Body
		if got := f.Tokens(); len(got) != 2 || got[1].Body != body || !strings.Contains(body, "client_secret") {
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
			f := fake.New(t, fake.AnswerJSON(fake.LastRun))
			f.Token = fake.Answer(status, "", "Location", elsewhere.URL+"/login")
			err := fake.CallLastRun(t.Context(), fake.NewClient(t, f))
			e := fake.AsError(t, err)
			if e.StatusCode != status || e.Location != elsewhere.URL+"/login" || !strings.Contains(err.Error(), e.Location) {
				t.Errorf("error is %v", err)
			}
			if tokens, calls := len(f.Tokens()), len(f.Calls()); tokens != 1 || calls != 0 {
				t.Errorf("%d token requests and %d calls, want 1 and 0", tokens, calls)
			}
		})
	}
}

// Tokens that live for a second make many, and are all remembered so that none is shown: but not for ever.
func TestFewTokensAreRemembered(t *testing.T) {
	t.Parallel()
	f := fake.New(t, fake.AnswerJSON(fake.LastRun))
	f.Token = func(w http.ResponseWriter, _ *http.Request) { fake.Grant(w, len(f.Tokens()), 1, "stats:read") }
	client := fake.NewClient(t, f)
	for range 50 {
		if err := fake.CallLastRun(t.Context(), client); err != nil {
			t.Fatal(err)
		}
	}
	if n := request.Remembered(client.Client); len(f.Tokens()) != 50 || n != 10 {
		t.Errorf("%d tokens of %d are remembered", n, len(f.Tokens()))
	}
}

// An answer to an old token that comes late does not cost the new one.
func TestLateRefusalOfAnOldToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, nil)
		var asked atomic.Int64
		f.API = func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer TOKEN-1" {
				fake.AnswerJSON(fake.LastRun)(w, r)
				return
			}
			time.Sleep(time.Duration(asked.Add(1)-1) * 10 * time.Second)
			w.WriteHeader(http.StatusUnauthorized)
		}
		client, _ := fake.NewPipeClient(t, f)
		if _, err := client.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		var group sync.WaitGroup
		for range 2 { // one is refused at once, the other after ten seconds
			group.Go(func() {
				if err := fake.CallLastRun(t.Context(), client); err != nil {
					t.Error(err)
				}
			})
		}
		group.Wait()
		if got := len(f.Tokens()); got != 2 {
			t.Errorf("%d token requests, want 2", got)
		}
	})
}

// A token that another request has replaced meanwhile may have lost its session: what it is refused is asked again.
func TestNeverRanIsCheckedWithAReplacedToken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") == "Bearer TOKEN-1" {
				time.Sleep(time.Second) // so that all have sent it
				fake.Answer(http.StatusForbidden, fake.Forbidden, "Content-Type", "application/json; charset=utf-8")(w, r)
				return
			}
			fake.AnswerJSON(fake.LastRun)(w, r)
		})
		client, _ := fake.NewPipeClient(t, f)
		if _, err := client.Now(t.Context()); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Minute) // and then the sessions are lost
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				if err := fake.CallLastRun(t.Context(), client); err != nil {
					t.Errorf("a pipeline that ran: %v", err)
				}
			})
		}
		wg.Wait()
		if n := len(f.Tokens()); n != 2 {
			t.Errorf("%d token requests, want 2", n)
		}
	})
}

// A refusal by a proxy in the form of OAuth is not one of the credentials.
func TestForeignErrorCodesPass(t *testing.T) {
	t.Parallel()
	f := fake.New(t, fake.AnswerJSON(fake.LastRun))
	f.Token = fake.Answer(http.StatusForbidden, `{"error":"rate_limited"}`, "Content-Type", fake.TypeJSON)
	client := fake.NewClient(t, f)
	if e := fake.AsError(t, fake.CallLastRun(t.Context(), client)); e.RefusesCredentials() || e.Code != "rate_limited" {
		t.Errorf("error is %+v", e)
	}
	f.AnswerWith(nil, fake.AnswerJSON(fake.LastRun))
	if err := fake.CallLastRun(t.Context(), client); err != nil {
		t.Errorf("after it passed: %v", err)
	}
}
