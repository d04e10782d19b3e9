// Package follow follows a run over time. Ylem has no status of a run and does not report how many tasks it has: how far a
// run has got is derived from its rows in the log of the pipeline.
package follow

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// Status is how far a run has got.
type Status string

// The statuses of a run.
const (
	Pending   Status = "pending" // no task has reported yet
	Running   Status = "running"
	Succeeded Status = "succeeded"
	Failed    Status = "failed"
)

// Ended reports whether the status is one of a run that has ended, for all that is known.
func (s Status) Ended() bool { return s == Succeeded || s == Failed }

// Certainty is how sure it is that a run has ended.
type Certainty int

// The certainties of an end.
const (
	Open     Certainty = iota // the run has not ended
	Presumed                  // no task has reported for the quiet period: a guess, as a later row can come at any time
	Certain                   // a task failed, or all final tasks have reported
)

// Day is how long after its newest row a presumed end is settled. One task runner serves all pipelines of a server, so a
// shorter silence proves little.
const Day = 24 * time.Hour

// Completion is how the end of a run is recognized.
type Completion struct {
	// FinalTaskUUIDs are the tasks that end the run: it has succeeded once all of them have reported.
	FinalTaskUUIDs []string
	// QuietPeriod is how long no task must have reported for the run to have succeeded, if FinalTaskUUIDs are not given
	// or a for-each makes them report several times.
	QuietPeriod time.Duration
}

// Progress is what the log shows of a run.
type Progress struct {
	Status     Status
	Certainty  Certainty
	Rows       []ylem.LogRow // the run's own, each once, oldest first
	FinishedAt time.Time     // when the newest row was executed; zero unless the run has ended
	Duration   int64         // milliseconds, the sum over the rows
	Missing    []string      // final tasks that have not reported, in lower case, sorted
}

// Failed returns the rows of the tasks that failed.
func (p Progress) Failed() []ylem.LogRow {
	return slices.DeleteFunc(slices.Clone(p.Rows), func(row ylem.LogRow) bool { return row.Outcome != ylem.Failed })
}

// Reported reports whether a task has reported an outcome.
func (p Progress) Reported(taskUUID string) bool {
	return slices.ContainsFunc(p.Rows, func(row ylem.LogRow) bool {
		return strings.EqualFold(row.TaskUUID, taskUUID) && row.Outcome != ylem.OutcomeUnknown
	})
}

// Span is the time from the start of the first task to the end of the last one.
func (p Progress) Span() time.Duration {
	if len(p.Rows) == 0 {
		return 0
	}
	first := p.Rows[0]
	return p.newest().Sub(first.ExecutedAt) + time.Duration(first.Duration)*time.Millisecond
}

// newest is when the newest row was executed.
func (p Progress) newest() time.Time {
	if len(p.Rows) == 0 {
		return time.Time{}
	}
	return p.Rows[len(p.Rows)-1].ExecutedAt
}

// Settled reports whether the run has ended for good: it need not be looked at again. now is the server's time.
func (p Progress) Settled(now time.Time) bool {
	switch p.Certainty {
	case Certain:
		return true
	case Presumed:
		return now.Sub(p.newest()) >= Day
	default:
		return false
	}
}

// Assess decides how far a run has got, from its rows in any order and the server's time. lastSeen is when a new row was
// last seen arriving, on the same clock; if it is zero, the rows' own times count.
//
//   - A failed task ends the run at once, as in Ylem's own web interface, although other branches may continue.
//   - If final tasks are given, the run has succeeded when all of them have reported. After a for-each, tasks report once
//     for each item, so a quiet period must follow.
//   - Otherwise it has succeeded when at least one task has reported, and none during the last quiet period.
//
// Rows are identified by task and time: one that the log holds several times counts once.
func Assess(rows []ylem.LogRow, now, lastSeen time.Time, c Completion) Progress {
	p := Progress{Status: Pending, Rows: union(rows)}
	missing := map[string]bool{}
	for _, uuid := range c.FinalTaskUUIDs {
		missing[strings.ToLower(uuid)] = true
	}
	failed, forEach := false, false
	for _, row := range p.Rows {
		p.Duration += row.Duration
		failed = failed || row.Outcome == ylem.Failed
		forEach = forEach || row.TaskType == ylem.TaskTypeForEach
		if row.Outcome != ylem.OutcomeUnknown {
			delete(missing, strings.ToLower(row.TaskUUID))
		}
	}
	p.Missing = slices.Sorted(maps.Keys(missing))
	if len(p.Rows) == 0 {
		return p
	}
	if lastSeen.IsZero() {
		if lastSeen = p.newest(); lastSeen.IsZero() {
			lastSeen = now // rows without a time prove no silence
		}
	}
	quiet := now.Sub(lastSeen) >= c.QuietPeriod

	switch {
	case failed:
		p.Status, p.Certainty = Failed, Certain
	case len(missing) > 0:
		p.Status = Running
	case len(c.FinalTaskUUIDs) > 0 && !forEach:
		p.Status, p.Certainty = Succeeded, Certain
	case quiet:
		p.Status, p.Certainty = Succeeded, Presumed
	default:
		p.Status = Running
	}
	if p.Status.Ended() {
		p.FinishedAt = p.newest()
	}
	return p
}

// SoFar is how far a run has got by its rows alone: no silence ends it.
func SoFar(rows []ylem.LogRow, finalTaskUUIDs []string) Progress {
	return Assess(rows, time.Time{}, time.Time{}, Completion{FinalTaskUUIDs: finalTaskUUIDs, QuietPeriod: Day})
}

// Known is the progress that a state shows, without looking at the log again: its status stands, and how certain that is
// follows from its rows.
func Known(status Status, rows []ylem.LogRow, finalTaskUUIDs []string) Progress {
	p := SoFar(rows, finalTaskUUIDs)
	if status == Succeeded && p.Certainty != Certain {
		p.Certainty = Presumed
	}
	if !status.Ended() {
		p.Certainty = Open
	}
	p.Status = status
	return p
}

// rowKey identifies a row of a run.
type rowKey struct {
	task string
	at   int64
}

func keyOf(row ylem.LogRow) rowKey {
	return rowKey{strings.ToLower(row.TaskUUID), row.ExecutedAt.UnixNano()}
}

// union returns the rows of all lists, each once, oldest first. Of two that are the same, one whose outcome is known
// counts, and otherwise the later one.
func union(lists ...[]ylem.LogRow) []ylem.LogRow {
	at := map[rowKey]int{}
	var all []ylem.LogRow
	for _, rows := range lists {
		for _, row := range rows {
			i, known := at[keyOf(row)]
			switch {
			case !known:
				at[keyOf(row)] = len(all)
				all = append(all, row)
			case row.Outcome != ylem.OutcomeUnknown || all[i].Outcome == ylem.OutcomeUnknown:
				all[i] = row
			}
		}
	}
	slices.SortStableFunc(all, func(a, b ylem.LogRow) int {
		return cmp.Or(a.ExecutedAt.Compare(b.ExecutedAt), cmp.Compare(a.TaskUUID, b.TaskUUID))
	})
	return all
}

// lacks reports whether some of the known rows are not among the rows.
func lacks(rows, known []ylem.LogRow) bool {
	return len(union(rows, known)) > len(union(rows))
}
