package follow_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/fake"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

// took is a row with a type and a duration.
func took(r ylem.LogRow, taskType string, milliseconds int64) ylem.LogRow {
	r.TaskType, r.Duration = taskType, milliseconds
	return r
}

func TestTasksOf(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	// ran is a run that began some time before start, whose tasks reported a second after each other.
	ran := func(ago time.Duration, tasks ...string) (rows []ylem.LogRow) {
		for i, task := range tasks {
			rows = append(rows, row(task, time.Duration(i)*time.Second-ago, true))
		}
		return rows
	}
	failed := func(rows []ylem.LogRow) []ylem.LogRow {
		rows[len(rows)-1].Outcome = ylem.Failed
		return rows
	}
	task := func(uuid string, runs, rowsPerRun int) follow.Task {
		return follow.Task{UUID: uuid, Runs: runs, RowsPerRun: rowsPerRun, AverageDuration: 100, P95Duration: 100, MaxDuration: 100}
	}
	uniform := func(runs int, silence time.Duration, uuids ...string) follow.Tasks {
		want := follow.Tasks{Runs: runs, Uniform: true, LongestSilence: silence}
		for _, uuid := range uuids {
			want.Tasks = append(want.Tasks, task(uuid, runs, 1))
		}
		return want
	}
	for _, test := range []struct {
		name  string
		runs  [][]ylem.LogRow // newest first; the log was read at start
		max   int
		want  follow.Tasks
		taken int // 0: all
	}{
		{name: "an empty log"},
		{name: "uniform", runs: [][]ylem.LogRow{ran(day, taskA, taskB), ran(2*day, taskB, taskA)}, want: uniform(2, time.Second, taskA, taskB)},
		{name: "one run", runs: [][]ylem.LogRow{ran(day, taskA)}, want: uniform(1, 0, taskA)},
		{name: "UUIDs in any case", runs: [][]ylem.LogRow{ran(day, taskA), ran(2*day, strings.ToUpper(taskA))}, want: uniform(2, 0, taskA)},
		{
			name: "a task is missing in one run",
			runs: [][]ylem.LogRow{ran(day, taskA, taskB), ran(2*day, taskA), ran(3*day, taskA, taskB)},
			want: follow.Tasks{Runs: 3, LongestSilence: time.Second, Tasks: []follow.Task{task(taskA, 3, 1), task(taskB, 2, 1)}},
		},
		{
			name: "a task that only the newest run has",
			runs: [][]ylem.LogRow{ran(time.Minute, taskA, taskB), ran(2*day, taskA), ran(3*day, taskA)},
			want: follow.Tasks{Runs: 3, LongestSilence: time.Second, Tasks: []follow.Task{task(taskA, 3, 1), task(taskB, 1, 1)}},
		},
		{
			name: "another task in the newest run",
			runs: [][]ylem.LogRow{ran(time.Minute, taskB), ran(2*day, taskA)},
			want: follow.Tasks{Runs: 2, Tasks: []follow.Task{task(taskA, 1, 1), task(taskB, 1, 1)}},
		},
		{
			name: "a for-each of several items",
			runs: [][]ylem.LogRow{
				{forEach(taskA, -day), row(taskB, time.Second-day, true), row(taskB, 3*time.Second-day, true), row(taskB, 4*time.Second-day, true)},
				{forEach(taskA, -2*day), row(taskB, time.Second-2*day, true)},
			},
			want: follow.Tasks{Runs: 2, LongestSilence: 2 * time.Second, Tasks: []follow.Task{
				{UUID: taskA, Type: "for_each", Runs: 2, RowsPerRun: 1, AverageDuration: 100, P95Duration: 100, MaxDuration: 100}, task(taskB, 2, 3),
			}},
		},
		{
			name: "a for-each of one item, which may be more the next time",
			runs: [][]ylem.LogRow{{forEach(taskA, -day)}},
			want: follow.Tasks{Runs: 1, Tasks: []follow.Task{{UUID: taskA, Type: "for_each", Runs: 1, RowsPerRun: 1, AverageDuration: 100, P95Duration: 100, MaxDuration: 100}}},
		},
		{
			name: "a task whose outcome is never known, so that a wait would not end",
			runs: [][]ylem.LogRow{{unknown(taskA, -day)}},
			want: follow.Tasks{Runs: 1, Tasks: []follow.Task{task(taskA, 1, 1)}},
		},
		{name: "failed runs", runs: [][]ylem.LogRow{failed(ran(day, taskA)), ran(2*day, taskA, taskB), failed(ran(3*day, taskA, taskC))}, want: uniform(1, time.Second, taskA, taskB)},
		{name: "only failed runs", runs: [][]ylem.LogRow{failed(ran(day, taskA))}},
		{
			name: "rows that the log has twice",
			runs: [][]ylem.LogRow{slices.Concat(ran(day, taskA, taskB), ran(day, taskB), ran(day, strings.ToUpper(taskA), taskB)), ran(2*day, taskA, taskB)},
			want: follow.Tasks{Runs: 2, LongestSilence: time.Second, Tasks: []follow.Task{task(taskA, 2, 1), task(taskB, 2, 2)}}, // B at two times
		},
		{name: "the same row twice", runs: [][]ylem.LogRow{slices.Concat(ran(day, taskA, taskB), ran(day, taskA, taskB))}, want: uniform(1, time.Second, taskA, taskB)},
		{name: "the newest is under way", runs: [][]ylem.LogRow{ran(time.Minute, taskA), ran(day, taskA, taskB)}, want: uniform(1, time.Second, taskA, taskB)},
		{name: "the newest has just ended", runs: [][]ylem.LogRow{ran(time.Minute, taskB, taskA), ran(day, taskA, taskB)}, want: uniform(2, time.Second, taskA, taskB)},
		{
			name: "half an hour of silence is an end",
			runs: [][]ylem.LogRow{ran(30*time.Minute, taskA), ran(day, taskA, taskB)},
			want: follow.Tasks{Runs: 2, LongestSilence: time.Second, Tasks: []follow.Task{task(taskA, 2, 1), task(taskB, 1, 1)}},
		},
		{name: "all may be under way", runs: [][]ylem.LogRow{ran(time.Minute, taskA, taskB), ran(2*time.Minute, taskA, taskB)}},
		{name: "a row without a time proves no silence", runs: [][]ylem.LogRow{{{TaskUUID: taskA, Outcome: ylem.Succeeded}}, ran(day, taskA, taskB)}, want: uniform(1, time.Second, taskA, taskB)},
		{
			name: "more runs than wanted", max: 2, taken: 4,
			runs: [][]ylem.LogRow{ran(time.Minute, taskA), failed(ran(day, taskC)), ran(2*day, taskA, taskB), ran(3*day, taskA, taskB), ran(4*day, taskC)},
			want: uniform(2, time.Second, taskA, taskB),
		},
		{
			name: "the newest runs count", max: 2, taken: 5,
			runs: [][]ylem.LogRow{ran(time.Minute, taskA), ran(2*time.Minute, taskA), ran(3*time.Minute, taskA, taskB), ran(day, taskA), ran(2*day, taskA)},
			want: uniform(2, 0, taskA),
		},
		{
			name: "no more runs that may be under way are held than runs wanted", max: 1,
			runs: [][]ylem.LogRow{ran(time.Minute, taskA), ran(2*time.Minute, taskA, taskB, taskA), ran(day, taskA, taskB)},
			want: uniform(1, time.Second, taskA, taskB),
		},
		{
			name: "silence after a row without a time",
			runs: [][]ylem.LogRow{{{TaskUUID: taskA, Outcome: ylem.Succeeded, Duration: 100}, row(taskB, -day, true)}},
			want: uniform(1, 0, taskA, taskB),
		},
		{
			name: "durations",
			runs: [][]ylem.LogRow{
				{took(row(taskA, -day, true), "query", 10)},
				{took(row(taskA, -2*day, true), "old", 1), took(row(taskA, time.Second-2*day, true), "old", 2)},
			},
			want: follow.Tasks{Runs: 2, LongestSilence: time.Second, Tasks: []follow.Task{
				{UUID: taskA, Type: "query", Runs: 2, RowsPerRun: 2, AverageDuration: 4, P95Duration: 10, MaxDuration: 10},
			}},
		},
		{
			name: "durations whose sum is too large",
			runs: [][]ylem.LogRow{{took(row(taskA, -day, true), "", 1<<63-1)}, {took(row(taskA, -2*day, true), "", 1<<63-1)}},
			want: follow.Tasks{Runs: 2, Uniform: true, Tasks: []follow.Task{{UUID: taskA, Runs: 2, RowsPerRun: 1, AverageDuration: 1<<63 - 1, P95Duration: 1<<63 - 1, MaxDuration: 1<<63 - 1}}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			taken := 0
			got := follow.TasksOf(func(yield func(follow.Started) bool) {
				for _, rows := range test.runs {
					if taken++; !yield(follow.StartedWith(rows, start)) {
						return
					}
				}
			}, cmp.Or(test.max, 20))
			if !reflect.DeepEqual(got, test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
			if want := len(test.runs); test.taken == 0 && taken != want || test.taken > 0 && taken != test.taken {
				t.Errorf("%d of %d runs were taken, want %d", taken, want, test.taken)
			}
		})
	}
}

// Of 100 durations, five may be longer than the 95th percentile.
func TestP95Duration(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int64{1: 1, 19: 19, 20: 19, 100: 95} {
		var rows []ylem.LogRow
		for i := range n {
			rows = append(rows, took(row(taskA, -24*time.Hour-time.Duration(i)*time.Second, true), "", int64(i+1)))
		}
		got := follow.TasksOf(slices.Values([]follow.Started{follow.StartedWith(rows, start)}), 1)
		if p95 := got.Tasks[0].P95Duration; p95 != want {
			t.Errorf("of 1 to %d: %d, want %d", n, p95, want)
		}
	}
}

func TestQuietPeriod(t *testing.T) {
	t.Parallel()
	for silence, want := range map[time.Duration]string{
		0: "30s", 15 * time.Second: "30s", 15*time.Second + 1: "1m0s", 45 * time.Second: "1m30s", 1<<63 - 1: "17520h0m0s",
	} {
		if got := (follow.Tasks{LongestSilence: silence}).QuietPeriod(30 * time.Second).String(); got != want {
			t.Errorf("after %s: %s, want %s", silence, got, want)
		}
	}
}

// A log without an end is read until enough runs are known.
func TestTasksAreReadNoFurtherThanNeeded(t *testing.T) {
	t.Parallel()
	f := tcpFollower(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, "[")
		comma := ""
		for i := 0; r.Context().Err() == nil; i++ {
			at := start.Add(-time.Duration(i) * time.Hour).Format(time.RFC3339)
			_, err := fmt.Fprintf(w, `%s{"pipeline_run_uuid":"run-%d","task_uuid":%q,"is_successful":true,"executed_at":%q}`, comma, i, taskA, at)
			if err != nil {
				return
			}
			comma = ","
		}
	})
	tasks, unreadable, err := f.Tasks(t.Context(), fake.PipelineUUID, start.AddDate(-1, 0, 0), start, 20)
	if err != nil || len(unreadable) > 0 || tasks.Runs != 20 || !tasks.Uniform {
		t.Errorf("%+v, %v, %v", tasks, unreadable, err)
	}
}

// A run that cannot be read may have other tasks than those that can, also if no more are read.
func TestTasksOfRunsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	good := func(run string, day int) string {
		return fmt.Sprintf(`{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":true,"executed_at":"2024-01-%02dT00:00:00Z"}`, run, taskA, day)
	}
	const broken = `{"pipeline_run_uuid":"b","task_uuid":"t","executed_at":7}`
	for name, rows := range map[string][]string{
		"newest": {good("b", 9), broken, good("c", 7), good("d", 5)},
		"alone":  {good("c", 7), broken},
	} {
		f := tcpFollower(t, fake.AnswerJSON("["+strings.Join(rows, ",")+"]"))
		tasks, unreadable, err := f.Tasks(t.Context(), fake.PipelineUUID, start.AddDate(-1, 0, 0), start, 2)
		if err != nil || !slices.Equal(unreadable, []string{"b"}) || tasks.Uniform || tasks.Runs == 0 {
			t.Errorf("%s: %+v, %v, %v", name, tasks, unreadable, err)
		}
	}
}

// What is held of a log does not grow with its length: neither the runs that failed, nor those that are listed.
func TestHeldRowsDoNotGrowWithTheLog(t *testing.T) {
	t.Parallel()
	const runs = 2000
	answer := func(successful bool) string {
		var rows []string
		for i := range runs { // one in an hour
			rows = append(rows, fmt.Sprintf(`{"pipeline_run_uuid":"run-%d","task_uuid":%q,"is_successful":%t,"executed_at":%q}`,
				i, taskA, successful, start.Add(-time.Duration(i)*time.Hour).Format(time.RFC3339)))
		}
		return "[" + strings.Join(rows, ",") + "]"
	}
	const row = 250 // at least
	for _, successful := range []bool{false, true} {
		f := tcpFollower(t, fake.AnswerJSON(answer(successful)))
		follow.LimitHeld(f, 100*row)
		tasks, _, err := f.Tasks(t.Context(), fake.PipelineUUID, start.AddDate(-1, 0, 0), start, 20)
		if err != nil || successful != (tasks.Runs == 20) {
			t.Errorf("successful: %t: %+v, %v", successful, tasks, err)
		}
		listed := 0
		for _, err := range f.List(t.Context(), fake.PipelineUUID, start.AddDate(-1, 0, 0), start) {
			if listed++; err != nil {
				t.Fatalf("after %d runs: %v", listed, err)
			}
		}
		if listed != runs {
			t.Errorf("%d runs are listed", listed)
		}
		if _, _, err := f.Tasks(t.Context(), fake.PipelineUUID, start.AddDate(-1, 0, 0), start, 200); successful != errors.Is(err, ylem.ErrLogTooLarge) {
			t.Errorf("successful: %t, and 200 runs are to be held: %v", successful, err)
		}
	}
}
