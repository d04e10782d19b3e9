package follow

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// KeyMember is the member of a run's input that holds its idempotency key. A pipeline that begins with an External trigger
// logs its input byte for byte, which is the only thing that ties a run to the request that started it.
const KeyMember = "_idempotency_key"

// TaskTypeTrigger is the type of a task whose output is the run's input.
const TaskTypeTrigger = "external_trigger"

// Started is a run that the log of the last day shows.
type Started struct {
	Run   Run
	Key   string // its idempotency key; "" if it has none, or its trigger has not reported
	input [sha256.Size]byte
}

// HasInput reports whether the run received this input.
func (s Started) HasInput(input []byte) bool { return s.input == sha256.Sum256(input) }

// Progress is how far the run has got; no silence ends it.
func (s Started) Progress() Progress { return SoFar(s.Run.Rows, nil) }

// Recent reads which runs of a pipeline the log of the last day shows, newest first. Callers at the same time share a log
// that was requested after all of them had come.
func (f *Follower) Recent(ctx context.Context, pipelineUUID string) ([]Started, error) {
	came := time.Now()
	fits := func(log *sharedLog) bool { return !log.asked.Before(came) }
	log, err := f.lookups.Do(ctx, strings.ToLower(pipelineUUID), 0, fits, func(ctx context.Context) (*sharedLog, error) {
		now, err := f.client.Now(ctx)
		if err != nil {
			return nil, err
		}
		log := newSharedLog(window{now.Add(-Day), now.Add(ahead)})
		log.inputs = map[string]loggedInput{}
		if err := f.request(ctx, pipelineUUID, log); err != nil {
			return nil, err
		}
		return log, log.brokenTrigger
	})
	if err != nil {
		return nil, err
	}
	runs := make([]Started, 0, len(log.rows))
	for uuid, rows := range log.rows {
		rows = union(rows)
		input := log.inputs[uuid]
		runs = append(runs, Started{
			Run:   Run{PipelineUUID: pipelineUUID, RunUUID: uuid, TriggeredAt: rows[0].ExecutedAt.Truncate(time.Second), Rows: rows},
			Key:   input.key,
			input: input.sum,
		})
	}
	slices.SortFunc(runs, func(a, b Started) int { return b.Run.TriggeredAt.Compare(a.Run.TriggeredAt) })
	return runs, nil
}

// loggedInput is what is kept of an input in the log.
type loggedInput struct {
	key string
	sum [sha256.Size]byte
}

// inputOf reads the input that a trigger's row shows.
func inputOf(trigger ylem.LogRow) loggedInput {
	text, _ := trigger.DecodeOutput()
	input := loggedInput{sum: sha256.Sum256([]byte(text))}
	if strings.Contains(text, KeyMember) {
		var object map[string]json.RawMessage
		if json.Unmarshal([]byte(text), &object) == nil {
			_ = json.Unmarshal(object[KeyMember], &input.key) // what is not a string is no key of ours
		}
	}
	return input
}
