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

// List reads which runs of a pipeline the log shows between two times, newest first. A caller that has enough stops early,
// and so does the request: a run is complete once the log, which is read from its end, has come to a day before the run's
// first row.
//
// A run with a row that cannot be read is an error that wraps a [*ylem.RowError], in its place if it has other rows, else in
// the end.
func (f *Follower) List(ctx context.Context, pipelineUUID string, from, to time.Time) iter.Seq2[Started, error] {
	return func(yield func(Started, error) bool) {
		at, err := f.client.Now(ctx)
		if err != nil {
			yield(Started{}, err)
			return
		}
		l := listing{pipelineUUID: pipelineUUID, at: at, open: map[string]*listed{}, done: map[string]bool{}, broken: map[string]error{}}
		l.held.Max = f.maxHeld
		for row, err := range f.client.PipelineLogs(ctx, pipelineUUID, from, to) {
			if unreadable, ok := errors.AsType[*ylem.RowError](err); ok {
				if uuid := strings.ToLower(unreadable.RunUUID); !l.done[uuid] {
					l.broken[uuid] = err
				}
				continue
			}
			if err == nil {
				if !row.ExecutedAt.IsZero() && !l.yieldSince(row.ExecutedAt.Add(Day), yield) {
					return
				}
				err = l.add(row)
			}
			if err != nil {
				yield(Started{}, err)
				return
			}
		}
		if !l.yieldSince(time.Time{}, yield) {
			return
		}
		for _, uuid := range slices.Sorted(maps.Keys(l.broken)) {
			if !yield(Started{}, l.broken[uuid]) {
				return
			}
		}
	}
}

// listing is a log that is being read from its end.
type listing struct {
	pipelineUUID string
	at           time.Time
	open         map[string]*listed // runs that may have more rows, in lower case
	newest       time.Time          // no open run began later
	done         map[string]bool
	broken       map[string]error
	held         ylem.HeldLog
}

// listed is a run in the log.
type listed struct {
	rows  []ylem.LogRow
	first time.Time // when the first of them was executed
	input loggedInput
}

// add takes the next row.
func (l *listing) add(row ylem.LogRow) error {
	uuid := strings.ToLower(row.PipelineRunUUID)
	if l.done[uuid] {
		return nil
	}
	run := l.open[uuid]
	if run == nil {
		run = &listed{}
		l.open[uuid] = run
	}
	if row.TaskType == TaskTypeTrigger {
		run.input = inputOf(row)
	}
	row.Output = keptOutput(row)
	if err := hold(&l.held, row); err != nil {
		return err
	}
	run.rows = append(run.rows, row)
	if at := row.ExecutedAt; !at.IsZero() && (run.first.IsZero() || at.Before(run.first)) {
		run.first = at
	}
	if run.first.After(l.newest) {
		l.newest = run.first
	}
	return nil
}

// yieldSince yields the open runs that began after a time (zero: all), newest first, and reports whether more are wanted.
func (l *listing) yieldSince(limit time.Time, yield func(Started, error) bool) bool {
	if !limit.IsZero() && !l.newest.After(limit) {
		return true
	}
	l.newest = time.Time{}
	var complete []string
	for uuid, run := range l.open {
		if limit.IsZero() || run.first.After(limit) {
			complete = append(complete, uuid)
		} else if run.first.After(l.newest) {
			l.newest = run.first
		}
	}
	slices.SortFunc(complete, func(a, b string) int {
		return cmp.Or(l.open[b].first.Compare(l.open[a].first), cmp.Compare(a, b))
	})
	for _, uuid := range complete {
		run := l.open[uuid]
		delete(l.open, uuid)
		l.held.Remove(run.rows)
		l.done[uuid] = true
		if err := l.broken[uuid]; err != nil {
			delete(l.broken, uuid)
			if !yield(Started{}, err) {
				return false
			}
			continue
		}
		started := Started{
			Run:   Run{PipelineUUID: l.pipelineUUID, RunUUID: uuid, TriggeredAt: run.first, KnownRows: union(run.rows)},
			Key:   run.input.key,
			input: run.input.sum,
			at:    l.at,
		}
		if !yield(started, nil) {
			return false
		}
	}
	return true
}
