package follow

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Run names a run, with what is known of it.
type Run struct {
	PipelineUUID string
	RunUUID      string
	TriggeredAt  time.Time     // by the server's clock; zero if unknown
	Rows         []ylem.LogRow // rows that were read before: the log may have lost some
}

// Refresh looks once how far a run has got. Runs of one pipeline that were triggered at about the same time share a
// request. If Ylem cannot be reached, all runs share that error for half a minute.
func (f *Follower) Refresh(ctx context.Context, run Run, c Completion) (Progress, error) {
	if err := f.recentTrouble(); err != nil {
		return Progress{}, err
	}
	now := f.client.LastKnownNow()
	// Other runs of the pipeline are likely as old.
	reach := min(max(now.Sub(run.TriggeredAt), margin), Day)
	log, err := f.read(ctx, run, windowOf(run, now), reach, refreshAge, refreshTimeout)
	if err != nil {
		if ctx.Err() == nil {
			f.noteTrouble(err)
		}
		return Progress{}, err
	}
	rows, err := log.of(run)
	if err != nil {
		return Progress{}, err
	}
	return assess(run.Rows, rows, log.at, time.Time{}, c), nil
}

// assess adds what a log shows to the rows that are known. A log that lacks some of them (after a restart, from a replica,
// or because they are old) takes nothing back, and its silence proves little.
func assess(known, rows []ylem.LogRow, now, lastSeen time.Time, c Completion) Progress {
	if lacks(rows, known) {
		c.QuietPeriod = max(c.QuietPeriod, Day)
		lastSeen = time.Time{}
	}
	return Assess(union(known, rows), now, lastSeen, c)
}

// CanFollow finds out, before a run is started, whether its log may be read. It asks Ylem only if the token's scope leaves
// doubt, and fails only if Ylem says that the scope is missing.
func (f *Follower) CanFollow(ctx context.Context, pipelineUUID string) error {
	now, err := f.client.Now(ctx)
	if err != nil {
		return err
	}
	if scope := f.client.Scope(); scope == "" || strings.Contains(scope, "stats:read") {
		return nil
	}
	for _, err := range f.client.PipelineLogs(ctx, pipelineUUID, now, now) {
		if e, ok := request.AsError(err); ok && e.MissingScope() {
			return err
		}
		break
	}
	return nil
}

// Find looks for a run in the log of the last day, of the last month, and of all time, and returns when its first task was
// executed. A run of which no task has reported is not found.
func (f *Follower) Find(ctx context.Context, pipelineUUID, runUUID string) (first time.Time, found bool, err error) {
	now, err := f.client.Now(ctx)
	if err != nil {
		return time.Time{}, false, err
	}
	for _, from := range []time.Time{now.Add(-Day), now.AddDate(0, -1, 0), epoch} {
		for row, err := range f.client.PipelineLogs(ctx, pipelineUUID, from, now.Add(ahead)) {
			unreadable, ok := errors.AsType[*ylem.RowError](err)
			if ok && !strings.EqualFold(unreadable.RunUUID, runUUID) {
				continue
			}
			if err != nil {
				return time.Time{}, false, err
			}
			if strings.EqualFold(row.PipelineRunUUID, runUUID) && (!found || row.ExecutedAt.Before(first)) {
				first, found = row.ExecutedAt, true
			}
		}
		if found {
			return first, true, nil
		}
	}
	return time.Time{}, false, nil
}
