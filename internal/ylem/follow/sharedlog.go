package follow

import (
	"context"
	"encoding/base64"
	"errors"
	"iter"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

const (
	// margin is how long before a run was triggered its rows are looked for: the clocks of Ylem's services differ.
	margin = 5 * time.Minute
	// ahead is how far beyond now a log is read, for rows that a service with a fast clock has written.
	ahead = Day
	// firstRow is how long after the start of a run its first row is looked for. With one row in the window, the log shows
	// the whole run.
	firstRow = 7 * Day

	// A refresh of many runs reads the log once, and does not hold up a plan if Ylem is in trouble.
	refreshAge     = 30 * time.Second // how old a log, or a failure to read it, may be
	refreshTimeout = 30 * time.Second
)

// Follower follows runs. Runs of one pipeline share what is read of its log.
type Follower struct {
	client  *ylem.Client
	logs    request.Flights[*sharedLog] // by pipeline
	lookups request.Flights[*sharedLog] // by pipeline; see Recent
	maxHeld int                         // bytes of one log; 0: ylem.MaxHeldLog

	mu      sync.Mutex
	wanted  map[wantedOutput]int // by how many callers
	trouble error                // why no log could be read: the last connection or token error
	since   time.Time
}

// New returns a follower of the runs that the client can read.
func New(client *ylem.Client) *Follower {
	return &Follower{client: client, logs: request.Flights[*sharedLog]{Keep: refreshAge}, wanted: map[wantedOutput]int{}}
}

// sharedLog is one answer of a log.
type sharedLog struct {
	rows    map[string][]ylem.LogRow // by run, in lower case
	broken  map[string]error         // of runs with a row that cannot be read
	inputs  map[string]loggedInput   // by run; nil: not wanted
	wanted  map[wantedOutput]int
	outputs map[string]Outputs // by run, of the wanted tasks

	brokenTrigger error // a row that cannot be read and may hold an input
	window        window

	requestedAtServer time.Time // by the server's clock: later rows are not in it
	requestedAt       time.Time // by ours
	receivedAt        time.Time // by ours
}

func newSharedLog(w window) *sharedLog {
	return &sharedLog{rows: map[string][]ylem.LogRow{}, broken: map[string]error{}, window: w}
}

// of is what the log shows of a run.
func (l *sharedLog) of(run Run) ([]ylem.LogRow, error) {
	uuid := strings.ToLower(run.RunUUID)
	return l.rows[uuid], l.broken[uuid]
}

type window struct{ from, to time.Time }

func (w window) covers(v window) bool { return !w.from.After(v.from) && !w.to.Before(v.to) }

// epoch is the first time that Ylem knows.
var epoch = time.Unix(0, 0)

// windowOf is where the rows of a run are looked for. The window ends seven days after the trigger, so it does not grow with
// a run that never ends.
func windowOf(run Run, now time.Time) window {
	from := run.TriggeredAt.Add(-margin)
	if from.Before(epoch) {
		from = epoch // of an imported run whose rows have no time, it is not known when it was triggered
	}
	to := now.Truncate(time.Hour).Add(ahead + time.Hour) // the same for all who ask within an hour
	if !run.TriggeredAt.IsZero() && run.TriggeredAt.Add(firstRow).Before(to) {
		to = run.TriggeredAt.Add(firstRow)
	}
	return window{from, to}
}

// recent is where the new rows of a run are looked for that was triggered long ago.
func recent(now time.Time) window { return window{now.Add(-Day), now.Add(ahead)} }

// read returns a log of the run's pipeline that covers the window and is younger than age. If it has to be requested, it
// reaches further back, so that it serves runs that are a little older as well.
func (f *Follower) read(ctx context.Context, run Run, want window, reach, age, timeout time.Duration) (*sharedLog, error) {
	fits := func(log *sharedLog) bool { return log.window.covers(want) }
	return f.logs.Do(ctx, strings.ToLower(run.PipelineUUID), age, fits, func(ctx context.Context) (*sharedLog, error) {
		if timeout > 0 {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, timeout)
			defer cancel()
		}
		log := newSharedLog(want)
		log.wanted, log.outputs = f.wantedOutputs(), map[string]Outputs{}
		if log.window.from = want.from.Add(-reach); log.window.from.Before(epoch) {
			log.window.from = epoch
		}
		return log, f.request(ctx, run.PipelineUUID, log)
	})
}

// request reads a log's window.
func (f *Follower) request(ctx context.Context, pipelineUUID string, log *sharedLog) (err error) {
	if log.requestedAtServer, err = f.client.Now(ctx); err != nil {
		return err
	}
	log.requestedAt = time.Now()
	if err := log.fill(f.client.PipelineLogs(ctx, pipelineUUID, log.window.from, log.window.to), f.maxHeld); err != nil {
		return err
	}
	log.receivedAt = time.Now()
	for runUUID, err := range log.broken {
		f.client.Logger().DebugContext(ctx, "A row of the log cannot be read", "run_uuid", runUUID, "error", err.Error())
	}
	return nil
}

// recentTrouble is why no log can be read, as was found out a moment ago.
func (f *Follower) recentTrouble() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.since) < refreshAge {
		return f.trouble
	}
	return nil
}

// noteTrouble remembers an error that concerns the logs of all pipelines: there is no connection or no token.
func (f *Follower) noteTrouble(err error) {
	e, _ := errors.AsType[*request.Error](err)
	dial, _ := errors.AsType[*net.OpError](err)
	if (e == nil || e.Op != request.OpToken) && (dial == nil || dial.Op != "dial") {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.trouble, f.since = err, time.Now()
}

// maxFailedOutput is how much of a failed task's output is held, in base64.
const maxFailedOutput = 16 << 10

// fill keeps what runs need, up to a number of bytes: not the outputs of successful tasks, and texts that repeat only once.
func (l *sharedLog) fill(rows iter.Seq2[ylem.LogRow, error], maxHeld int) error {
	held := ylem.HeldLog{Max: maxHeld}
	texts := map[string]string{}
	intern := func(s string) string {
		if known, ok := texts[s]; ok {
			return known
		}
		s = strings.Clone(s)
		texts[s] = s
		return s
	}
	for row, err := range rows {
		if unreadable, ok := errors.AsType[*ylem.RowError](err); ok {
			l.broken[strings.ToLower(unreadable.RunUUID)] = err // it must not hide other runs
			if unreadable.TaskType == "" || unreadable.TaskType == TaskTypeTrigger {
				l.brokenTrigger = err
			}
			continue
		}
		if err != nil {
			return err
		}
		if l.inputs != nil && row.TaskType == TaskTypeTrigger {
			l.inputs[strings.ToLower(row.PipelineRunUUID)] = inputOf(row)
		}
		if uuid := strings.ToLower(row.PipelineRunUUID); l.wanted[wantedOutput{uuid, strings.ToLower(row.TaskUUID)}] > 0 {
			if l.outputs[uuid] == nil {
				l.outputs[uuid] = Outputs{}
			}
			if err := l.outputs[uuid].add(row, &held); err != nil {
				return err
			}
		}
		row.Output = keptOutput(row)
		row.PipelineRunUUID = intern(strings.ToLower(row.PipelineRunUUID))
		row.TaskUUID, row.TaskType = intern(row.TaskUUID), intern(row.TaskType)
		if err := hold(&held, row); err != nil {
			return err
		}
		l.rows[row.PipelineRunUUID] = append(l.rows[row.PipelineRunUUID], row)
	}
	return nil
}

// hold counts a row that is held, or fails as a request for logs does.
func hold(held *ylem.HeldLog, row ylem.LogRow) error {
	if err := held.Add(row); err != nil {
		return &request.Error{Op: request.OpLogs, Err: err}
	}
	return nil
}

// keptOutput is what is held of a row's output: why the task failed.
func keptOutput(row ylem.LogRow) string {
	switch {
	case row.Outcome != ylem.Failed:
		return ""
	case len(row.Output) > maxFailedOutput:
		return shortOutput(row)
	default:
		return row.Output
	}
}

// shortOutput is a failed task's output with shortened errors, or its beginning if it is something else.
func shortOutput(row ylem.LogRow) string {
	faults := row.TaskErrors()
	if len(faults) == 0 {
		text, _ := row.DecodeOutput()
		return base64.StdEncoding.EncodeToString([]byte(request.Shorten(text)))
	}
	faults = faults[:min(len(faults), 20)]
	for i := range faults {
		faults[i].Severity, faults[i].Message = request.Shorten(faults[i].Severity), request.Shorten(faults[i].Message)
	}
	return ylem.EncodeTaskErrors(faults)
}
