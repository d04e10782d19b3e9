package follow_test

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
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
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
	return ylem.LogRow{PipelineRunUUID: fake.RunUUID, TaskUUID: task, Outcome: ylem.OutcomeOf(successful), Duration: 100, ExecutedAt: start.Add(after)}
}

func unknown(task string, after time.Duration) ylem.LogRow {
	r := row(task, after, true)
	r.Outcome = ylem.OutcomeUnknown
	return r
}

func forEach(task string, after time.Duration) ylem.LogRow {
	r := row(task, after, true)
	r.TaskType = ylem.TaskTypeForEach
	return r
}

func of(run string, r ylem.LogRow) ylem.LogRow {
	r.PipelineRunUUID = run
	return r
}

// pipeFollower follows runs of a server in memory.
func pipeFollower(t *testing.T, f *fake.Server) *follow.Follower {
	t.Helper()
	client, _ := fake.NewPipeClient(t, f)
	return follow.New(client)
}

// tcpFollower follows runs of a server whose log is answered by a handler.
func tcpFollower(t *testing.T, api http.HandlerFunc) *follow.Follower {
	t.Helper()
	return follow.New(fake.NewClient(t, fake.New(t, api)))
}

func TestAssess(t *testing.T) {
	t.Parallel()
	const quiet = 30 * time.Second
	tests := []struct {
		name       string
		rows       []ylem.LogRow
		now        time.Duration // after start
		final      []string
		changed    time.Duration // after start; 0: it was not watched
		want       follow.Status
		wantRows   int
		wantFinish time.Duration
		guess      bool // although final tasks are given
	}{
		{name: "no rows", now: time.Hour, want: follow.Pending},
		{name: "no rows although final tasks are given", now: time.Hour, final: []string{taskA}, want: follow.Pending},
		{name: "one row, not yet quiet", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 30 * time.Second, want: follow.Running, wantRows: 1},
		{
			name: "quiet to the nanosecond", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 31 * time.Second,
			want: follow.Succeeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "a nanosecond short of quiet", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 31*time.Second - 1,
			want: follow.Running, wantRows: 1,
		},
		{
			name: "fractions of seconds count", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 1*time.Second+500*time.Millisecond, true)},
			now: 31 * time.Second, want: follow.Running, wantRows: 2,
		},
		{
			name: "quiet since the newest row, whatever the order", rows: []ylem.LogRow{row(taskB, 40*time.Second, true), row(taskA, 1*time.Second, true)},
			now: 69 * time.Second, want: follow.Running, wantRows: 2,
		},
		{
			name: "quiet, rows out of order", rows: []ylem.LogRow{row(taskB, 1*time.Second, true), row(taskC, 3*time.Second, true), row(taskA, 2*time.Second, true)},
			now: 33 * time.Second, want: follow.Succeeded, wantRows: 3, wantFinish: 3 * time.Second,
		},
		{
			name: "failed at once", rows: []ylem.LogRow{row(taskA, 1*time.Second, false)}, now: 1 * time.Second,
			want: follow.Failed, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "failed beside a running branch", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 2*time.Second, false)}, now: 2 * time.Second,
			final: []string{taskC}, want: follow.Failed, wantRows: 2, wantFinish: 2 * time.Second,
		},
		{
			name: "failed although all final tasks have reported", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 2*time.Second, false)},
			now: 2 * time.Second, final: []string{taskA}, want: follow.Failed, wantRows: 2, wantFinish: 2 * time.Second,
		},
		{
			name: "one of two final tasks", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskB, 2*time.Second, true)}, now: time.Hour,
			final: []string{taskB, taskC}, want: follow.Running, wantRows: 2,
		},
		{
			name: "all final tasks, without any quiet", rows: []ylem.LogRow{row(taskB, 2*time.Second, true), row(taskC, 3*time.Second, true)}, now: 3 * time.Second,
			final: []string{taskB, taskC}, want: follow.Succeeded, wantRows: 2, wantFinish: 3 * time.Second,
		},
		{
			name: "final tasks in upper case", rows: []ylem.LogRow{row(taskB, 2*time.Second, true)}, now: 2 * time.Second,
			final: []string{strings.ToUpper(taskB)}, want: follow.Succeeded, wantRows: 1, wantFinish: 2 * time.Second,
		},
		{
			name: "a for-each reports the same task many times", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskA, 2*time.Second, true), row(taskA, 3*time.Second, true)},
			now: 31 * time.Second, want: follow.Running, wantRows: 3,
		},
		{
			name: "one pass of a for-each failed", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskA, 2*time.Second, false), row(taskA, 3*time.Second, true)},
			now: 3 * time.Second, want: follow.Failed, wantRows: 3, wantFinish: 3 * time.Second,
		},
		{
			name: "a row that arrived late is not an old one", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 100 * time.Second, changed: 80 * time.Second,
			want: follow.Running, wantRows: 1,
		},
		{
			name: "quiet since a row that arrived late", rows: []ylem.LogRow{row(taskA, 1*time.Second, true)}, now: 110 * time.Second, changed: 80 * time.Second,
			want: follow.Succeeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "a task runner whose clock is an hour ahead", rows: []ylem.LogRow{row(taskA, time.Hour, true)}, now: 40 * time.Second, changed: 10 * time.Second,
			want: follow.Succeeded, wantRows: 1, wantFinish: time.Hour,
		},
		{
			name: "the same row several times", rows: []ylem.LogRow{row(taskA, 1*time.Second, true), row(taskA, 1*time.Second, true), row(taskA, 1*time.Second, true)},
			now: 2 * time.Second, final: []string{taskA}, want: follow.Succeeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "a task without an outcome has reported, but ended nothing", rows: []ylem.LogRow{unknown(taskA, 1*time.Second)},
			now: 2 * time.Second, final: []string{taskA}, want: follow.Running, wantRows: 1,
		},
		{
			name: "a task without an outcome has not failed", rows: []ylem.LogRow{unknown(taskA, 1*time.Second)},
			now: 31 * time.Second, want: follow.Succeeded, wantRows: 1, wantFinish: 1 * time.Second,
		},
		{
			name: "after a for-each, final tasks report again", rows: []ylem.LogRow{forEach(taskA, 1*time.Second), row(taskB, 2*time.Second, true)},
			now: 31 * time.Second, final: []string{taskB}, want: follow.Running, wantRows: 2,
		},
		{
			name: "after a for-each, final tasks and silence are a guess", rows: []ylem.LogRow{forEach(taskA, 1*time.Second), row(taskB, 2*time.Second, true)},
			now: 32 * time.Second, final: []string{taskB}, want: follow.Succeeded, wantRows: 2, wantFinish: 2 * time.Second, guess: true,
		},
		{
			name: "a for-each, silence, but a final task is missing", rows: []ylem.LogRow{forEach(taskA, 1*time.Second)},
			now: time.Hour, final: []string{taskB}, want: follow.Running, wantRows: 1,
		},
		{name: "a row without a time is not quiet", rows: []ylem.LogRow{{PipelineRunUUID: fake.RunUUID, TaskUUID: taskA, Outcome: ylem.Succeeded, Duration: 100}}, now: time.Hour, want: follow.Running, wantRows: 1},
		{name: "no clock sees the end of rows from the future", rows: []ylem.LogRow{row(taskA, time.Hour, true)}, now: 40 * time.Second, want: follow.Running, wantRows: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c := follow.Completion{FinalTaskUUIDs: test.final, QuietPeriod: quiet}
			var lastSeen time.Time
			if test.changed > 0 {
				lastSeen = start.Add(test.changed)
			}
			given := slices.Clone(test.rows)
			got := follow.Assess(test.rows, start.Add(test.now), lastSeen, c)
			certainty := follow.Open
			switch {
			case test.want == follow.Succeeded && (test.final == nil || test.guess):
				certainty = follow.Presumed
			case test.want.Ended():
				certainty = follow.Certain
			}
			if got.Certainty != certainty {
				t.Errorf("certainty is %d, want %d", got.Certainty, certainty)
			}
			if got.Status != test.want || len(got.Rows) != test.wantRows {
				t.Errorf("%s with %d rows, want %s with %d", got.Status, len(got.Rows), test.want, test.wantRows)
			}
			if want := int64(100 * test.wantRows); got.Duration != want {
				t.Errorf("duration %d ms, want %d", got.Duration, want)
			}
			wantFinished := time.Time{}
			if test.want.Ended() {
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

// A guess is settled a day after the newest row, a fact at once.
func TestSettled(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		status follow.Status
		rows   []ylem.LogRow
		final  []string
		after  time.Duration // when it is settled, after start; -1: never
	}{
		"pending":                {follow.Pending, nil, nil, -1},
		"running":                {follow.Running, []ylem.LogRow{row(taskA, 0, true)}, nil, -1},
		"failed":                 {follow.Failed, []ylem.LogRow{row(taskA, 0, false)}, nil, 0},
		"a guess":                {follow.Succeeded, []ylem.LogRow{row(taskA, 0, true), row(taskB, time.Hour, true)}, nil, 25 * time.Hour},
		"all final tasks":        {follow.Succeeded, []ylem.LogRow{row(taskA, 0, true)}, []string{strings.ToUpper(taskA)}, 0},
		"not all final tasks":    {follow.Succeeded, []ylem.LogRow{row(taskA, 0, true)}, []string{taskA, taskB}, 24 * time.Hour},
		"final after a for-each": {follow.Succeeded, []ylem.LogRow{forEach(taskA, 0), row(taskB, 0, true)}, []string{taskB}, 24 * time.Hour},
		"final without outcome":  {follow.Succeeded, []ylem.LogRow{unknown(taskA, 0)}, []string{taskA}, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := follow.Known(test.status, test.rows, test.final)
			if p.Status != test.status {
				t.Errorf("status is %s", p.Status)
			}
			if test.after < 0 {
				if p.Settled(start.AddDate(1, 0, 0)) {
					t.Error("settled")
				}
				return
			}
			if !p.Settled(start.Add(test.after)) || test.after > 0 && p.Settled(start.Add(test.after-1)) {
				t.Errorf("not settled just after %s", test.after)
			}
		})
	}
}

// The log of a pipeline shows all its runs: rows of another one neither end, fail nor disturb the run, nor do those that
// cannot be read.
func TestOtherRunsDoNotMatter(t *testing.T) {
	const unreadable = `{"pipeline_run_uuid":"` + otherRun + `","task_uuid":"` + taskA + `","is_successful":true,"duration":1.5,"executed_at":"2024-01-10T10:00:00Z"},` +
		`{"executed_at":"0000-00-00 00:00:00","pipeline_run_uuid":"` + otherRun + `","task_uuid":""},{}`
	answer := func(rows ...string) http.HandlerFunc { return fake.AnswerJSON("[" + strings.Join(rows, ",") + "]") }
	text := func(run, task string, successful bool) string {
		return fmt.Sprintf(`{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":%t,"duration":100,"executed_at":%q}`, run, task, successful, start.Format(time.RFC3339))
	}
	run := follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: strings.ToUpper(fake.RunUUID), TriggeredAt: start}
	for name, test := range map[string]struct {
		log  http.HandlerFunc
		want follow.Status
	}{
		"nothing else":             {answer(text(otherRun, taskA, true)), follow.Pending},
		"a failed task":            {answer(text(otherRun, taskA, false), text(fake.RunUUID, taskB, true)), follow.Running},
		"the final task":           {answer(text(otherRun, taskA, true), text(fake.RunUUID, taskB, true)), follow.Running},
		"rows that cannot be read": {answer(unreadable, text(fake.RunUUID, taskA, true)), follow.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := tcpFollower(t, test.log).Refresh(t.Context(), run, follow.Completion{FinalTaskUUIDs: []string{taskA}})
			if err != nil || p.Status != test.want {
				t.Errorf("%v, %+v", err, p)
			}
		})
	}

	t.Run("a row of its own that cannot be read", func(t *testing.T) {
		t.Parallel()
		_, err := tcpFollower(t, answer(strings.ReplaceAll(unreadable, otherRun, fake.RunUUID))).Refresh(t.Context(), run, follow.Completion{})
		if e, ok := request.AsError(err); !ok || e.StatusCode != http.StatusOK || !strings.Contains(err.Error(), "1.5") && !strings.Contains(err.Error(), "not a time") {
			t.Errorf("%v", err)
		}
	})
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
			r.PipelineRunUUID, r.TaskUUID, r.Outcome == ylem.Succeeded, r.ExecutedAt.Format(time.RFC3339Nano)))
	}
	fmt.Fprintf(w, "[%s]", strings.Join(rows, ","))
}

// at is a row that is executed some time after the script begins.
func (s *logScript) at(task string, after time.Duration, successful bool) ylem.LogRow {
	r := row(task, 0, successful)
	r.ExecutedAt = s.begin.Add(after).UTC()
	return r
}

func options(final ...string) follow.Options {
	return follow.Options{Completion: follow.Completion{FinalTaskUUIDs: final, QuietPeriod: 30 * time.Second}, PollInterval: 5 * time.Second}
}

// scripted runs a test in a bubble, where time passes by itself as soon as everybody waits.
func scripted(t *testing.T, test func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &logScript{begin: time.Now()}
		c := pipeFollower(t, fake.New(t, s.serve))
		test(t, s, c, follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID, TriggeredAt: time.Now()})
	})
}

func TestWaitWaitsForQuiet(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		first, second := s.at(taskA, 2*time.Second, true), s.at(taskB, 31*time.Second, true)
		s.steps = []logStep{{after: 3 * time.Second, rows: []ylem.LogRow{first}}, {after: 31 * time.Second, rows: []ylem.LogRow{second, first}}}
		var reports []follow.Status
		w := options()
		w.Report = func(p follow.Progress) {
			if len(reports) == 0 || reports[len(reports)-1] != p.Status {
				reports = append(reports, p.Status)
			}
		}
		p, err := c.Wait(t.Context(), run, w)
		if err != nil || p.Status != follow.Succeeded || len(p.Rows) != 2 {
			t.Fatalf("%v, %+v", err, p)
		}
		if want := []follow.Status{follow.Pending, follow.Running, follow.Succeeded}; !slices.Equal(reports, want) {
			t.Errorf("reports %v, want %v", reports, want)
		}
		if took := time.Since(s.begin); took < 61*time.Second || took > 71*time.Second {
			t.Errorf("took %s: the end was due between 61 s and two polls later", took)
		}
	})
}

func TestWaitTakesLateRowsForNew(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		// The log lags a minute behind: by the row's own time all has been quiet for long.
		s.steps = []logStep{{after: time.Minute, rows: []ylem.LogRow{s.at(taskA, time.Second, true)}}}
		p, err := c.Wait(t.Context(), run, options())
		if err != nil || p.Status != follow.Succeeded {
			t.Fatalf("%v, %+v", err, p)
		}
		if took := time.Since(s.begin); took < 90*time.Second {
			t.Errorf("took %s, although the row arrived after a minute", took)
		}
	})
}

// A log that loses a row for a while, because of a restart or a replica, takes nothing back and begins no new quiet.
func TestWaitKeepsRowsThatVanish(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		first, second := s.at(taskA, time.Second, true), s.at(taskB, 2*time.Second, true)
		s.steps = []logStep{
			{after: 3 * time.Second, rows: []ylem.LogRow{second, first}},
			{after: 8 * time.Second, rows: []ylem.LogRow{first}},
			{after: 13 * time.Second},
			{after: 18 * time.Second, rows: []ylem.LogRow{second, first}},
		}
		var reports []string
		w := options()
		w.Report = func(p follow.Progress) { reports = append(reports, fmt.Sprintf("%s %d", p.Status, len(p.Rows))) }
		p, err := c.Wait(t.Context(), run, w)
		if err != nil || p.Status != follow.Succeeded || len(p.Rows) != 2 {
			t.Fatalf("%v, %+v", err, p)
		}
		want := append([]string{"pending 0"}, slices.Repeat([]string{"running 2"}, 6)...) // after 0, 5, 10, ..., 30 s
		if want = append(want, "succeeded 2"); !slices.Equal(reports, want) {
			t.Errorf("reports %q, want %q", reports, want)
		}
	})
}

// While a slow answer is on its way, what happens meanwhile is not in it: the time it takes is not quiet.
func TestSlowAnswersAreNotQuiet(t *testing.T) {
	for name, look := range map[string]func(*testing.T, *follow.Follower, follow.Run) (follow.Progress, error){
		"wait": func(t *testing.T, c *follow.Follower, run follow.Run) (follow.Progress, error) {
			return c.Wait(t.Context(), run, options())
		},
		"refresh": func(t *testing.T, c *follow.Follower, run follow.Run) (follow.Progress, error) {
			return c.Refresh(t.Context(), run, options().Completion)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &logScript{begin: time.Now()}
				first := s.at(taskA, 0, true)
				s.steps = []logStep{{rows: []ylem.LogRow{first}}, {after: 20 * time.Second, rows: []ylem.LogRow{s.at(taskB, 20*time.Second, false), first}}}
				c := pipeFollower(t, fake.New(t, func(w http.ResponseWriter, r *http.Request) {
					var answer bytes.Buffer
					s.serve(bufferedResponse{w, &answer}, r)
					time.Sleep(29 * time.Second) // the answer is as old as that when it comes
					_, _ = w.Write(answer.Bytes())
				}))
				p, err := look(t, c, follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID, TriggeredAt: s.begin})
				if err != nil || p.Status == follow.Succeeded {
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

func TestWaitLooksOnceMoreBeforeTheEnd(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{after: 30 * time.Second, rows: []ylem.LogRow{s.at(taskA, 30*time.Second, true)}}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		w := options(taskA)
		w.PollInterval = time.Hour
		if p, err := c.Wait(ctx, run, w); err != nil || p.Status != follow.Succeeded {
			t.Errorf("%v, %+v", err, p)
		}
		if len(s.polls) != 2 {
			t.Errorf("%d polls", len(s.polls))
		}
	})
}

func TestWaitReportsWhileAnAnswerIsOnItsWay(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := pipeFollower(t, fake.New(t, fake.Stall))
		ctx, cancel := context.WithTimeout(t.Context(), 40*time.Second)
		defer cancel()
		reports := 0
		w := options()
		w.Heartbeat, w.Report = 10*time.Second, func(follow.Progress) { reports++ }
		if _, err := c.Wait(ctx, follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID}, w); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if reports < 3 {
			t.Errorf("%d reports in 40 s", reports)
		}
	})
}

// The log of one pipeline that is slow is found out once for all its runs, and holds up no other pipeline. Later it is
// asked for again.
func TestRefreshFindsASlowLogOutOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		const other = "10000000-0000-4000-8000-00000000000b"
		begin := time.Now()
		c := pipeFollower(t, fake.New(t, func(w http.ResponseWriter, r *http.Request) {
			if strings.Contains(r.URL.Path, other) || time.Since(begin) > time.Minute {
				_, _ = io.WriteString(w, "[]")
				return
			}
			fake.Stall(w, r)
		}))
		var group sync.WaitGroup
		for range 10 { // as many as terraform refreshes at once
			group.Go(func() {
				for range 10 {
					if _, err := c.Refresh(t.Context(), follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID, TriggeredAt: begin}, follow.Completion{}); err == nil {
						t.Error("no error")
					}
				}
			})
		}
		group.Wait()
		if took := time.Since(begin); took > 31*time.Second {
			t.Errorf("took %s", took)
		}
		for _, pipeline := range []string{other, fake.PipelineUUID} {
			if _, err := c.Refresh(t.Context(), follow.Run{PipelineUUID: pipeline, RunUUID: fake.RunUUID, TriggeredAt: begin}, follow.Completion{}); err != nil {
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
	c := tcpFollower(t, func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `[{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":false,"output":%q,"executed_at":"2024-01-10T10:00:00Z"},
			{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":false,"output":%q,"executed_at":"2024-01-10T10:00:01Z"}]`, fake.RunUUID, taskA, fault, fake.RunUUID, taskB, text)
	})
	p, err := c.Refresh(t.Context(), follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID, TriggeredAt: start}, follow.Completion{})
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

func TestRefreshSharesAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for name, token := range map[string]http.HandlerFunc{"token refused": fake.Answer(503, ""), "no answer": fake.Stall} {
			f := fake.New(t, nil)
			f.Token = token
			c := pipeFollower(t, f)
			begin := time.Now()
			for i := range 20 { // runs of different pipelines
				run := follow.Run{PipelineUUID: fmt.Sprintf("10000000-0000-4000-8000-%012d", i), RunUUID: fake.RunUUID, TriggeredAt: begin}
				if _, err := c.Refresh(t.Context(), run, follow.Completion{}); err == nil {
					t.Errorf("%s: no error", name)
				}
			}
			if took := time.Since(begin); took > 31*time.Second || len(f.Tokens()) > 3 {
				t.Errorf("%s: took %s and %d requests for a token", name, took, len(f.Tokens()))
			}
			time.Sleep(time.Hour) // the request for a token ends by itself, whoever has given up
		}
	})
}

func TestWaitEndsAtOnce(t *testing.T) {
	for name, end := range map[string]struct {
		successful bool
		want       follow.Status
	}{
		"failed task": {successful: false, want: follow.Failed},
		"final task":  {successful: true, want: follow.Succeeded},
	} {
		t.Run(name, func(t *testing.T) {
			scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
				s.steps = []logStep{{after: 7 * time.Second, rows: []ylem.LogRow{s.at(taskA, 7*time.Second, end.successful)}}}
				p, err := c.Wait(t.Context(), run, options(taskA))
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

func TestWaitOutlivesErrors(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		done := s.at(taskA, time.Second, true)
		s.steps = []logStep{
			{after: 0, status: http.StatusInternalServerError},
			{after: 20 * time.Second, rows: []ylem.LogRow{done}},
			{after: 25 * time.Second, status: http.StatusBadGateway},
			{after: 31 * time.Second, rows: nil}, // a log that has lost the run
			{after: 60 * time.Second, rows: []ylem.LogRow{done}},
		}
		p, err := c.Wait(t.Context(), run, options())
		if err != nil || p.Status != follow.Succeeded {
			t.Fatalf("%v, %+v", err, p)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{after: time.Second, rows: []ylem.LogRow{s.at(taskA, time.Second, true)}}, {after: 30 * time.Second, status: http.StatusBadGateway}}
		ctx, cancel := context.WithTimeout(t.Context(), 42*time.Second)
		defer cancel()
		p, err := c.Wait(ctx, run, options(taskB))
		if !errors.Is(err, context.DeadlineExceeded) || p.Status != follow.Running || len(p.Rows) != 1 {
			t.Errorf("%v, %+v", err, p)
		}
		if e, ok := errors.AsType[*request.Error](err); !ok || e.StatusCode != http.StatusBadGateway {
			t.Errorf("%v does not say why the log could not be read", err)
		}
		if took := time.Since(s.begin); took != 42*time.Second {
			t.Errorf("took %s", took)
		}
	})
}

func TestWaitGivesUpWhereWaitingCannotHelp(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{status: http.StatusForbidden}}
		_, err := c.Wait(t.Context(), run, options())
		if e, ok := errors.AsType[*request.Error](err); !ok || !e.MissingScope() {
			t.Errorf("%v", err)
		}
		if len(s.polls) != 1 {
			t.Errorf("%d polls", len(s.polls))
		}
	})
}

func TestWaitReportsWhileNothingHappens(t *testing.T) {
	scripted(t, func(t *testing.T, _ *logScript, c *follow.Follower, run follow.Run) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		last, longest := time.Now(), time.Duration(0)
		w := options()
		w.PollInterval = 10 * time.Minute
		w.Heartbeat = 3 * time.Second
		w.Report = func(follow.Progress) {
			longest = max(longest, time.Since(last))
			last = time.Now()
		}
		if _, err := c.Wait(ctx, run, w); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		if longest > w.Heartbeat || time.Since(last) > w.Heartbeat {
			t.Errorf("silent for %s", max(longest, time.Since(last)))
		}
	})
}

func TestWaitsOfOnePipelineShareAPoll(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
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
				if p, err := c.Wait(t.Context(), ref, options(taskA)); err == nil && p.Status == follow.Succeeded {
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

// Waits that begin at different times share polls as well.
func TestStaggeredWaitsShareAPoll(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var group sync.WaitGroup
		for i := range 8 {
			ref := run
			ref.RunUUID = fmt.Sprintf("0e204465-c35b-46ae-861d-%012d", i)
			group.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				_, _ = c.Wait(ctx, ref, options())
			})
		}
		group.Wait()
		if n := len(s.polls); n > 20 { // one every 2.5 to 5 s
			t.Errorf("%d polls in a minute", n)
		}
	})
}

func TestRefreshReadsTheLogOnceForAllRuns(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, -time.Hour, true)}}}
		run.TriggeredAt = s.begin.Add(-2 * time.Hour)
		var group sync.WaitGroup
		for i := range 100 {
			ref := run
			ref.TriggeredAt = ref.TriggeredAt.Add(-time.Duration(i) * time.Minute) // up to almost twice as old as the newest
			group.Go(func() {
				p, err := c.Refresh(t.Context(), ref, follow.Completion{QuietPeriod: 30 * time.Second})
				if err != nil || p.Status != follow.Succeeded {
					t.Errorf("%v, %+v", err, p)
				}
			})
		}
		group.Wait()
		if len(s.polls) != 1 {
			t.Errorf("%d requests: %v", len(s.polls), s.polls)
		}

		run.TriggeredAt = s.begin.AddDate(0, -1, 0)
		if _, err := c.Refresh(t.Context(), run, follow.Completion{}); err != nil {
			t.Error(err)
		}
		if len(s.polls) != 2 {
			t.Errorf("a run from before the window took %d requests in all, want 2", len(s.polls))
		}
	})
}

// A log that lacks rows which were seen before (a replica that lags, rows that are too old) takes nothing back, and its
// silence proves nothing for a day. What it adds counts.
func TestALogThatHasLostRows(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		first, second, third := s.at(taskA, -time.Hour, true), s.at(taskB, -time.Hour, true), s.at(taskC, time.Minute, true)
		s.steps = []logStep{{rows: []ylem.LogRow{first}}, {after: time.Minute, rows: []ylem.LogRow{first, third}}}
		run.TriggeredAt, run.Rows = s.begin.Add(-2*time.Hour), []ylem.LogRow{first, second}
		if p, err := c.Refresh(t.Context(), run, follow.Completion{QuietPeriod: time.Second}); err != nil || p.Status != follow.Running || len(p.Rows) != 2 {
			t.Errorf("%v, %+v", err, p)
		}
		polls := len(s.polls)
		if p, err := c.Wait(t.Context(), run, options(taskA)); err != nil || p.Status != follow.Succeeded || len(p.Rows) != 2 || len(s.polls) != polls {
			t.Errorf("%v, %+v after %d polls", err, p, len(s.polls)-polls)
		}
		if p, err := c.Wait(t.Context(), run, options(taskC)); err != nil || p.Status != follow.Succeeded || len(p.Rows) != 3 {
			t.Errorf("%v, %+v", err, p)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		if p, err := c.Wait(ctx, run, options()); !errors.Is(err, context.DeadlineExceeded) || p.Status != follow.Running || len(p.Rows) != 3 {
			t.Errorf("%v, %+v", err, p)
		}
		slow := options()
		slow.PollInterval = 10 * time.Minute
		if p, err := c.Wait(t.Context(), run, slow); err != nil || p.Status != follow.Succeeded || len(p.Rows) != 3 {
			t.Errorf("%v, %+v", err, p)
		}
		if took := time.Since(s.begin); took < 24*time.Hour || took > 25*time.Hour {
			t.Errorf("ended after %s", took)
		}
	})
}

// Rows that the log merges are not lost.
func TestMergedDuplicates(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		first, final := s.at(taskA, time.Second, true), s.at(taskB, 20*time.Second, true)
		s.steps = []logStep{{after: 2 * time.Second, rows: []ylem.LogRow{first, first, first}}, {after: 20 * time.Second, rows: []ylem.LogRow{final, first}}}
		p, err := c.Wait(t.Context(), run, options(taskB))
		if took := time.Since(s.begin); err != nil || p.Status != follow.Succeeded || len(p.Rows) != 2 || p.Duration != 200 || took > 30*time.Second {
			t.Errorf("after %s: %v, %+v", took, err, p)
		}
	})
}

// An answer that has arrived counts even if the deadline has passed meanwhile.
func TestWaitTakesAnAnswerThatCameInTime(t *testing.T) {
	t.Parallel()
	for range 20 { // which of two ready channels is taken is chosen at random
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			o := options(taskA)
			o.Heartbeat = time.Second
			block := make(chan struct{})
			o.Report = func(p follow.Progress) {
				if p.Status == follow.Pending {
					<-block // while the answer comes and the context ends
				}
			}
			run := follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID, TriggeredAt: time.Now()}
			c := pipeFollower(t, fake.New(t, func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(1500 * time.Millisecond)
				fmt.Fprintf(w, `[{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":true,"executed_at":"2000-01-01T00:00:00Z"}]`, fake.RunUUID, taskA)
			}))
			go func() {
				time.Sleep(2 * time.Second)
				cancel()
				synctest.Wait()
				close(block)
			}()
			if p, err := c.Wait(ctx, run, o); err != nil || p.Status != follow.Succeeded {
				t.Fatalf("%v, %+v", err, p)
			}
		})
	}
}

// A run that has been pending for a year costs a week of log, and a new run of the pipeline no more than its own.
func TestWindowsStayShort(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		old := run
		old.TriggeredAt = s.begin.AddDate(-1, 0, 0)
		if _, err := c.Refresh(t.Context(), old, follow.Completion{}); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Refresh(t.Context(), run, follow.Completion{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		if _, err := c.Wait(ctx, old, options()); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		for _, poll := range s.polls {
			parts := strings.Split(poll, "/")
			from, err1 := time.Parse(time.DateTime, parts[len(parts)-2])
			to, err2 := time.Parse(time.DateTime, parts[len(parts)-1])
			if err1 != nil || err2 != nil || to.Sub(from) > 9*24*time.Hour {
				t.Errorf("asked for %s", poll)
			}
		}
		if n := len(s.polls); n < 4 {
			t.Errorf("%d polls", n)
		}
	})
}

// A log that may no longer be used takes no memory.
func TestLogsAreForgotten(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, -time.Hour, true)}}}
		for i := range 10 {
			run.PipelineUUID = fmt.Sprintf("10000000-0000-4000-8000-%012d", i)
			if _, err := c.Refresh(t.Context(), run, follow.Completion{}); err != nil {
				t.Fatal(err)
			}
		}
		if n := follow.HeldLogs(c); n != 10 {
			t.Errorf("%d logs are held, want 10", n)
		}
		time.Sleep(31 * time.Second)
		synctest.Wait()
		if n := follow.HeldLogs(c); n != 0 {
			t.Errorf("%d logs are held half a minute later", n)
		}
	})
}

// Of an imported run whose rows have no time, it is not known when it was triggered.
func TestRefreshOfARunWithoutATime(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{rows: []ylem.LogRow{s.at(taskA, -time.Hour, true)}}}
		run.TriggeredAt = time.Time{}
		if p, err := c.Refresh(t.Context(), run, follow.Completion{QuietPeriod: time.Second}); err != nil || p.Status != follow.Succeeded {
			t.Errorf("%v, %+v", err, p)
		}
		if !strings.Contains(s.polls[0], "/1970-01-01 00:00:00/") {
			t.Errorf("asked for %s", s.polls[0])
		}
	})
}

// A caller that gives up reading a log takes it from no other: the request continues for them.
func TestRefreshDoesNotShareThatACallerGaveUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var requests atomic.Int64
		proceed := make(chan struct{})
		follower := pipeFollower(t, fake.New(t, func(w http.ResponseWriter, r *http.Request) {
			requests.Add(1)
			<-proceed
			fake.AnswerJSON("[]")(w, r)
		}))
		run := follow.Run{PipelineUUID: fake.PipelineUUID, RunUUID: fake.RunUUID, TriggeredAt: time.Now()}
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() {
			if _, err := follower.Refresh(ctx, run, follow.Completion{}); !errors.Is(err, context.Canceled) {
				t.Errorf("who gave up: %v", err)
			}
		})
		synctest.Wait()
		for range 10 {
			group.Go(func() {
				if _, err := follower.Refresh(t.Context(), run, follow.Completion{}); err != nil {
					t.Errorf("who went on waiting: %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		close(proceed)
		group.Wait()
		if n := requests.Load(); n != 1 {
			t.Errorf("%d requests, want 1", n)
		}
	})
}

func TestRefreshSharesRefusals(t *testing.T) {
	scripted(t, func(t *testing.T, s *logScript, c *follow.Follower, run follow.Run) {
		s.steps = []logStep{{status: http.StatusForbidden}}
		for range 10 {
			if _, err := c.Refresh(t.Context(), run, follow.Completion{}); err == nil {
				t.Error("no error")
			}
		}
		if len(s.polls) != 1 {
			t.Errorf("%d requests", len(s.polls))
		}
	})
}

func TestFindWidensItsWindow(t *testing.T) {
	t.Parallel()
	var asked []string
	c := tcpFollower(t, func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		if strings.Contains(r.URL.Path, "/1970-01-01 00:00:00/") {
			fmt.Fprintf(w, `[{"workflow_run_uuid":%q,"task_uuid":%q,"executed_at":"2001-01-01T00:00:00Z"},{"workflow_run_uuid":%q,"task_uuid":%q,"executed_at":"2001-01-01T00:00:00Z"}]`,
				strings.ToUpper(fake.RunUUID), taskA, otherRun, taskA)
			return
		}
		fmt.Fprint(w, "[]")
	})
	first, found, err := c.Find(t.Context(), fake.PipelineUUID, fake.RunUUID)
	if err != nil || !found || !first.Equal(time.Date(2001, 1, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%v, %t, %v", first, found, err)
	}
	if len(asked) != 3 {
		t.Errorf("asked %q", asked)
	}
}

func TestCanFollow(t *testing.T) {
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
			f := fake.New(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(test.status) })
			f.Token = func(w http.ResponseWriter, _ *http.Request) { fake.Grant(w, 1, 86400, test.scope) }
			c := follow.New(fake.NewClient(t, f))
			err := c.CanFollow(t.Context(), fake.PipelineUUID)
			if (err != nil) != test.refused || len(f.Calls()) != test.calls {
				t.Errorf("%v after %d requests", err, len(f.Calls()))
			}
		})
	}
}
