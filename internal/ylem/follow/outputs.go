package follow

import (
	"cmp"
	"maps"
	"strings"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// Outputs are the last rows that tasks of a run have reported, with their outputs, by task in lower case.
type Outputs map[string]ylem.LogRow

// Of returns what a task has reported as text, and whether it has and it is text.
func (o Outputs) Of(taskUUID string) (text string, ok bool) {
	row, ok := o[strings.ToLower(taskUUID)]
	if !ok {
		return "", false
	}
	return row.DecodeOutput()
}

// add takes a row, if none that was reported later is there. Only a limited amount of rows is held.
func (o Outputs) add(row ylem.LogRow, held *ylem.HeldLog) error {
	task := strings.ToLower(row.TaskUUID)
	if !later(row, o[task]) {
		return nil
	}
	if err := hold(held, row); err != nil {
		return err
	}
	o[task] = row
	return nil
}

// later reports whether a row was reported after another one of its task. Of two at the same time, which come in any order,
// it is always the same one.
func later(row, other ylem.LogRow) bool {
	return other.TaskUUID == "" || cmp.Or(row.ExecutedAt.Compare(other.ExecutedAt), cmp.Compare(row.Output, other.Output)) > 0
}

// outputsFor are no outputs so far: nil if none are wanted.
func outputsFor(run Run) Outputs {
	if len(run.OutputTasks) == 0 {
		return nil
	}
	return Outputs{}
}

// with adds what a log holds of the run's outputs. A log that was requested before they were wanted may lack some: then there
// are none at all.
func (o Outputs) with(log *sharedLog, run Run) Outputs {
	uuid := strings.ToLower(run.RunUUID)
	if o == nil {
		return nil
	}
	for _, task := range run.OutputTasks {
		if log.wanted[wantedOutput{uuid, strings.ToLower(task)}] == 0 {
			return nil
		}
	}
	for task, row := range log.outputs[uuid] {
		if later(row, o[task]) {
			o[task] = row
		}
	}
	return o
}

// wantOutputs makes all logs that are requested from now on hold the outputs that the run asks for.
func (f *Follower) wantOutputs(run Run) (release func()) {
	if len(run.OutputTasks) == 0 {
		return func() {}
	}
	want := func(change int) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, task := range run.OutputTasks {
			output := wantedOutput{strings.ToLower(run.RunUUID), strings.ToLower(task)}
			if f.wanted[output] += change; f.wanted[output] == 0 {
				delete(f.wanted, output)
			}
		}
	}
	want(1)
	return func() { want(-1) }
}

// wantedOutput is a task of a run, both in lower case.
type wantedOutput struct{ runUUID, taskUUID string }

func (f *Follower) wantedOutputs() map[wantedOutput]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.wanted)
}
