package follow

import (
	"cmp"
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
	Err   error  // that it has a row which cannot be read, as a [*ylem.RowError]
	input [sha256.Size]byte
	at    time.Time // when the log was requested, by the server's clock
}

// ProgressBy is how far the run had got when the log was read.
func (s Started) ProgressBy(c Completion) Progress {
	return Assess(s.Run.KnownRows, s.at, time.Time{}, c)
}

// HasInput reports whether the run received this input.
func (s Started) HasInput(input []byte) bool { return s.input == sha256.Sum256(input) }

// Progress is how far the run has got; no silence ends it.
func (s Started) Progress() Progress { return SoFar(s.Run.KnownRows, nil) }

// Recent reads which runs of a pipeline the log of the last day shows, newest first. Callers at the same time share a log
// that was requested after all of them had come.
func (f *Follower) Recent(ctx context.Context, pipelineUUID string) ([]Started, error) {
	came := time.Now()
	fits := func(log *sharedLog) bool { return !log.requestedAt.Before(came) }
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
		if !ylem.ValidRunUUID(uuid) {
			continue // it would go into states, and into commands to copy
		}
		rows = union(rows)
		input := log.inputs[uuid]
		runs = append(runs, Started{
			Run:   Run{PipelineUUID: pipelineUUID, RunUUID: uuid, TriggeredAt: rows[0].ExecutedAt.Truncate(time.Second), KnownRows: rows},
			Key:   input.key,
			Err:   log.broken[uuid],
			input: input.sum,
		})
	}
	slices.SortFunc(runs, func(a, b Started) int {
		return cmp.Or(b.Run.TriggeredAt.Compare(a.Run.TriggeredAt), cmp.Compare(a.Run.RunUUID, b.Run.RunUUID))
	})
	return runs, nil
}

// maxKey is more than a key has bytes, with its fingerprint.
const maxKey = 1 << 10

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
		if len(input.key) > maxKey {
			input.key = ""
		}
	}
	return input
}
