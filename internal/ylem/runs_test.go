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
			f := newFake(t, answer(http.StatusCreated, startedRun, "Content-Type", typeJSON))
			run, err := newClient(t, f).RunPipeline(t.Context(), strings.ToUpper(pipelineUUID), []byte(test.input))
			if err != nil {
				t.Fatal(err)
			}
			if run.UUID != runUUID || len(run.TaskRuns) != 0 {
				t.Errorf("run is %+v", run)
			}
			if len(f.calls()) != 1 {
				t.Fatalf("%d calls, want 1", len(f.calls()))
			}
			r := f.calls()[0]
			if r.Method != http.MethodPost || r.Path != "/v1/pipelines/"+pipelineUUID+"/runs/" || r.Query != "" {
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
		"open source":      {startedRun, runUUID, nil},
		"with a line end":  {" " + startedRun + "\n", runUUID, nil},
		"older clients'":   {`{"workflow_run_uuid":"` + runUUID + `"}`, runUUID, nil},
		"more than needed": {`{"id":1,"pipeline_run_uuid":"` + runUUID + `","state":"pending"}`, runUUID, nil},
		"reference":        {fixture(t, "reference_run.json"), "95295cbc-cee7-49cc-a11a-2f1788423934", []ylem.PendingTaskRun{pending}},
		"two first tasks": {
			`[{"task_uuid":"a","task_run_uuid":"b","state":"pending","workflow_run_uuid":"` + runUUID + `"},{"task_uuid":"c","task_run_uuid":"d","state":"pending","workflow_run_uuid":"` + runUUID + `"}]`,
			runUUID,
			[]ylem.PendingTaskRun{{TaskUUID: "a", TaskRunUUID: "b"}, {TaskUUID: "c", TaskRunUUID: "d"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, status := range []int{http.StatusOK, http.StatusCreated, http.StatusAccepted} {
				f := newFake(t, answer(status, test.body, "Content-Type", typeJSON, "Date", "Mon, 23 Nov 2026 11:04:33 GMT"))
				run, err := newClient(t, f).RunPipeline(t.Context(), pipelineUUID, nil)
				if err != nil {
					t.Fatal(err)
				}
				if run.UUID != test.uuid || !slices.Equal(run.TaskRuns, test.tasks) {
					t.Errorf("run is %+v", run)
				}
				if want := time.Date(2026, 11, 23, 11, 4, 33, 0, time.UTC); !run.TriggeredAt.Equal(want) || run.TriggeredAt.Location() != time.UTC {
					t.Errorf("triggered at %v, want %v", run.TriggeredAt, want)
				}
			}
		})
	}
}

// Whoever answered 2xx took the request, so that an answer nobody understands leaves it open whether a run began.
func TestRunPipelineForeignAnswers(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"empty":           "",
		"white space":     " \n",
		"null":            "null",
		"no tasks":        "[]",
		"the nil UUID":    `{"pipeline_run_uuid":"00000000-0000-0000-0000-000000000000"}`,
		"empty object":    "{}",
		"empty element":   "[{}]",
		"a null element":  "[null]",
		"other object":    `{"status":"ok"}`,
		"HTML":            "<!doctype html><title>Log in</title>",
		"not a UUID":      `{"pipeline_run_uuid":"not-a-uuid"}`,
		"a path as UUID":  `{"pipeline_run_uuid":"../../../../../../../../../../etc/pas"}`,
		"a number":        `{"pipeline_run_uuid":7}`,
		"a string":        `"` + runUUID + `"`,
		"cut":             startedRun[:len(startedRun)-1],
		"more after it":   startedRun + "{}",
		"a cut array":     `[` + startedRun,
		"an array of two": `[[` + startedRun + `]]`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, answer(http.StatusCreated, body, "Content-Type", typeJSON))
			run, err := newClient(t, f).RunPipeline(t.Context(), pipelineUUID, nil)
			e := asError(t, err)
			if !e.MaybeStarted || e.StatusCode != http.StatusCreated || e.Op != ylem.OpRun || e.Err == nil {
				t.Errorf("error is %+v", e)
			}
			if run.UUID != "" || len(run.TaskRuns) != 0 {
				t.Errorf("an error, and the run %+v", run)
			}
			if got := len(f.calls()); got != 1 {
				t.Errorf("%d calls, want 1", got)
			}
			checkText(t, err.Error())
		})
	}

	t.Run("204", func(t *testing.T) {
		t.Parallel()
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
		_, err := newClient(t, f).RunPipeline(t.Context(), pipelineUUID, nil)
		if e := asError(t, err); !e.MaybeStarted || e.StatusCode != http.StatusNoContent {
			t.Errorf("error is %+v", e)
		}
	})
}

func TestServerClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) { // it is the year 2000 in here
		f := newFake(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header()["Date"] = nil
			_, _ = io.WriteString(w, startedRun)
		})
		f.token = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Date", "Mon, 23 Nov 2026 11:04:33 GMT")
			grant(w, 1, 86400, "")
		}
		client, _ := newPipeClient(t, f)
		want := time.Date(2026, 11, 23, 11, 4, 33, 0, time.UTC)
		if got, err := client.Now(t.Context()); err != nil || !got.Equal(want) || got.Location() != time.UTC {
			t.Errorf("now is %v (%v), want %v", got, err, want)
		}
		time.Sleep(90 * time.Second)
		want = want.Add(90 * time.Second)
		if got, err := client.Now(t.Context()); err != nil || !got.Equal(want) {
			t.Errorf("now is %v (%v), want %v", got, err, want)
		}
		run, err := client.RunPipeline(t.Context(), pipelineUUID, nil)
		if err != nil || !run.TriggeredAt.Equal(want) {
			t.Errorf("triggered at %v (%v), want %v", run.TriggeredAt, err, want)
		}
		if len(f.tokens()) != 1 {
			t.Errorf("%d token requests", len(f.tokens()))
		}
	})
}

func TestMaxConcurrentRuns(t *testing.T) {
	t.Parallel()
	for limit, want := range map[int64]int64{0: 1, 1: 1, 4: 4} {
		synctest.Test(t, func(t *testing.T) {
			var now, most, reads atomic.Int64
			f := newFake(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodGet {
					reads.Add(1)
					answerJSON(lastRun)(w, r)
					return
				}
				n := now.Add(1)
				for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
				}
				time.Sleep(time.Second)
				now.Add(-1)
				answer(http.StatusCreated, startedRun)(w, r)
			})
			client, _ := newPipeClient(t, f, func(cfg *ylem.Config) { cfg.MaxConcurrentRuns = limit })
			start := time.Now()
			var wg sync.WaitGroup
			for range 12 {
				wg.Go(func() {
					if _, err := client.RunPipeline(t.Context(), pipelineUUID, nil); err != nil {
						t.Error(err)
					}
				})
			}
			// A read waits for nobody, and a run that is given up while it waits is not sent.
			synctest.Wait()
			if err := callLastRun(t.Context(), client); err != nil {
				t.Error(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := client.RunPipeline(ctx, pipelineUUID, nil); !errors.Is(err, context.Canceled) || asError(t, err).MaybeStarted {
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
			if got := len(f.calls()); got != 13 {
				t.Errorf("%d calls, want 12 runs and a read", got)
			}
		})
	}
}

// A slot is given back however the run ends.
func TestRunSlotsAreGivenBack(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t, nil)
		client, _ := newPipeClient(t, f, func(cfg *ylem.Config) { cfg.MaxConcurrentRuns = 1 })
		for _, api := range []http.HandlerFunc{drop, answer(404, ""), answer(201, ""), answer(500, ""), stall, answer(201, startedRun)} {
			f.answerWith(nil, api)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			_, err := client.RunPipeline(ctx, pipelineUUID, nil)
			cancel()
			if e, ok := errors.AsType[*ylem.Error](err); ok && e.StatusCode == 0 && !e.MaybeStarted {
				t.Errorf("not sent: %v", err)
			}
		}
		if got := len(f.calls()); got != 6 {
			t.Errorf("%d calls, want 6", got)
		}
	})
}

func TestInvalidUUIDIsNeverSent(t *testing.T) {
	t.Parallel()
	for _, uuid := range []string{
		"", "not-a-uuid", "..", "../../oauth/token", pipelineUUID + "/", pipelineUUID + "?", pipelineUUID[:35], pipelineUUID + "0",
		strings.ReplaceAll(pipelineUUID, "-", ""), "{" + pipelineUUID + "}", "urn:uuid:" + pipelineUUID, " " + pipelineUUID[1:],
		"10000000%2F0000-4000-8000-0000000000a", "g" + pipelineUUID[1:], strings.ReplaceAll(pipelineUUID, "-", "_"),
		strings.Repeat("\x1b\xff", 18),
	} {
		for name, call := range calls {
			f := newFake(t, answerJSON("null"))
			err := call(t.Context(), newClient(t, f), uuid)
			if e := asError(t, err); e.StatusCode != 0 || e.MaybeStarted || !strings.Contains(err.Error(), "is not a UUID") {
				t.Errorf("%s of %q: %v", name, uuid, err)
			}
			if tokens, calls := len(f.tokens()), len(f.calls()); calls != 0 || tokens != 0 {
				t.Errorf("%s of %q: %d token requests and %d calls, want none", name, uuid, tokens, calls)
			}
			checkText(t, err.Error())
		}
	}
}

// The line that is left of a run when the process is killed, and nothing beside it that must not be logged.
func TestRunIsLogged(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	f := newFake(t, answer(http.StatusCreated, startedRun, "X-Echo", "client-secret"))
	client := newClient(t, f, func(cfg *ylem.Config) {
		cfg.Logger = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
		cfg.Headers = map[string]string{"X-Access": "proxy-pass"}
	})
	if _, err := client.RunPipeline(t.Context(), pipelineUUID, []byte("hunter2")); err != nil {
		t.Fatal(err)
	}
	var found bool
	for line := range strings.Lines(log.String()) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		found = found || entry["level"] == "INFO" && entry["msg"] == "Started run "+runUUID+" of pipeline "+pipelineUUID
	}
	if !found {
		t.Errorf("no line tells the run:\n%s", log.String())
	}
	for _, secret := range []string{"client-secret", "proxy-pass", "hunter2", "TOKEN-", "REFRESH-"} {
		if strings.Contains(log.String(), secret) {
			t.Errorf("%q is logged:\n%s", secret, log.String())
		}
	}
}

func FuzzDecodeRun(f *testing.F) {
	for _, s := range []string{
		"", "null", "[]", "{}", startedRun, `{"workflow_run_uuid":"` + runUUID + `"}`, fixture(f, "reference_run.json"), "[" + startedRun + ",null]",
		`{"pipeline_run_uuid":7}`, `[{"workflow_run_uuid":"x"}]`, startedRun + "x", "<html>", "\xff", `{"pipeline_run_uuid":"` + strings.Repeat("x", 5000) + `"}`,
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
		if !ylem.ValidUUID(uuid) || !json.Valid(body) {
			t.Errorf("%q of %q", uuid, body)
		}
		for _, task := range tasks {
			if task.TaskUUID == "" {
				t.Errorf("tasks are %+v", tasks)
			}
		}
		whole := bytes.TrimSpace(body)
		if cut > 0 && cut < len(whole) {
			if uuid, _, err := ylem.DecodeRun(whole[:cut]); err == nil {
				t.Errorf("cut to %q, it is still the run %q", whole[:cut], uuid)
			}
		}
		again, _ := json.Marshal(map[string]string{"pipeline_run_uuid": uuid})
		if got, _, err := ylem.DecodeRun(again); err != nil || got != uuid {
			t.Errorf("%q is read as %q (%v)", again, got, err)
		}
	})
}
