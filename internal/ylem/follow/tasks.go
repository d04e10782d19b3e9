package follow

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// settling is how long no task must have reported until a run counts although it lacks tasks: a run that is still under way
// lacks some as well.
const settling = 30 * time.Minute

// Tasks is what the runs of a pipeline show of its tasks.
type Tasks struct {
	Tasks          []Task // sorted by UUID
	Runs           int    // that were counted
	Uniform        bool   // each run had all of the tasks, each once
	LongestSilence time.Duration
}

// Task is what the runs of its pipeline show of a task.
type Task struct {
	UUID            string // in lower case
	Type            string // in the newest run that shows it
	Runs            int    // that it reported in
	RowsPerRun      int    // the most
	AverageDuration int64  // milliseconds, of a row
	P95Duration     int64
	MaxDuration     int64
}

// QuietPeriod is a quiet period that leaves room for a silence twice as long as the longest so far. It is rounded up, so
// that it rarely changes.
func (t Tasks) QuietPeriod(atLeast time.Duration) time.Duration {
	const step = 30 * time.Second
	twice := 2 * min(t.LongestSilence, 365*Day) // no log's times make it overflow
	return max(atLeast, (twice + step - 1).Truncate(step))
}

// Tasks reads which tasks the newest runs between two times had that did not fail, and which runs have rows that cannot be
// read. Those are not counted; as their tasks are not known, the tasks are not uniform then.
func (f *Follower) Tasks(ctx context.Context, pipelineUUID string, from, to time.Time, maxRuns int) (t Tasks, unreadable []string, err error) {
	held := ylem.HeldLog{Max: f.maxHeld}
	t = TasksOf(func(yield func(Started) bool) {
		for run, listErr := range f.List(ctx, pipelineUUID, from, to) {
			if row, ok := errors.AsType[*ylem.RowError](listErr); ok {
				unreadable = append(unreadable, row.RunUUID)
				continue
			}
			if err = listErr; err != nil {
				return
			}
			if run.Progress().Status == Failed {
				continue
			}
			for _, row := range run.Run.KnownRows {
				if err = hold(&held, row); err != nil {
					return
				}
			}
			if !yield(run) {
				return
			}
		}
	}, maxRuns)
	if err != nil {
		return Tasks{}, nil, err
	}
	t.Uniform = t.Uniform && len(unreadable) == 0
	return t, unreadable, nil
}

// TasksOf counts the tasks of the newest runs that did not fail. The runs come newest first; no more are taken than needed.
func TasksOf(runs iter.Seq[Started], maxRuns int) Tasks {
	counted := newestRuns(runs, maxRuns)
	all := map[string]*taskRows{}
	t := Tasks{Runs: len(counted), Uniform: len(counted) > 0}
	for _, p := range counted {
		t.LongestSilence = max(t.LongestSilence, longestSilence(p.Rows))
		for uuid, rows := range byTask(p.Rows) {
			if all[uuid] == nil {
				all[uuid] = &taskRows{}
			}
			all[uuid].add(rows)
			// Neither of these tasks is one whose first row ends it.
			if len(rows) > 1 || rows[0].Outcome == ylem.OutcomeUnknown || rows[0].TaskType == ylem.TaskTypeForEach {
				t.Uniform = false
			}
		}
	}
	for _, uuid := range slices.Sorted(maps.Keys(all)) {
		task := all[uuid].task(uuid)
		t.Tasks = append(t.Tasks, task)
		t.Uniform = t.Uniform && task.Runs == t.Runs
	}
	return t
}

// newestRuns are those that did not fail, except those that may still be under way: their last task reported a short
// while ago, and all that is new about them is that they lack tasks. Without older runs, that cannot be known.
func newestRuns(runs iter.Seq[Started], maxRuns int) []Progress {
	var found []Progress
	tasks := map[string]bool{} // of the runs that have ended
	ended, recent := 0, 0
	for run := range runs {
		p := run.ProgressBy(Completion{QuietPeriod: settling})
		switch {
		case p.Status == Succeeded:
			ended++
			for uuid := range byTask(p.Rows) {
				tasks[uuid] = true
			}
		case p.Status == Running && recent < maxRuns:
			recent++
		default:
			continue
		}
		if found = append(found, p); ended == maxRuns {
			break
		}
	}
	found = slices.DeleteFunc(found, func(p Progress) bool {
		return p.Status == Running && (len(tasks) == 0 || someOf(byTask(p.Rows), tasks))
	})
	return found[:min(len(found), maxRuns)]
}

// someOf reports whether a run has only some of the tasks, and no other.
func someOf(own map[string][]ylem.LogRow, tasks map[string]bool) bool {
	for uuid := range own {
		if !tasks[uuid] {
			return false
		}
	}
	return len(own) < len(tasks)
}

// byTask are the rows of a run by task, in lower case.
func byTask(rows []ylem.LogRow) map[string][]ylem.LogRow {
	tasks := map[string][]ylem.LogRow{}
	for _, row := range rows {
		uuid := strings.ToLower(row.TaskUUID)
		tasks[uuid] = append(tasks[uuid], row)
	}
	return tasks
}

// longestSilence is the longest time between two rows, which are in order.
func longestSilence(rows []ylem.LogRow) (longest time.Duration) {
	for i := 1; i < len(rows); i++ {
		if before := rows[i-1].ExecutedAt; !before.IsZero() {
			longest = max(longest, rows[i].ExecutedAt.Sub(before))
		}
	}
	return longest
}

// taskRows is what is counted of a task.
type taskRows struct {
	taskType   string
	runs, most int
	durations  []int64
}

// add counts the task's rows of a run. The newest run comes first.
func (t *taskRows) add(rows []ylem.LogRow) {
	t.runs++
	t.most = max(t.most, len(rows))
	for _, row := range rows {
		t.taskType = cmp.Or(t.taskType, row.TaskType)
		t.durations = append(t.durations, row.Duration)
	}
}

func (t *taskRows) task(uuid string) Task {
	slices.Sort(t.durations)
	n := len(t.durations)
	return Task{
		UUID: uuid, Type: t.taskType, Runs: t.runs, RowsPerRun: t.most,
		AverageDuration: mean(t.durations),
		P95Duration:     t.durations[(95*n+99)/100-1], // the least that 95 % of them do not exceed
		MaxDuration:     t.durations[n-1],
	}
}

// mean is the mean of some numbers, whose sum may be too large.
func mean(numbers []int64) int64 {
	n := int64(len(numbers))
	var whole, rest int64
	for _, number := range numbers {
		whole += number / n
		rest += number % n
	}
	return whole + rest/n
}
