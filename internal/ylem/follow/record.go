package follow

import (
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// Record is what the log shows of a run.
type Record struct {
	Run     Run       // with its rows, without the outputs of tasks that succeeded
	Outputs Outputs   // of all tasks, if they are wanted
	at      time.Time // when the log was requested, by the server's clock
}

// Progress is how far the run had got when the log was read.
func (r Record) Progress(c Completion) Progress { return Assess(r.Run.KnownRows, r.at, time.Time{}, c) }

// Input is what the run's External trigger received, and whether that can be known: there is such a task, it has reported,
// and what it received is text.
func (r Record) Input() (text string, known bool) {
	for _, task := range slices.Sorted(maps.Keys(r.Outputs)) {
		if row := r.Outputs[task]; row.TaskType == TaskTypeTrigger {
			text, ok := row.DecodeOutput()
			return text, ok && text != noInput
		}
	}
	return "", false
}

// noInput is what a trigger logs of a run without an input.
const noInput = "null"

// Look finds a run as Find does, and returns what the log shows of it. Only with includeOutputs are outputs held.
func (f *Follower) Look(ctx context.Context, pipelineUUID, runUUID string, includeOutputs bool) (Record, bool, error) {
	r := Record{Run: Run{PipelineUUID: pipelineUUID, RunUUID: strings.ToLower(runUUID)}, Outputs: Outputs{}}
	var held ylem.HeldLog
	at, found, err := f.search(ctx, pipelineUUID, runUUID, func(row ylem.LogRow) error {
		if includeOutputs {
			if err := r.Outputs.add(row, &held); err != nil {
				return err
			}
		}
		row.Output = keptOutput(row)
		if err := hold(&held, row); err != nil {
			return err
		}
		r.Run.KnownRows = append(r.Run.KnownRows, row)
		return nil
	})
	if err != nil || !found {
		return Record{}, false, err
	}
	r.at, r.Run.KnownRows = at, union(r.Run.KnownRows)
	r.Run.TriggeredAt = r.Run.KnownRows[0].ExecutedAt
	return r, true, nil
}
