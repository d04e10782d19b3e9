package ylem_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
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

const (
	taskA = "aaaaaaaa-0000-4000-8000-000000000001"
	taskB = "aaaaaaaa-0000-4000-8000-000000000002"
	taskC = "aaaaaaaa-0000-4000-8000-000000000003"

	otherRun = "0e204465-c35b-46ae-861d-ffffffffffff"
)

var start = time.Date(2024, 1, 10, 10, 0, 0, 0, time.UTC)

// row is a task of the run that ended some time after its start.
func row(task string, after time.Duration, successful bool) ylem.LogRow {
	return ylem.LogRow{PipelineRunUUID: runUUID, TaskUUID: task, IsSuccessful: successful, Duration: 100, ExecutedAt: start.Add(after)}
}

func of(run string, r ylem.LogRow) ylem.LogRow {
	r.PipelineRunUUID = run
	return r
}

func TestAssess(t *testing.T) {
	t.Parallel()
	const quiet = 30 * time.Second
	tests := []struct {
		name       string
		rows       []ylem.LogRow
		now        time.Duration // after start
		final      []string
		changed    time.Duration // after start; 0: nobody watched
		want       ylem.Status
		wantRows   int
		wantFinish time.Duration
	}{
		{name: "no rows", now: time.Hour, want: ylem.StatusPending},
		{name: "no rows although final tasks are given", now: time.Hour, final: []string{taskA}, want: ylem.StatusPending},
		{name: "only rows of other runs", now: time.Hour, rows: []ylem.LogRow{of(otherRun, row(taskA, 0, false))}, want: ylem.StatusPending},
		{name: "one row, not yet quiet", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 30 * time.Second, want: ylem.StatusRunning, wantRows: 1},
		{
			name: "quiet to the nanosecond", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 31 * time.Second,
			want: ylem.StatusSucceeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "a nanosecond short of quiet", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 31*time.Second - 1,
			want: ylem.StatusRunning, wantRows: 1,
		},
		{
			name: "fractions of seconds count", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 1*time.Second+500*time.Millisecond, true)},
			now: 31 * time.Second, want: ylem.StatusRunning, wantRows: 2,
		},
		{
			name: "quiet since the newest row, whatever the order", rows: []ylem.LogRow{row(taskB, 40*time.Second, true), row(taskA, 1*time.Second, true)},
			now: 69 * time.Second, want: ylem.StatusRunning, wantRows: 2,
		},
		{
			name: "quiet, rows out of order", rows: []ylem.LogRow{row(taskB, 1*time.Second, true), row(taskC, 3*time.Second, true), row(taskA, 2*time.Second, true)},
			now: 33 * time.Second, want: ylem.StatusSucceeded, wantRows: 3, wantFinish: 3 * time.Second,
		},
		{
			name: "rows of other runs do not disturb the quiet", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), of(otherRun, row(taskB, 30*time.Second, true))},
			now: 31 * time.Second, want: ylem.StatusSucceeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "failed tasks of other runs do not count", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), of(otherRun, row(taskA, 2*time.Second, false))},
			now: 3 * time.Second, want: ylem.StatusRunning, wantRows: 1,
		},
		{
			name: "failed at once", rows: []ylem.LogRow{row(taskA, 1*time.Second, false)}, now: 1 * time.Second,
			want: ylem.StatusFailed, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "failed beside a running branch", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 2*time.Second, false)}, now: 2 * time.Second,
			final: []string{taskC}, want: ylem.StatusFailed, wantRows: 2, wantFinish: 2 * time.Second,
		},
		{
			name: "failed although all final tasks have reported", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 2*time.Second, false)},
			now: 2 * time.Second, final: []string{taskA}, want: ylem.StatusFailed, wantRows: 2, wantFinish: 2 * time.Second,
		},
		{
			name: "one of two final tasks", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 2*time.Second, true)}, now: time.Hour,
			final: []string{taskB, taskC}, want: ylem.StatusRunning, wantRows: 2,
		},
		{
			name: "all final tasks, without any quiet", rows: []ylem.LogRow{row(taskB, 2*time.Second, true), row(taskC, 3*time.Second, true)}, now: 3 * time.Second,
			final: []string{taskB, taskC}, want: ylem.StatusSucceeded, wantRows: 2, wantFinish: 3 * time.Second,
		},
		{
			name: "final tasks in upper case", rows: []ylem.LogRow{row(taskB, 2*time.Second, true)}, now: 2 * time.Second,
			final: []string{strings.ToUpper(taskB)}, want: ylem.StatusSucceeded, wantRows: 1, wantFinish: 2 * time.Second,
		},
		{
			name: "a final task of another run", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), of(otherRun, row(taskB, 1*time.Second, true))}, now: time.Hour,
			final: []string{taskB}, want: ylem.StatusRunning, wantRows: 1,
		},
		{
			name: "a for-each reports the same task many times", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskA, 2*time.Second, true), row(taskA, 2*time.Second, true)},
			now: 31 * time.Second, want: ylem.StatusRunning, wantRows: 3,
		},
		{
			name: "one pass of a for-each failed", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskA, 2*time.Second, false), row(taskA, 3*time.Second, true)},
			now: 3 * time.Second, want: ylem.StatusFailed, wantRows: 3, wantFinish: 3 * time.Second,
		},
		{
			name: "a row that arrived late is not an old one", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 100 * time.Second, changed: 80 * time.Second,
			want: ylem.StatusRunning, wantRows: 1,
		},
		{
			name: "quiet since a row that arrived late", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 110 * time.Second, changed: 80 * time.Second,
			want: ylem.StatusSucceeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "a task runner whose clock is an hour ahead", rows: []ylem.LogRow{row(taskA, time.Hour, true)}, now: 40 * time.Second, changed: 10 * time.Second,
			want: ylem.StatusSucceeded, wantRows: 1, wantFinish: time.Hour,
		},
		{name: "a row without a time is not quiet", rows: []ylem.LogRow{{PipelineRunUUID: runUUID, TaskUUID: taskA, IsSuccessful: true, Duration: 100}}, now: time.Hour, want: ylem.StatusRunning, wantRows: 1},
		{name: "no clock sees the end of rows from the future", rows: []ylem.LogRow{row(taskA, time.Hour, true)}, now: 40 * time.Second, want: ylem.StatusRunning, wantRows: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := ylem.Completion{FinalTaskUUIDs: test.final, QuietPeriod: quiet}
			if test.changed > 0 {
				c.ChangedAt = start.Add(test.changed)
			}
			given := slices.Clone(test.rows)
			got := ylem.Assess(strings.ToUpper(runUUID), test.rows, start.Add(test.now), c)
			if got.Status != test.want || len(got.Rows) != test.wantRows {
				t.Errorf("%s with %d rows, want %s with %d", got.Status, len(got.Rows), test.want, test.wantRows)
			}
			if want := int64(100 * test.wantRows); got.Duration != want {
				t.Errorf("duration %d ms, want %d", got.Duration, want)
			}
			wantFinished := time.Time{}
			if test.want.Final() {
				wantFinished = start.Add(test.wantFinish)
			}
			if !got.FinishedAt.Equal(wantFinished) {
				t.Errorf("finished at %s, want %s", got.FinishedAt, wantFinished)
			}
			if !slices.IsSortedFunc(got.Rows, func(a, b ylem.LogRow) int { return a.ExecutedAt.Compare(b.ExecutedAt) }) {
				t.Error("the rows are not sorted, oldest first")
			}
			if !slices.Equal(given, test.rows) {
				t.Error("the caller's rows were changed")
			}
		})
	}
}

// logScript serves a log that changes over time: what is visible after each time since the test began.
type logScript struct {
	mu    sync.Mutex
	begin time.Time
	steps []logStep
	polls []string // the paths asked
}

type logStep struct {
	after  time.Duration
	status int // 0: 200
	rows   []ylem.LogRow
}

func (s *logScript) serve(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls = append(s.polls, r.URL.Path)
	var now logStep
	for _, step := range s.steps {
		if time.Since(s.begin) >= step.after {
			now = step
		}
	}
	if now.status != 0 {
		w.WriteHeader(now.status)
		return
	}
	var rows []string
	for _, r := range now.rows {
		rows = append(rows, fmt.Sprintf(`{"pipeline_run_uuid":%q,"task_uuid":%q,"task_type":"query","is_successful":%t,"duration":100,"output":"","metric_value":0,"executed_at":%q}`,
			r.PipelineRunUUID, r.TaskUUID, r.IsSuccessful, r.ExecutedAt.Format(time.RFC3339Nano)))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(rows, ","))
}

// at is a row that is executed some time after the script begins.
func (s *logScript) at(task string, after time.Duration, successful bool) ylem.LogRow {
	r := row(task, 0, successful)
	r.ExecutedAt = s.begin.Add(after).UTC()
	return r
}

func watch(final ...string) ylem.Watch {
	return ylem.Watch{Completion: ylem.Completion{FinalTaskUUIDs: final, QuietPeriod: 30 * time.Second}, PollInterval: 5 * time.Second}
}

// scripted runs a test in a bubble, where time passes by itself as soon as everybody waits.
func scripted(t *testing.T, test func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &logScript{begin: time.Now()}
		c, _ := newPipeClient(t, newFake(t, s.serve))
		test(t, s, c, ylem.RunRef{PipelineUUID: pipelineUUID, RunUUID: runUUID, TriggeredAt: time.Now()})
	})
}

func TestWatchRunWaitsForQuiet(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		first, second := s.at(taskA, 2*time.Second, true), s.at(taskB, 31*time.Second, true)
		s.steps = []logStep{{after: 3 * time.Second, rows: []ylem.LogRow{first}}, {after: 31 * time.Second, rows: []ylem.LogRow{second, first}}}
		var told []ylem.Status
		w := watch()
		w.Report = func(p ylem.Progress) {
			if len(told) == 0 || told[len(told)-1] != p.Status {
				told = append(told, p.Status)
			}
		}
		p, err := c.WatchRun(t.Context(), run, w)
		if err != nil || p.Status != ylem.StatusSucceeded || len(p.Rows) != 2 {
			t.Fatalf("%v, %+v", err, p)
		}
		if want := []ylem.Status{ylem.StatusPending, ylem.StatusRunning, ylem.StatusSucceeded}; !slices.Equal(told, want) {
			t.Errorf("told %v, want %v", told, want)
		}
		if took := time.Since(s.begin); took < 61*time.Second || took > 71*time.Second {
			t.Errorf("took %s: the end was due between 61 s and two polls later", took)
		}
	})
}

func TestWatchRunTakesLateRowsForNew(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		// The log lags a minute behind: by the row's own time all has been quiet for long.
		s.steps = []logStep{{after: time.Minute, rows: []ylem.LogRow{s.at(taskA, time.Second, true)}}}
		p, err := c.WatchRun(t.Context(), run, watch())
		if err != nil || p.Status != ylem.StatusSucceeded {
			t.Fatalf("%v, %+v", err, p)
		}
		if took := time.Since(s.begin); took < 90*time.Second {
			t.Errorf("took %s, although the row arrived after a minute", took)
		}
	})
}

// A log that loses a row for a while, because of a restart or a replica, takes nothing back and begins no new quiet.
func TestWatchRunKeepsRowsThatVanish(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		first, second := s.at(taskA, time.Second, true), s.at(taskB, 2*time.Second, true)
		s.steps = []logStep{
			{after: 3 * time.Second, rows: []ylem.LogRow{second, first}},
			{after: 8 * time.Second, rows: []ylem.LogRow{first}},
			{after: 13 * time.Second},
			{after: 18 * time.Second, rows: []ylem.LogRow{second, first}},
		}
		var told []string
		w := watch()
		w.Report = func(p ylem.Progress) { told = append(told, fmt.Sprintf("%s %d", p.Status, len(p.Rows))) }
		p, err := c.WatchRun(t.Context(), run, w)
		if err != nil || p.Status != ylem.StatusSucceeded || len(p.Rows) != 2 {
			t.Fatalf("%v, %+v", err, p)
		}
		want := append([]string{"pending 0"}, slices.Repeat([]string{"running 2"}, 6)...) // after 0, 5, 10, ..., 30 s
		if want = append(want, "succeeded 2"); !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
	})
}

// While a slow answer is on its way, what happens meanwhile is not in it: the time it takes is not quiet.
func TestSlowAnswersAreNotQuiet(t *testing.T) {
	for name, look := range map[string]func(*testing.T, *ylem.Client, ylem.RunRef) (ylem.Progress, error){
		"wait": func(t *testing.T, c *ylem.Client, run ylem.RunRef) (ylem.Progress, error) {
			return c.WatchRun(t.Context(), run, watch())
		},
		"refresh": func(t *testing.T, c *ylem.Client, run ylem.RunRef) (ylem.Progress, error) {
			return c.Progress(t.Context(), run, watch().Completion)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &logScript{begin: time.Now()}
				first := s.at(taskA, 0, true)
				s.steps = []logStep{{rows: []ylem.LogRow{first}}, {after: 20 * time.Second, rows: []ylem.LogRow{s.at(taskB, 20*time.Second, false), first}}}
				c, _ := newPipeClient(t, newFake(t, func(w http.ResponseWriter, r *http.Request) {
					var answer bytes.Buffer
					s.serve(bufferedResponse{w, &answer}, r)
					time.Sleep(29 * time.Second) // the answer is as old as that when it comes
					_, _ = w.Write(answer.Bytes())
				}))
				p, err := look(t, c, ylem.RunRef{PipelineUUID: pipelineUUID, RunUUID: runUUID, TriggeredAt: s.begin})
				if err != nil || p.Status == ylem.StatusSucceeded {
					t.Errorf("%v, %s, although the second task failed", err, p.Status)
				}
			})
		})
	}
}

// bufferedResponse keeps what is written for later.
type bufferedResponse struct {
	http.ResponseWriter
	body *bytes.Buffer
}

func (r bufferedResponse) Write(b []byte) (int, error) { return r.body.Write(b) }

func TestWatchRunLooksOnceMoreBeforeTheEnd(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{after: 30 * time.Second, rows: []ylem.LogRow{s.at(taskA, 30*time.Second, true)}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := watch(taskA)
		w.PollInterval = time.Hour
		if p, err := c.WatchRun(ctx, run, w); err != nil || p.Status != ylem.StatusSucceeded {
			t.Errorf("%v, %+v", err, p)
		}
		if len(s.polls) != 2 {
			t.Errorf("%d polls", len(s.polls))
		}
	})
}

func TestWatchRunReportsWhileAnAnswerIsOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c, _ := newPipeClient(t, newFake(t, stall))
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		reports := 0
		w := watch()
		w.Heartbeat, w.Report = 10*time.Second, func(ylem.Progress) { reports++ }
		if _, err := c.WatchRun(ctx, ylem.RunRef{PipelineUUID: pipelineUUID, RunUUID: runUUID}, w); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if reports < 3 {
			t.Errorf("%d reports in 40 s", reports)
		}
	})
}

// The log of one pipeline that is slow is found out once for all its runs, and holds up no other pipeline. Later it is
// asked for again.
func TestProgressFindsASlowLogOutOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const other = "10000000-0000-4000-8000-00000000000b"
		begin := time.Now()
		c, _ := newPipeClient(t, newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, other) || time.Since(begin) > time.Minute {
				_, _ = io.WriteString(w, "[]")
				return
			}
			stall(w, r)
		}))
		var group sync.WaitGroup
		for range 10 { // as many as terraform refreshes at once
			group.Go(func() {
				for range 10 {
					if _, err := c.Progress(t.Context(), ylem.RunRef{PipelineUUID: pipelineUUID, RunUUID: runUUID, TriggeredAt: begin}, ylem.Completion{}); err == nil {
						t.Error("no error")
					}
				}
			})
		}
		group.Wait()
		if took := time.Since(begin); took > 31*time.Second {
			t.Errorf("took %s", took)
		}
		for _, pipeline := range []string{other, pipelineUUID} {
			if _, err := c.Progress(t.Context(), ylem.RunRef{PipelineUUID: pipeline, RunUUID: runUUID, TriggeredAt: begin}, ylem.Completion{}); err != nil {
				t.Error(err)
			}
			time.Sleep(time.Minute)
		}
	})
}

// A long fault is shortened where it is held for a run, not lost.
func TestLongFaultsAreKept(t *testing.T) {
	t.Parallel()
	fault := base64.StdEncoding.EncodeToString([]byte(`[{"Code":7,"Severity":"error","Message":"boom ` + strings.Repeat("x", 50_000) + `"}]`))
	text := base64.StdEncoding.EncodeToString([]byte("traceback " + strings.Repeat("x", 50_000)))
	c := newClient(t, newFake(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `[{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":false,"output":%q,"executed_at":"2024-01-10T10:00:00Z"},
			{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":false,"output":%q,"executed_at":"2024-01-10T10:00:01Z"}]`, runUUID, taskA, fault, runUUID, taskB, text)
	}))
	p, err := c.Progress(t.Context(), ylem.RunRef{PipelineUUID: pipelineUUID, RunUUID: runUUID, TriggeredAt: start}, ylem.Completion{})
	if err != nil || len(p.Rows) != 2 {
		t.Fatalf("%v, %+v", err, p)
	}
	if faults := p.Rows[0].TaskErrors(); len(faults) != 1 || faults[0].Code != 7 || !strings.HasPrefix(faults[0].Message, "boom xxx") || len(faults[0].Message) > 400 {
		t.Errorf("faults %+v", faults)
	}
	if output, ok := p.Rows[1].DecodeOutput(); !ok || !strings.HasPrefix(output, "traceback xxx") || len(output) > 400 {
		t.Errorf("output %q", output)
	}
}

func TestProgressSharesAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, token := range map[string]http.HandlerFunc{"token refused": answer(503, ""), "nobody answers": stall} {
			f := newFake(t, nil)
			f.token = token
			c, _ := newPipeClient(t, f)
			begin := time.Now()
			for i := range 20 { // runs of different pipelines
				run := ylem.RunRef{PipelineUUID: fmt.Sprintf("10000000-0000-4000-8000-%012d", i), RunUUID: runUUID, TriggeredAt: begin}
				if _, err := c.Progress(t.Context(), run, ylem.Completion{}); err == nil {
					t.Errorf("%s: no error", name)
				}
			}
			if took := time.Since(begin); took > 31*time.Second || len(f.tokens()) > 3 {
				t.Errorf("%s: took %s and %d requests for a token", name, took, len(f.tokens()))
			}
			time.Sleep(time.Hour) // the request for a token ends by itself, whoever has given up
		}
	})
}

func TestWatchRunEndsAtOnce(t *testing.T) {
	for name, end := range map[string]struct {
		successful bool
		want       ylem.Status
	}{
		"failed task": {successful: false, want: ylem.StatusFailed},
		"final task":  {successful: true, want: ylem.StatusSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
				s.steps = []logStep{{after: 7 * time.Second, rows: []ylem.LogRow{s.at(taskA, 7*time.Second, end.successful)}}}
				p, err := c.WatchRun(t.Context(), run, watch(taskA))
				if err != nil || p.Status != end.want {
					t.Fatalf("%v, %+v", err, p)
				}
				if took := time.Since(s.begin); took > 11*time.Second {
					t.Errorf("took %s, not until the next poll", took)
				}
			})
		})
	}
}

func TestWatchRunOutlivesErrors(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		done := s.at(taskA, time.Second, true)
		s.steps = []logStep{
			{after: 0, status: http.StatusInternalServerError},
			{after: 20 * time.Second, rows: []ylem.LogRow{done}},
			{after: 25 * time.Second, status: http.StatusBadGateway},
			{after: 31 * time.Second, rows: nil}, // a log that has lost the run
			{after: 60 * time.Second, rows: []ylem.LogRow{done}},
		}
		p, err := c.WatchRun(t.Context(), run, watch())
		if err != nil || p.Status != ylem.StatusSucceeded {
			t.Fatalf("%v, %+v", err, p)
		}
	})
}

func TestWatchRunEndsWithItsContext(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{after: time.Second, rows: []ylem.LogRow{s.at(taskA, time.Second, true)}}, {after: 30 * time.Second, status: http.StatusBadGateway}}
		ctx, cancel := context.WithTimeout(t.Context(), 42*time.Second)
		defer cancel()
		p, err := c.WatchRun(ctx, run, watch(taskB))
		if !errors.Is(err, context.DeadlineExceeded) || p.Status != ylem.StatusRunning || len(p.Rows) != 1 {
			t.Errorf("%v, %+v", err, p)
		}
		if e, ok := errors.AsType[*ylem.Error](err); !ok || e.StatusCode != http.StatusBadGateway {
			t.Errorf("%v does not tell why the log could not be read", err)
		}
		if took := time.Since(s.begin); took != 42*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestWatchRunGivesUpWhereWaitingCannotHelp(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{status: http.StatusForbidden}}
		_, err := c.WatchRun(t.Context(), run, watch())
		if e, ok := errors.AsType[*ylem.Error](err); !ok || !e.MissingScope() {
			t.Errorf("%v", err)
		}
		if len(s.polls) != 1 {
			t.Errorf("%d polls", len(s.polls))
		}
	})
}

func TestWatchRunReportsWhileNothingHappens(t *testing.T) {
	scripted(t, func(t *testing.T, _ *logScript, c *ylem.Client, run ylem.RunRef) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		last, longest := time.Now(), time.Duration(0)
		w := watch()
		w.PollInterval = 10 * time.Minute
		w.Heartbeat = 3 * time.Second
		w.Report = func(ylem.Progress) {
			longest = max(longest, time.Since(last))
			last = time.Now()
		}
		if _, err := c.WatchRun(ctx, run, w); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if longest > w.Heartbeat || time.Since(last) > w.Heartbeat {
			t.Errorf("silent for %s", max(longest, time.Since(last)))
		}
	})
}

func TestWatchesOfOnePipelineShareAPoll(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		const runs = 20
		var group sync.WaitGroup
		var finished atomic.Int64
		var rows []ylem.LogRow
		for i := range runs {
			ref := run
			ref.RunUUID = fmt.Sprintf("0e204465-c35b-46ae-861d-%012d", i)
			// Runs are not started at the same moment.
			ref.TriggeredAt = run.TriggeredAt.Add(-time.Duration(i) * time.Second)
			rows = append(rows, of(ref.RunUUID, s.at(taskA, 11*time.Second, true)))
			group.Go(func() {
				if p, err := c.WatchRun(t.Context(), ref, watch(taskA)); err == nil && p.Status == ylem.StatusSucceeded {
					finished.Add(1)
				}
			})
		}
		s.mu.Lock()
		s.steps = []logStep{{after: 11 * time.Second, rows: rows}}
		s.mu.Unlock()
		group.Wait()
		if finished.Load() != runs {
			t.Errorf("%d of %d finished", finished.Load(), runs)
		}
		if n := len(s.polls); n > 5 {
			t.Errorf("%d polls in 15 s for runs of one pipeline, want one every 5 s", n)
		}
	})
}

func TestProgressReadsTheLogOnceForAllRuns(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, -time.Hour, true)}}}
		run.TriggeredAt = s.begin.Add(-2 * time.Hour)
		var group sync.WaitGroup
		for i := range 100 {
			ref := run
			ref.TriggeredAt = ref.TriggeredAt.Add(-time.Duration(i) * time.Minute) // up to almost twice as old as the newest
			group.Go(func() {
				p, err := c.Progress(t.Context(), ref, ylem.Completion{QuietPeriod: 30 * time.Second})
				if err != nil || p.Status != ylem.StatusSucceeded {
					t.Errorf("%v, %+v", err, p)
				}
			})
		}
		group.Wait()
		if len(s.polls) != 1 {
			t.Errorf("%d requests: %v", len(s.polls), s.polls)
		}

		run.TriggeredAt = s.begin.AddDate(0, -1, 0)
		if _, err := c.Progress(t.Context(), run, ylem.Completion{}); err != nil {
			t.Error(err)
		}
		if len(s.polls) != 2 {
			t.Errorf("a run from before the window took %d requests in all, want 2", len(s.polls))
		}
	})
}

// A log that lacks rows which were seen before (a replica that lags, rows that have aged out) tells nothing.
func TestALogThatHasLostRowsTellsNothing(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		first, second := s.at(taskA, -time.Hour, true), s.at(taskB, -time.Hour, true)
		s.steps = []logStep{{rows: []ylem.LogRow{first}}, {after: time.Minute, rows: []ylem.LogRow{first, second}}}
		run.TriggeredAt, run.Reported = s.begin.Add(-2*time.Hour), 2
		if p, err := c.Progress(t.Context(), run, ylem.Completion{QuietPeriod: time.Second}); err != nil || p.Status != ylem.StatusPending {
			t.Errorf("%v, %+v", err, p)
		}
		if p, err := c.WatchRun(t.Context(), run, watch(taskA)); err != nil || p.Status != ylem.StatusSucceeded || len(p.Rows) != 2 {
			t.Errorf("%v, %+v", err, p)
		}
	})
}

// A log that may no longer be used takes no memory.
func TestLogsAreForgotten(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, -time.Hour, true)}}}
		for i := range 10 {
			run.PipelineUUID = fmt.Sprintf("10000000-0000-4000-8000-%012d", i)
			if _, err := c.Progress(t.Context(), run, ylem.Completion{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := ylem.HeldLogs(c); n != 10 {
			t.Errorf("%d logs are held, want 10", n)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := ylem.HeldLogs(c); n != 0 {
			t.Errorf("%d logs are held half a minute later", n)
		}
	})
}

// Of an imported run whose rows have no time, nobody knows when it was triggered.
func TestProgressOfARunWithoutATime(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, -time.Hour, true)}}}
		run.TriggeredAt = time.Time{}
		if p, err := c.Progress(t.Context(), run, ylem.Completion{QuietPeriod: time.Second}); err != nil || p.Status != ylem.StatusSucceeded {
			t.Errorf("%v, %+v", err, p)
		}
		if !strings.Contains(s.polls[0], "/1970-01-01 00:00:00/") {
			t.Errorf("asked for %s", s.polls[0])
		}
	})
}

// Whoever gives up reading a log that others wait for takes it from nobody.
func TestProgressDoesNotShareThatACallerGaveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		client, _ := newPipeClient(t, newFake(t, func(w http.ResponseWriter, r *http.Request) {
			if requests.Add(1) == 1 {
				stall(w, r)
				return
			}
			answerJSON("[]")(w, r)
		}))
		run := ylem.RunRef{PipelineUUID: pipelineUUID, RunUUID: runUUID, TriggeredAt: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := client.Progress(ctx, run, ylem.Completion{}); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			group.Go(func() {
				if _, err := client.Progress(t.Context(), run, ylem.Completion{}); err != nil {
					t.Errorf("who went on waiting: %v", err)
				}
			})
		}
		synctest.Wait()
		if n := requests.Load(); n != 1 {
			t.Errorf("%d requests at once", n)
		}
		cancel()
		group.Wait()
		if n := requests.Load(); n != 2 {
			t.Errorf("%d requests, want 2", n)
		}
	})
}

func TestProgressSharesRefusals(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *ylem.Client, run ylem.RunRef) {
		s.steps = []logStep{{status: http.StatusForbidden}}
		for range 10 {
			if _, err := c.Progress(t.Context(), run, ylem.Completion{}); err == nil {
				t.Error("no error")
			}
		}
		if len(s.polls) != 1 {
			t.Errorf("%d requests", len(s.polls))
		}
	})
}

func TestFindRunWidensItsWindow(t *testing.T) {
	t.Parallel()
	var asked []string
	c := newClient(t, newFake(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if strings.Contains(r.URL.Path, "/1970-01-01 00:00:00/") {
			fmt.Fprintf(w, `[{"workflow_run_uuid":%q,"task_uuid":%q,"executed_at":"2001-01-01T00:00:00Z"},{"workflow_run_uuid":%q,"task_uuid":%q,"executed_at":"2001-01-01T00:00:00Z"}]`,
				strings.ToUpper(runUUID), taskA, otherRun, taskA)
			return
		}
		fmt.Fprint(w, "[]")
	}))
	rows, err := c.FindRun(t.Context(), pipelineUUID, runUUID)
	if err != nil || len(rows) != 1 {
		t.Errorf("%v, %v", err, rows)
	}
	if len(asked) != 3 {
		t.Errorf("asked %q", asked)
	}
}

func TestCanWatch(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, scope string
		status      int
		calls       int
		refused     bool
	}{
		{name: "the token says so", scope: "pipelines:run,stats:read", status: http.StatusForbidden},
		{name: "the token says nothing", scope: "", status: http.StatusForbidden},
		{name: "the scope is missing", scope: "pipelines:run", status: http.StatusForbidden, calls: 1, refused: true},
		{name: "the scope has another name", scope: "workflows:run", status: http.StatusOK, calls: 1},
		{name: "the log cannot be read now", scope: "pipelines:run", status: http.StatusNotFound, calls: 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			f := newFake(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(test.status) })
			f.token = func(w http.ResponseWriter, _ *http.Request) { grant(w, 1, 86400, test.scope) }
			c := newClient(t, f)
			err := c.CanWatch(t.Context(), pipelineUUID)
			if (err != nil) != test.refused || len(f.calls()) != test.calls {
				t.Errorf("%v after %d requests", err, len(f.calls()))
			}
		})
	}
}
