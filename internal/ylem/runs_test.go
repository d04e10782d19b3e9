package ylem_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
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

func TestRunPipelineRequest(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ input, contentType string }{
		"none":            {"", ""},
		"JSON object":     {`{"b": 1,  "a": [true, null]}` + "\n", "application/json"},
		"JSON number":     {"42", "application/json"},
		"empty object":    {"{}", "application/json"},
		"text":            {"hello, pipeline", "text/plain; charset=utf-8"},
		"broken JSON":     {`{"a":`, "text/plain; charset=utf-8"},
		"only a space":    {" ", "text/plain; charset=utf-8"},
		"not ASCII":       {"grüße, Привет, 日本語 🎉", "text/plain; charset=utf-8"},
		"not ASCII, JSON": {`{"größe":"日本"}`, "application/json"},
		"not UTF-8":       {"\x00\xff\xfe\r\n", "text/plain; charset=utf-8"},
		"60 kB":           {strings.Repeat("0123456789", 6000), "text/plain; charset=utf-8"},
		"60 kB of JSON":   {`"` + strings.Repeat("é", 30_000) + `"`, "application/json"},
		"as long as can":  {strings.Repeat("x", ylem.MaxInput), "text/plain; charset=utf-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.Answer(http.StatusCreated, fake.StartedRun, "Content-Type", fake.TypeJSON))
			run, err := fake.NewClient(t, f).RunPipeline(t.Context(), strings.ToUpper(fake.PipelineUUID), ylem.Input{Body: []byte(test.input)})
			if err != nil {
				t.Fatal(err)
			}
			if run.UUID != fake.RunUUID || len(run.TaskRuns) != 0 {
				t.Errorf("run is %+v", run)
			}
			if len(f.Calls()) != 1 {
				t.Fatalf("%d calls, want 1", len(f.Calls()))
			}
			r := f.Calls()[0]
			if r.Method != http.MethodPost || r.Path != "/v1/pipelines/"+fake.PipelineUUID+"/runs/" || r.Query != "" {
				t.Errorf("request is %s %s?%s", r.Method, r.Path, r.Query)
			}
			if r.Body != test.input || r.Length != int64(len(test.input)) {
				t.Errorf("input arrived as %.100q, %d bytes announced", r.Body, r.Length)
			}
			if got := r.Header.Values("Content-Type"); test.contentType == "" && len(got) != 0 || test.contentType != "" && !slices.Equal(got, []string{test.contentType}) {
				t.Errorf("Content-Type is %q, want %q", got, test.contentType)
			}
			if got := r.Header.Get("Content-Encoding") + r.Header.Get("Expect"); got != "" {
				t.Errorf("sent with %q", got)
			}
		})
	}
}

func TestRunPipelineAnswers(t *testing.T) {
	t.Parallel()
	pending := ylem.PendingTaskRun{
		TaskUUID: "449c3c47-427e-465e-b1d2-0bf257b714e4", TaskRunUUID: "ec430b94-4e22-4448-94f9-944ec650ba25",
	}
	for name, test := range map[string]struct {
		body, uuid string
		tasks      []ylem.PendingTaskRun
	}{
		"open source":      {fake.StartedRun, fake.RunUUID, nil},
		"with a line end":  {" " + fake.StartedRun + "\n", fake.RunUUID, nil},
		"older clients'":   {`{"workflow_run_uuid":"` + fake.RunUUID + `"}`, fake.RunUUID, nil},
		"more than needed": {`{"id":1,"pipeline_run_uuid":"` + fake.RunUUID + `","state":"pending"}`, fake.RunUUID, nil},
		"reference":        {fake.Fixture(t, "reference_run.json"), "95295cbc-cee7-49cc-a11a-2f1788423934", []ylem.PendingTaskRun{pending}},
		"two first tasks": {
			`[{"task_uuid":"a","task_run_uuid":"b","state":"pending","workflow_run_uuid":"` + fake.RunUUID + `"},{"task_uuid":"c","task_run_uuid":"d","state":"pending","workflow_run_uuid":"` + fake.RunUUID + `"}]`,
			fake.RunUUID,
			[]ylem.PendingTaskRun{{TaskUUID: "a", TaskRunUUID: "b"}, {TaskUUID: "c", TaskRunUUID: "d"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			date := time.Date(2026, 11, 23, 11, 4, 33, 0, time.UTC)
			for _, status := range []int{http.StatusOK, http.StatusCreated, http.StatusAccepted} {
				f := fake.New(t, fake.Answer(status, test.body, "Content-Type", fake.TypeJSON, "Date", "Mon, 23 Nov 2026 11:04:33 GMT"))
				run, err := fake.NewClient(t, f).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
				if err != nil {
					t.Fatal(err)
				}
				if run.UUID != test.uuid || !slices.Equal(run.TaskRuns, test.tasks) {
					t.Errorf("run is %+v", run)
				}
				// The request was sent before the answer was dated.
				if at := run.TriggeredAt; !at.Before(date) || at.Before(date.Add(-time.Minute)) || at.Nanosecond() != 0 || at.Location() != time.UTC {
					t.Errorf("triggered at %v, answered at %v", at, date)
				}
			}
		})
	}
}

// A run that was started is not lost because something on the way has changed the answer around it.
func TestRunPipelineAnswersWithAdditions(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"a byte order mark before": "\uFEFF" + fake.StartedRun,
		"a comment before":         "/* proxied */ " + fake.StartedRun,
		"a guard before":           ")]}',\n" + fake.StartedRun,
		"a comment after":          fake.StartedRun + "\n<!-- 12 ms -->",
		"a second document after":  fake.StartedRun + `{"ok":true}`,
		"a brace too few":          fake.StartedRun[:len(fake.StartedRun)-1],
		"a cut array":              `[` + fake.StartedRun,
		"an array in an array":     `[[` + fake.StartedRun + `]]`,
		"the older name":           "\uFEFF" + `{"workflow_run_uuid" : "` + fake.RunUUID + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run, err := fake.NewClient(t, fake.New(t, fake.Answer(http.StatusCreated, body))).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
			if err != nil || run.UUID != fake.RunUUID {
				t.Errorf("run is %+v, %v", run, err)
			}
		})
	}

	t.Run("broken off", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, fake.StartedRun)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		if run, err := fake.NewClient(t, f).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{}); err != nil || run.UUID != fake.RunUUID {
			t.Errorf("run is %+v, %v", run, err)
		}
	})
}

// A slow answer, or one with a fast clock behind it, does not move the start of a run: its first task may be older.
func TestTriggeredAtIsNotAfterTheRequest(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(3 * time.Second)
			_, _ = io.WriteString(w, fake.StartedRun)
		})
		client, _ := fake.NewPipeClient(t, f)
		time.Sleep(500 * time.Millisecond)
		sent := time.Now()
		run, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
		if err != nil || run.TriggeredAt.After(sent) || run.TriggeredAt.Before(sent.Add(-2*time.Second)) {
			t.Errorf("triggered at %s, requested at %s: %v", run.TriggeredAt, sent, err)
		}
	})
}

// Whoever answered 2xx took the request, so that an answer that cannot be understood leaves it open whether a run began.
func TestRunPipelineForeignAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":          "",
		"white space":    " \n",
		"null":           "null",
		"no tasks":       "[]",
		"the nil UUID":   `{"pipeline_run_uuid":"00000000-0000-0000-0000-000000000000"}`,
		"empty object":   "{}",
		"empty element":  "[{}]",
		"a null element": "[null]",
		"other object":   `{"status":"ok"}`,
		"HTML":           "<!doctype html><title>Log in</title>",
		"not a UUID":     `{"pipeline_run_uuid":"not-a-uuid"}`,
		"a path as UUID": `{"pipeline_run_uuid":"../../../../../../../../../../etc/pas"}`,
		"a number":       `{"pipeline_run_uuid":7}`,
		"a string":       `"` + fake.RunUUID + `"`,
		"a cut UUID":     fake.StartedRun[:len(fake.StartedRun)-3],
		"another name":   `{"run_uuid":"` + fake.RunUUID + `"`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fake.New(t, fake.Answer(http.StatusCreated, body, "Content-Type", fake.TypeJSON))
			run, err := fake.NewClient(t, f).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
			e := fake.AsError(t, err)
			if !e.MaybeStarted || e.StatusCode != http.StatusCreated || e.Op != request.OpRun || e.Err == nil {
				t.Errorf("error is %+v", e)
			}
			if run.UUID != "" || len(run.TaskRuns) != 0 {
				t.Errorf("an error, and the run %+v", run)
			}
			if got := len(f.Calls()); got != 1 {
				t.Errorf("%d calls, want 1", got)
			}
			fake.CheckText(t, err.Error())
		})
	}

	t.Run("204", func(t *testing.T) {
		t.Parallel()
		f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		_, err := fake.NewClient(t, f).RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
		if e := fake.AsError(t, err); !e.MaybeStarted || e.StatusCode != http.StatusNoContent {
			t.Errorf("error is %+v", e)
		}
	})
}

func TestServerClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // it is the year 2000 in here
		f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			_, _ = io.WriteString(w, fake.StartedRun)
		})
		f.Token = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", "Mon, 23 Nov 2026 11:04:33 GMT")
			fake.Grant(w, 1, 86400, "")
		}
		client, _ := fake.NewPipeClient(t, f)
		want := time.Date(2026, 11, 23, 11, 4, 33, 0, time.UTC)
		if got, err := client.Now(t.Context()); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("now is %v (%v), want %v", got, err, want)
		}
		time.Sleep(90 * time.Second)
		want = want.Add(90 * time.Second)
		if got, err := client.Now(t.Context()); err != nil || !got.Equal(want) {
			t.Errorf("now is %v (%v), want %v", got, err, want)
		}
		run, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{})
		if err != nil || !run.TriggeredAt.Equal(want) {
			t.Errorf("triggered at %v (%v), want %v", run.TriggeredAt, err, want)
		}
		if len(f.Tokens()) != 1 {
			t.Errorf("%d token requests", len(f.Tokens()))
		}
	})
}

func TestMaxConcurrentRuns(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{0: 1, 1: 1, 4: 4} {
		synctest.Test(t, func(t *testing.T) {
			var now, most, reads atomic.Int64
			f := fake.New(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					reads.Add(1)
					fake.AnswerJSON(fake.LastRun)(w, r)
					return
				}
				n := now.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				time.Sleep(time.Second)
				now.Add(-1)
				fake.Answer(http.StatusCreated, fake.StartedRun)(w, r)
			})
			client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.MaxConcurrentRuns = limit })
			start := time.Now()
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() {
					if _, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{}); err != nil {
						t.Error(err)
					}
				})
			}
			// A read does not wait, and a run that is given up while it waits is not sent.
			synctest.Wait()
			if err := fake.CallLastRun(t.Context(), client); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := client.RunPipeline(ctx, fake.PipelineUUID, ylem.Input{}); !errors.Is(err, context.Canceled) || fake.AsError(t, err).MaybeStarted {
				t.Errorf("error: %v", err)
			}
			if time.Since(start) != 0 {
				t.Errorf("the read and the run given up took %s", time.Since(start))
			}
			wg.Wait()
			if got := most.Load(); got != want {
				t.Errorf("%d at once, want %d", got, want)
			}
			if got, want := time.Since(start), time.Duration(12/want)*time.Second; got != want {
				t.Errorf("all took %s, want %s", got, want)
			}
			if got := len(f.Calls()); got != 13 {
				t.Errorf("%d calls, want 12 runs and a read", got)
			}
		})
	}
}

// A slot is given back however the run ends.
func TestRunSlotsAreGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := fake.New(t, nil)
		client, _ := fake.NewPipeClient(t, f, func(cfg *request.Config) { cfg.MaxConcurrentRuns = 1 })
		for _, api := range []http.HandlerFunc{fake.Drop, fake.Answer(404, ""), fake.Answer(201, ""), fake.Answer(500, ""), fake.Stall, fake.Answer(201, fake.StartedRun)} {
			f.AnswerWith(nil, api)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := client.RunPipeline(ctx, fake.PipelineUUID, ylem.Input{})
			cancel()
			if e, ok := errors.AsType[*request.Error](err); ok && e.StatusCode == 0 && !e.MaybeStarted {
				t.Errorf("not sent: %v", err)
			}
		}
		if got := len(f.Calls()); got != 6 {
			t.Errorf("%d calls, want 6", got)
		}
	})
}

func TestInvalidUUIDIsNeverSent(t *testing.T) {
	t.Parallel()
	for _, uuid := range []string{
		"", "not-a-uuid", "..", "../../oauth/token", fake.PipelineUUID + "/", fake.PipelineUUID + "?", fake.PipelineUUID[:35], fake.PipelineUUID + "0",
		strings.ReplaceAll(fake.PipelineUUID, "-", ""), "{" + fake.PipelineUUID + "}", "urn:uuid:" + fake.PipelineUUID, " " + fake.PipelineUUID[1:],
		"10000000%2F0000-4000-8000-0000000000a", "g" + fake.PipelineUUID[1:], strings.ReplaceAll(fake.PipelineUUID, "-", "_"),
		strings.Repeat("\x1b\xff", 18),
	} {
		for name, call := range fake.Calls {
			f := fake.New(t, fake.AnswerJSON("null"))
			err := call(t.Context(), fake.NewClient(t, f), uuid)
			if e := fake.AsError(t, err); e.StatusCode != 0 || e.MaybeStarted || !strings.Contains(err.Error(), "is not a UUID") {
				t.Errorf("%s of %q: %v", name, uuid, err)
			}
			if tokens, calls := len(f.Tokens()), len(f.Calls()); calls != 0 || tokens != 0 {
				t.Errorf("%s of %q: %d token requests and %d calls, want none", name, uuid, tokens, calls)
			}
			fake.CheckText(t, err.Error())
		}
	}
}

// The line that is left of a run when the process is killed, and nothing beside it that must not be logged.
func TestRunIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := fake.New(t, fake.Answer(http.StatusCreated, fake.StartedRun, "X-Echo", "client-secret"))
	client := fake.NewClient(t, f, func(cfg *request.Config) {
		cfg.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		cfg.Headers = map[string]string{"X-Access": "proxy-pass"}
	})
	if _, err := client.RunPipeline(t.Context(), fake.PipelineUUID, ylem.Input{Body: []byte("hunter2")}); err != nil {
		t.Fatal(err)
	}
	var found bool
	for line := range strings.Lines(log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		found = found || entry["level"] == "INFO" && entry["msg"] == "Started run "+fake.RunUUID+" of pipeline "+fake.PipelineUUID
	}
	if !found {
		t.Errorf("no line names the run:\n%s", log.String())
	}
	for _, secret := range []string{"client-secret", "proxy-pass", "hunter2", "TOKEN-", "REFRESH-"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is logged:\n%s", secret, log.String())
		}
	}
}

func FuzzDecodeRun(f *testing.F) {
	for _, s := range []string{
		"", "null", "[]", "{}", fake.StartedRun, `{"workflow_run_uuid":"` + fake.RunUUID + `"}`, fake.Fixture(f, "reference_run.json"), "[" + fake.StartedRun + ",null]",
		`{"pipeline_run_uuid":7}`, `[{"workflow_run_uuid":"x"}]`, fake.StartedRun + "x", "<html>", "\xff", `{"pipeline_run_uuid":"` + strings.Repeat("x", 5000) + `"}`,
		strings.Repeat(`[`, 11_000),
	} {
		f.Add([]byte(s), 1)
	}
	f.Fuzz(func(t *testing.T, body []byte, cut int) {
		uuid, tasks, err := ylem.DecodeRun(body)
		if err != nil {
			if uuid != "" || tasks != nil {
				t.Errorf("%q, %v and the error %v", uuid, tasks, err)
			}
			return
		}
		if !ylem.ValidUUID(uuid) || !bytes.Contains(body, []byte(uuid)) && !json.Valid(body) {
			t.Errorf("%q of %q", uuid, body)
		}
		for _, task := range tasks {
			if task.TaskUUID == "" {
				t.Errorf("tasks are %+v", tasks)
			}
		}
		if cut > 0 && cut < len(body) {
			if uuid, _, err := ylem.DecodeRun(body[:cut]); err == nil && !ylem.ValidUUID(uuid) {
				t.Errorf("cut to %q, it is the run %q", body[:cut], uuid)
			}
		}
		again, _ := json.Marshal(map[string]string{"pipeline_run_uuid": uuid})
		if got, _, err := ylem.DecodeRun(again); err != nil || got != uuid {
			t.Errorf("%q is read as %q (%v)", again, got, err)
		}
	})
}
