package request_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

func TestErrorBodies(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", request.MaxMessage) + "…"
	for name, test := range map[string]struct {
		status               int
		contentType, body    string
		message              string
		missingScope, noData bool
	}{
		"gateway, no scope": {403, "", "", "", true, false},
		"gateway, no route": {404, fake.TypeText, "404 page not found\n", "404 page not found", false, false},
		"gateway, service down": {
			418, fake.TypeJSON, `{"code":500,"message":"Internal error"}` + "\n", "Internal error", false, false,
		},
		"gateway, bad escape":      {400, fake.TypeText, "400 Bad Request", "400 Bad Request", false, false},
		"gateway, wrong method":    {405, "", "", "", false, false},
		"pipelines, body removed":  {404, fake.TypeJSON, "", "", false, false},
		"pipelines, paused":        {403, fake.TypeJSON, "", "", false, false},
		"statistics, nothing ever": {403, fake.TypeJSON, fake.Forbidden, "Forbidden", false, true},
		"statistics, every fault": {
			400, fake.TypeJSON,
			`{"code":400,"message":"Bad Request","errors":["must be a valid UUID v4","must be a valid value","must contain digits only"]}` + "\n",
			"Bad Request: must be a valid UUID v4: must be a valid value: must contain digits only", false, false,
		},
		"statistics, quotes in the fault": {
			400, fake.TypeJSON,
			`{"code":400,"message":"Bad Request","errors":["parsing time \"2024-01-01\" as \"2006-01-02 15:04:05\": cannot parse \"\" as \"15\""]}` + "\n",
			`Bad Request: parsing time "2024-01-01" as "2006-01-02 15:04:05": cannot parse "" as "15"`, false, false,
		},
		"OAuth": {400, fake.TypeJSON, invalidScope, "invalid_scope: The requested scope is invalid, unknown, or malformed", false, false},
		"HTML": {
			404, fake.TypeHTML, "<html>\r\n<head><title>404 Not Found</title></head>\r\n\r\n</html>\r\n",
			"<html> <head><title>404 Not Found</title></head> </html>", false, false,
		},
		"HTML that forbids":       {403, fake.TypeHTML, "<h1>Access denied</h1>", "<h1>Access denied</h1>", false, false},
		"text that forbids":       {403, fake.TypeText, "RBAC: access denied", "RBAC: access denied", false, false},
		"other JSON":              {404, fake.TypeJSON, `{"detail":"no"}`, `{"detail":"no"}`, false, false},
		"JSON of another shape":   {404, fake.TypeJSON, `{"message":["no"]}`, `{"message":["no"]}`, false, false},
		"a JSON string":           {404, fake.TypeJSON, `"no"`, `"no"`, false, false},
		"broken JSON":             {404, fake.TypeJSON, `{"message":"no`, `{"message":"no`, false, false},
		"only white space":        {404, fake.TypeText, " \r\n\t ", "", false, false},
		"control characters":      {404, fake.TypeText, "a\x00b\x1b[31mred\x1b[0m\a\u202ec\u0085d", "a b [31mred [0m c d", false, false},
		"control characters JSON": {404, fake.TypeJSON, `{"message":"a\u001b[31m\nb\u0000"}`, "a [31m b", false, false},
		"invalid UTF-8":           {404, fake.TypeText, "caf\xe9 \xff\xfe!", "caf\uFFFD \uFFFD!", false, false},
		"not Latin":               {404, fake.TypeText, "не найдено", "не найдено", false, false},
		"huge":                    {404, fake.TypeText, strings.Repeat("x", 1<<20), long, false, false},
		"huge JSON":               {404, fake.TypeJSON, `{"message":"` + strings.Repeat("x", 60_000) + `"}`, long, false, false},
		"as long as can be":       {404, fake.TypeText, strings.Repeat("x", request.MaxMessage), strings.Repeat("x", request.MaxMessage), false, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var headers []string
			if test.contentType != "" {
				headers = []string{"Content-Type", test.contentType}
			}
			f := fake.New(t, fake.Answer(test.status, test.body, headers...))
			err := fake.Calls["last run"](t.Context(), fake.NewClient(t, f), fake.PipelineUUID)
			e := fake.AsError(t, err)
			if e.StatusCode != test.status || e.Message != test.message || e.ContentType != test.contentType || e.Code != "" || e.Location != "" {
				t.Errorf("error is %+v", e)
			}
			if e.MissingScope() != test.missingScope {
				t.Errorf("MissingScope is %t", e.MissingScope())
			}
			if e.NoData() != test.noData {
				t.Errorf("NoData is %t", e.NoData())
			}
			path := fake.Prefix + "/v1/stats/pipelines/" + fake.PipelineUUID + "/last-run/stats"
			if e.Op != request.OpLastRun || e.Method != http.MethodGet || !strings.HasSuffix(e.URL, path) {
				t.Errorf("error is of %s: %s %s", e.Op, e.Method, e.URL)
			}
			fake.CheckText(t, err.Error())
			for _, want := range []string{
				"could not read the last run: GET http://", path, fmt.Sprintf("%d %s", test.status, http.StatusText(test.status)), test.message,
			} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not say %q", err, want)
				}
			}
		})
	}
}

func TestErrorText(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]*request.Error{
		"could not run the pipeline: no such thing": {Op: request.OpRun, Err: errors.New("no such thing")},
		"could not get an access token: POST https://h/v1/oauth/token: 401 Unauthorized: invalid_client: Client authentication failed": {
			Op: request.OpToken, Method: "POST", URL: "https://h/v1/oauth/token", StatusCode: 401, Code: "invalid_client", Message: "Client authentication failed",
		},
		"could not read the logs: GET https://h/x: 302 Found, redirecting to https://h/login": {
			Op: request.OpLogs, Method: "GET", URL: "https://h/x", StatusCode: 302, Location: "https://h/login",
		},
		"could not read the statistics: GET https://h/x: unexpected EOF": {
			Op: request.OpStats, Method: "GET", URL: "https://h/x", Err: io.ErrUnexpectedEOF,
		},
	} {
		if got := e.Error(); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// A body that never ends, or breaks off, is still the error of its status.
func TestErrorBodyWithoutEnd(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]http.HandlerFunc{
		"endless": func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusNotFound)
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
					return
				}
			}
		},
		"breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusNotFound)
			_, _ = io.WriteString(w, strings.Repeat("x", 400))
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				client, _ := fake.NewPipeClient(t, fake.New(t, write))
				e := fake.AsError(t, fake.CallLastRun(t.Context(), client))
				if e.StatusCode != http.StatusNotFound || !strings.HasPrefix(e.Message, "xxx") {
					t.Errorf("error is %+v", e)
				}
			})
		})
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	t.Parallel()
	for name, call := range fake.Calls {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
				fake.Answer(http.StatusTemporaryRedirect, "", "Location", "https://login.test/\xff?to="+r.URL.EscapedPath())(w, r)
			})
			err := call(t.Context(), fake.NewClient(t, f), fake.PipelineUUID)
			e := fake.AsError(t, err)
			if e.StatusCode != http.StatusTemporaryRedirect || !strings.HasPrefix(e.Location, "https://login.test/") || e.MaybeStarted {
				t.Errorf("error is %+v", e)
			}
			if !strings.Contains(err.Error(), "307 Temporary Redirect, redirecting to "+e.Location) {
				t.Errorf("error is %q", err)
			}
			fake.CheckText(t, err.Error())
			if got := len(f.Calls()); got != 1 {
				t.Errorf("%d calls, want 1", got)
			}
		})
	}
}

// Only the services' own answers mean these; the token endpoint's refusal must never pass for a pipeline that
// never ran.
func TestRefusalsOfTheTokenEndpoint(t *testing.T) {
	t.Parallel()
	for name, token := range map[string]http.HandlerFunc{
		"JSON":  fake.Answer(403, fake.Forbidden, "Content-Type", fake.TypeJSON),
		"OAuth": fake.Answer(403, `{"error":"access_denied","error_description":"No"}`, "Content-Type", fake.TypeJSON),
		"HTML":  fake.Answer(403, "<h1>Access denied</h1>", "Content-Type", fake.TypeHTML),
		"empty": fake.Answer(403, ""),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.AnswerJSON(fake.LastRun))
			f.Token = token
			e := fake.AsError(t, fake.CallLastRun(t.Context(), fake.NewClient(t, f)))
			if e.Op != request.OpToken || e.StatusCode != 403 || e.NoData() || e.MissingScope() {
				t.Errorf("NoData %t, MissingScope %t of %v", e.NoData(), e.MissingScope(), e)
			}
		})
	}
}

// echo answers with everything that came: a debugging proxy, or a server that quotes what it does not like.
func echo(write func(w http.ResponseWriter, seen string)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		seen := string(body) + "\n" + r.Header.Get("Authorization") + " " + r.Header.Get("X-Access")
		write(w, seen)
	}
}

func TestSecretsAreNeverShown(t *testing.T) {
	t.Parallel()
	const (
		secret = `sesame"&</+%\é`
		access = "proxy-pass-1234"
		input  = "{\n  \"password\": \"hunter2\",\n  \"note\": \"<&>\"\n}"
	)
	// No piece of these may be seen, however it was quoted.
	pieces := []string{"sesame", "proxy-pass", "hunter2", "password", "TOKEN-1"}
	quoted := func(s string) string {
		b, _ := json.Marshal(s)
		return string(b)
	}
	write := func(status int, contentType string, body func(seen string) string) http.HandlerFunc {
		return echo(func(w http.ResponseWriter, seen string) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body(seen))
		})
	}
	plain := func(seen string) string { return "you sent: " + seen }
	message := func(seen string) string { return `{"code":400,"message":` + quoted("bad: "+seen) + `}` }
	faults := func(seen string) string {
		return `{"code":400,"message":"Bad Request","errors":[` + quoted("bad: "+seen) + `]}`
	}
	nested := func(seen string) string { return `{"echo":` + quoted(seen) + `}` }
	for name, test := range map[string]struct {
		input string
		api   http.HandlerFunc
	}{
		"error, plain":                    {input, write(500, fake.TypeText, plain)},
		"error, HTML":                     {input, write(400, fake.TypeHTML, plain)},
		"error, JSON message":             {input, write(400, fake.TypeJSON, message)},
		"error, JSON faults":              {input, write(400, fake.TypeJSON, faults)},
		"error, JSON of another shape":    {input, write(400, fake.TypeJSON, nested)},
		"error, input longer than shown":  {"hunter2 " + strings.Repeat("x ", 1000), write(500, fake.TypeText, plain)},
		"error, input longer than read":   {"hunter2 " + strings.Repeat("x", ylem.MaxInput-8), write(500, fake.TypeText, plain)},
		"answer, plain":                   {input, write(200, fake.TypeText, plain)},
		"answer, nothing but the request": {input, write(200, fake.TypeText, func(seen string) string { return seen })},
		"answer, JSON of another shape":   {input, write(201, fake.TypeJSON, nested)},
		"answer, input longer than shown": {"hunter2 " + strings.Repeat("x ", 1000), write(200, fake.TypeText, plain)},
		"answer, in a time": {input, write(200, fake.TypeJSON, func(seen string) string {
			return `{"executed_at":` + quoted(seen) + `,"last_run_executed_at":` + quoted(seen) + `}`
		})},
		"answer, in a row": {input, write(200, fake.TypeJSON, func(seen string) string {
			return `[{"pipeline_run_uuid":"` + fake.RunUUID + `","task_uuid":"` + fake.TaskUUID + `","date_from":` + quoted(seen) + `,"executed_at":` + quoted(seen) + `}]`
		})},
		"redirect": {input, echo(func(w http.ResponseWriter, seen string) {
			w.Header().Set("Location", "https://login.test/?"+strings.ReplaceAll(seen, "\n", ""))
			w.WriteHeader(302)
		})},
		"redirect, escaped": {input, echo(func(w http.ResponseWriter, seen string) {
			w.Header().Set("Location", "https://login.test/?"+url.QueryEscape(seen))
			w.WriteHeader(302)
		})},
	} {
		for call, do := range fake.Calls {
			t.Run(name+"/"+call, func(t *testing.T) {
				t.Parallel()
				client := fake.NewClient(t, fake.New(t, test.api), func(cfg *request.Config) {
					cfg.ClientSecret, cfg.Headers, cfg.MaxRetries = secret, map[string]string{"X-Access": access}, 0
				})
				var err error
				if call == "run" {
					_, err = client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{Body: []byte(test.input), Secret: true})
				} else {
					err = do(t.Context(), client, fake.PipelineUUID)
				}
				if err == nil {
					t.Skip("no error: what is echoed is no part of this answer")
				}
				checkSecrets(t, err, pieces)
			})
		}
	}

	for name, token := range map[string]http.HandlerFunc{
		"plain":                  write(400, fake.TypeText, plain),
		"HTML":                   write(502, fake.TypeHTML, plain),
		"OAuth description":      write(400, fake.TypeJSON, func(seen string) string { return `{"error":"invalid_client","error_description":` + quoted(seen) + `}` }),
		"OAuth code":             write(400, fake.TypeJSON, func(seen string) string { return `{"error":` + quoted(seen) + `}` }),
		"JSON message":           write(400, fake.TypeJSON, message),
		"JSON faults":            write(400, fake.TypeJSON, faults),
		"JSON of another shape":  write(400, fake.TypeJSON, nested),
		"answer, plain":          write(200, fake.TypeHTML, plain),
		"answer, without token":  write(200, fake.TypeJSON, nested),
		"answer, of other types": write(200, fake.TypeJSON, func(seen string) string { return `{"access_token":1,"expires_in":` + quoted(seen) + `}` }),
		"redirect": echo(func(w http.ResponseWriter, seen string) {
			w.Header().Set("Location", "https://login.test/?"+strings.ReplaceAll(seen, "\n", "&"))
			w.WriteHeader(302)
		}),
	} {
		t.Run("token endpoint, "+name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.AnswerJSON(fake.LastRun))
			f.Token = token
			client := fake.NewClient(t, f, func(cfg *request.Config) {
				cfg.ClientSecret, cfg.Headers, cfg.MaxRetries = secret, map[string]string{"X-Access": access}, 0
			})
			err := fake.CallLastRun(t.Context(), client)
			if err == nil {
				t.Fatal("no error")
			}
			checkSecrets(t, err, pieces)
		})
	}

	t.Run("one secret is part of another", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, write(500, fake.TypeText, plain))
		client := fake.NewClient(t, f, func(cfg *request.Config) {
			cfg.ClientSecret, cfg.Headers, cfg.MaxRetries = "sesame", map[string]string{"X-Access": "sesame-proxy-pass"}, 0
		})
		checkSecrets(t, fake.CallLastRun(t.Context(), client), pieces)
	})

	t.Run("a token that was replaced meanwhile", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			proceed := make(chan struct{})
			f := fake.New(t, nil)
			f.API = func(w http.ResponseWriter, r *http.Request) {
				switch {
				case strings.HasSuffix(r.URL.Path, "/last-run/stats"):
					<-proceed
					fake.Answer(400, "no good: "+r.Header.Get("Authorization"), "Content-Type", fake.TypeText)(w, r)
				case r.Header.Get("Authorization") == "Bearer TOKEN-1":
					w.WriteHeader(http.StatusUnauthorized)
				default:
					fake.Answer(http.StatusCreated, fake.StartedRun)(w, r)
				}
			}
			client, _ := fake.NewPipeClient(t, f)
			var wg sync.WaitGroup
			wg.Go(func() { checkSecrets(t, fake.CallLastRun(t.Context(), client), pieces) })
			synctest.Wait()
			if _, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{}); err != nil {
				t.Error(err)
			}
			close(proceed)
			wg.Wait()
		})
	})
}

func checkSecrets(t *testing.T, err error, pieces []string) {
	t.Helper()
	e := fake.AsError(t, err)
	texts := []string{err.Error(), e.Message, e.Code, e.Location}
	if e.Err != nil {
		texts = append(texts, e.Err.Error())
	}
	for _, text := range texts {
		for _, piece := range pieces {
			if strings.Contains(text, piece) {
				t.Errorf("%q is seen in %q", piece, text)
			}
		}
	}
}

func TestCausesAreFound(t *testing.T) {
	t.Parallel()
	t.Run("canceled before the body came", func(t *testing.T) {
		t.Parallel()
		for name, do := range fake.Calls {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
						_ = http.NewResponseController(w).Flush()
						fake.Stall(w, r)
					})
					client, _ := fake.NewPipeClient(t, f)
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Second, cancel)
					err := do(ctx, client, fake.PipelineUUID)
					if e := fake.AsError(t, err); !errors.Is(err, context.Canceled) || e.MaybeStarted != (name == "run") {
						t.Errorf("MaybeStarted %t: %v", e.MaybeStarted, err)
					}
				})
			})
		}
	})

	t.Run("the body did not come in time", func(t *testing.T) {
		t.Parallel()
		for name, do := range fake.Calls {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				synctest.Test(t, func(t *testing.T) {
					f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
						_ = http.NewResponseController(w).Flush()
						fake.Stall(w, r)
					})
					client, _ := fake.NewPipeClient(t, f)
					err := do(t.Context(), client, fake.PipelineUUID)
					if timeout, ok := errors.AsType[net.Error](err); !ok || !timeout.Timeout() {
						t.Errorf("not a timeout: %v", err)
					}
				})
			})
		}
	})

	t.Run("canceled, and the input is a word of the cause", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			client, _ := fake.NewPipeClient(t, fake.New(t, fake.Stall))
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(time.Second, cancel)
			if _, err := client.RunPipeline(ctx, fake.PipelineUUID, ylem.Input{Body: []byte("context")}); !errors.Is(err, context.Canceled) {
				t.Errorf("error: %v", err)
			}
		})
	})
}

// What net/http and encoding/json quote from an answer is foreign text as well.
func TestForeignTextInCauses(t *testing.T) {
	t.Parallel()
	for name, raw := range map[string]string{
		"not HTTP":          "SSH-2.0-OpenSSH_9.6\x1b[31m\r\n",
		"a broken header":   "HTTP/1.1 200 OK\r\n\x1b[31mred\r\n\r\n",
		"a long header":     "HTTP/1.1 200 OK\r\n" + strings.Repeat("x", 50_000) + "\r\n\r\n",
		"a huge number":     "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{\"duration\":" + strings.Repeat("1", 50_000) + "}",
		"a foreign charset": "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n\xff\xfe\x1b[31m\u202e",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
				conn, _, err := http.NewResponseController(w).Hijack()
				if err != nil {
					t.Error(err)
					return
				}
				defer func() { _ = conn.Close() }()
				_, _ = io.WriteString(conn, raw)
			})
			err := fake.CallLastRun(t.Context(), fake.NewClient(t, f, func(cfg *request.Config) { cfg.MaxRetries = 0 }))
			_ = fake.AsError(t, err)
			fake.CheckText(t, err.Error())
		})
	}
}

func FuzzErrorBody(f *testing.F) {
	for _, s := range []string{
		"", fake.Forbidden, invalidClient, "404 page not found\n", `{"code":400,"message":"Bad Request","errors":["a","b"]}`,
		`{"message":["no"]}`, `{"message":"no`, "<html>\r\n</html>", "a\x00\x1b[31mb\u202e\u0085c", "caf\xe9 \xff\xfe",
		strings.Repeat("x", 400), strings.Repeat("é ", 400), strings.Repeat("\n", 100_000) + "x", `{"message":"\u001b\u0000\ud800"}`,
		strings.Repeat("x", request.MaxMessage) + " ", strings.Repeat("[", 20_000),
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got := request.BodyMessage(body)
		checkMessage(t, got)
		if again := request.Shorten(got); again != got {
			t.Errorf("shortened once %q, and twice %q", got, again)
		}
		// Whatever text Ylem gives as its message is what is shown of it.
		text := string(body)
		if quoted, err := json.Marshal(map[string]any{"code": 400, "message": text}); err == nil && utf8.ValidString(text) && text != "" {
			if got, want := request.BodyMessage(quoted), request.Shorten(text); got != want {
				t.Errorf("message %q is shown as %q, want %q", text, got, want)
			}
		}
	})
}

func checkMessage(t *testing.T, got string) {
	t.Helper()
	if n := utf8.RuneCountInString(strings.TrimSuffix(got, "…")); n > request.MaxMessage {
		t.Errorf("%d characters, the limit is %d", n, request.MaxMessage)
	}
	if strings.ContainsFunc(got, func(r rune) bool { return !unicode.IsPrint(r) }) || !utf8.ValidString(got) || got != strings.TrimSpace(got) {
		t.Errorf("not one printable line: %q", got)
	}
}

func TestMessageIsNoLongerThanItsLimit(t *testing.T) {
	t.Parallel()
	for _, n := range []int{request.MaxMessage - 2, request.MaxMessage - 1, request.MaxMessage, request.MaxMessage + 1} {
		checkMessage(t, request.Shorten(strings.Repeat("é", n)+" bc"))
		checkMessage(t, request.Shorten(strings.Repeat("é", n)+"bc d"))
	}
}
