package ylem

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"iter"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"
)

// Status is how far a run has got. Ylem does not tell it: it is derived from the log.
type Status string

// The statuses of a run.
const (
	StatusPending   Status = "pending" // no task has reported yet
	StatusRunning   Status = "running"
	StatusSucceeded Status = "succeeded"
	StatusFailed    Status = "failed"
)

// Final reports whether the status is a fact that does not change any more.
func (s Status) Final() bool { return s == StatusSucceeded || s == StatusFailed }

// Completion is how the end of a run is recognized.
type Completion struct {
	// FinalTaskUUIDs are the tasks that end the run: it has succeeded once all of them have reported.
	FinalTaskUUIDs []string
	// QuietPeriod is how long no task must have reported for the run to have succeeded, where FinalTaskUUIDs
	// are not given.
	QuietPeriod time.Duration
	// ChangedAt is when a new row was last seen arriving, on the same clock as now. Zero: nobody watched, and
	// the rows' own times count.
	ChangedAt time.Time
}

// Progress is what the log tells of a run.
type Progress struct {
	Status     Status
	Rows       []LogRow  // the run's own, oldest first
	FinishedAt time.Time // when the newest row was executed; zero unless Status is final
	Duration   int64     // milliseconds, the sum over the rows
	Missing    []string  // final tasks that have not reported, in lower case, sorted
}

// Failed returns the rows of the tasks that failed.
func (p Progress) Failed() []LogRow {
	var failed []LogRow
	for _, row := range p.Rows {
		if !row.IsSuccessful {
			failed = append(failed, row)
		}
	}
	return failed
}

// Assess decides how far a run has got, from rows of the log in any order, also of other runs, and the server's
// time. Ylem has no status of a run and does not tell how many tasks it has, so that
//
//   - a failed task ends the run at once, as in Ylem's own web interface, although other branches may go on;
//   - it has succeeded when all FinalTaskUUIDs have reported, where they are given;
//   - else when at least one task has reported, and none during the last QuietPeriod.
//
// No rows are no end.
func Assess(runUUID string, rows []LogRow, now time.Time, c Completion) Progress {
	p := Progress{Status: StatusPending}
	missing := map[string]bool{}
	for _, uuid := range c.FinalTaskUUIDs {
		missing[strings.ToLower(uuid)] = true
	}
	failed := false
	for _, row := range rows {
		if !strings.EqualFold(row.PipelineRunUUID, runUUID) {
			continue
		}
		p.Rows = append(p.Rows, row)
		p.Duration += row.Duration
		failed = failed || !row.IsSuccessful
		delete(missing, strings.ToLower(row.TaskUUID))
	}
	p.Missing = slices.Sorted(maps.Keys(missing))
	if len(p.Rows) == 0 {
		return p
	}
	slices.SortStableFunc(p.Rows, func(a, b LogRow) int {
		return cmp.Or(a.ExecutedAt.Compare(b.ExecutedAt), cmp.Compare(a.TaskUUID, b.TaskUUID))
	})
	newest := p.Rows[len(p.Rows)-1].ExecutedAt
	lastSign := newest
	switch {
	case !c.ChangedAt.IsZero():
		lastSign = c.ChangedAt
	case newest.IsZero():
		lastSign = now // rows without a time tell nothing of any quiet
	}

	switch {
	case failed:
		p.Status = StatusFailed
	case len(c.FinalTaskUUIDs) > 0 && len(missing) == 0,
		len(c.FinalTaskUUIDs) == 0 && now.Sub(lastSign) >= c.QuietPeriod:
		p.Status = StatusSucceeded
	default:
		p.Status = StatusRunning
	}
	if p.Status.Final() {
		p.FinishedAt = newest
	}
	return p
}

// RunRef names a run.
type RunRef struct {
	PipelineUUID string
	RunUUID      string
	TriggeredAt  time.Time // by the server's clock; where its rows are looked for
	Reported     int       // how many rows of it are known: a log with fewer has lost some, and tells nothing
}

// logMargin is how much before a run was triggered its rows are looked for: the clocks of Ylem's services differ.
// A request reaches back at least logReach, to serve runs that were triggered a little earlier as well.
const (
	logMargin = 5 * time.Minute
	logReach  = 2 * logMargin
)

// A refresh of many runs reads the log once, and does not hold up a plan when Ylem is in trouble.
const (
	refreshAge     = 30 * time.Second // how old a log, or a failure to reach Ylem, may be
	refreshTimeout = 30 * time.Second
)

// Progress looks once how far a run has got. Calls for runs of one pipeline that were triggered at about the same
// time share a request, and all calls share the news that Ylem cannot be reached.
func (c *Client) Progress(ctx context.Context, run RunRef, completion Completion) (Progress, error) {
	if err := c.logs.outage(run); err != nil {
		return Progress{}, err
	}
	limited, cancel := context.WithTimeout(ctx, refreshTimeout)
	defer cancel()
	// Other runs of the pipeline are likely as old: reaching twice as far back finds them in the same answer.
	reach := max(logReach, c.now().Sub(run.TriggeredAt))
	log, err := c.logs.read(limited, c, run, reach, refreshAge)
	if err != nil {
		if ctx.Err() == nil {
			c.logs.noteOutage(run, err, limited.Err() != nil)
		}
		return Progress{}, err
	}
	rows := log.rows[strings.ToLower(run.RunUUID)]
	if len(rows) < run.Reported {
		return Progress{Status: StatusPending}, nil
	}
	return Assess(run.RunUUID, rows, log.at, completion), nil
}

// Watch is how a run is waited for.
type Watch struct {
	Completion
	PollInterval time.Duration
	// Report is called after every look at the log, and at least every Heartbeat where that is set.
	Report    func(Progress)
	Heartbeat time.Duration
}

// WatchRun waits until a run has finished or ctx ends, and returns how far it got either way, along with ctx's
// error or one that waiting longer cannot mend: a missing scope, refused credentials. Other errors do not end it;
// when ctx ends while the log could not be read, the error holds the last of them.
func (c *Client) WatchRun(ctx context.Context, run RunRef, w Watch) (Progress, error) {
	progress := Progress{Status: StatusPending}
	report := func() {
		if w.Report != nil {
			w.Report(progress)
		}
	}
	var clock time.Duration // server's clock minus ours, fixed at the first answer, so that pauses are measured by ours
	var lastErr error
	looked, lastLook := false, false
	var asked time.Time
	age := min(w.PollInterval/2, refreshAge) // how old an answer may be that another wait has got

	poll := time.NewTimer(0)
	defer poll.Stop()
	var beat <-chan time.Time
	if w.Heartbeat > 0 {
		ticker := time.NewTicker(w.Heartbeat)
		defer ticker.Stop()
		beat = ticker.C
	}
	type answer struct {
		log *logAnswer
		err error
	}
	answers := make(chan answer, 1)
	for {
		select {
		case <-ctx.Done():
			return progress, errors.Join(ctx.Err(), lastErr)
		case <-beat:
			report()
		case <-poll.C:
			asked = time.Now()
			go func() {
				log, err := c.logs.read(ctx, c, run, logReach, age)
				answers <- answer{log, err}
			}()
		case a := <-answers:
			if a.err == nil {
				if !looked {
					clock = time.Duration(c.skew.Load())
				}
				progress = w.assess(run, a.log, clock, looked, progress)
				looked, lastErr = true, nil
				report()
				if progress.Status.Final() {
					return progress, nil
				}
			} else if ctx.Err() == nil {
				if permanent(a.err) {
					return progress, a.err
				}
				c.logger.LogAttrs(ctx, slog.LevelWarn, "The log of a run that is waited for could not be read; trying again",
					slog.String("run_uuid", run.RunUUID), slog.String("error", a.err.Error()))
				lastErr = a.err
			}
			pause := w.PollInterval
			// The last look comes shortly before the end, however long the interval is.
			if deadline, ok := ctx.Deadline(); ok && !lastLook {
				if left := time.Until(deadline); left <= pause {
					lastLook = true
					pause = max(0, left-max(min(left/10, time.Second), 2*time.Since(asked)))
				}
			}
			age = min(pause/2, refreshAge)
			poll.Reset(pause)
		}
	}
}

// assess looks at an answer of the log. It notes when a row was seen arriving: rows can come late.
func (w *Watch) assess(run RunRef, log *logAnswer, clock time.Duration, looked bool, before Progress) Progress {
	rows := log.rows[strings.ToLower(run.RunUUID)]
	asked, arrived := log.asked.Add(clock), log.arrived.Add(clock)
	now := Assess(run.RunUUID, rows, asked, w.Completion)
	if len(now.Rows) < max(len(before.Rows), run.Reported) {
		return before // rows do not vanish: a log that has lost them (a restart, a replica) tells nothing
	}
	if len(now.Rows) > len(before.Rows) && (looked || now.Rows[len(now.Rows)-1].ExecutedAt.After(arrived)) {
		w.ChangedAt = arrived
		now = Assess(run.RunUUID, rows, asked, w.Completion)
	}
	return now
}

// permanent reports whether asking again cannot help.
func permanent(err error) bool {
	e, ok := errors.AsType[*Error](err)
	return ok && (e.MissingScope() || e.refusesCredentials())
}

// CanWatch finds out, before a run is started, whether its log may be read. It asks Ylem only where the token's
// scope leaves doubt, and fails only where Ylem says that the scope is missing.
func (c *Client) CanWatch(ctx context.Context, pipelineUUID string) error {
	now, err := c.Now(ctx)
	if err != nil {
		return err
	}
	if scope := c.tokens.scope(); scope == "" || strings.Contains(scope, "stats:read") {
		return nil
	}
	for _, err := range c.PipelineLogs(ctx, pipelineUUID, now, now) {
		if e, ok := errors.AsType[*Error](err); ok && e.MissingScope() {
			return err
		}
		break
	}
	return nil
}

// FindRun looks for a run in the log of the last day, of the last month, and of all time, and returns its rows.
// A run of which no task has reported is not found: then there are none.
func (c *Client) FindRun(ctx context.Context, pipelineUUID, runUUID string) ([]LogRow, error) {
	now, err := c.Now(ctx)
	if err != nil {
		return nil, err
	}
	for _, from := range []time.Time{now.AddDate(0, 0, -1), now.AddDate(0, -1, 0), epoch} {
		var rows []LogRow
		for row, err := range c.PipelineLogs(ctx, pipelineUUID, from, now.Add(logAhead)) {
			if err != nil {
				return nil, err
			}
			if strings.EqualFold(row.PipelineRunUUID, runUUID) {
				rows = append(rows, row)
			}
		}
		if len(rows) > 0 {
			return rows, nil
		}
	}
	return nil, nil
}

// epoch is the first time that Ylem knows.
var epoch = time.Unix(0, 0)

// logAhead is how far beyond now a log is read, for rows that a service with a fast clock has written.
const logAhead = 24 * time.Hour

// logCache lets those who look at the log of one pipeline at about the same time share one request.
type logCache struct {
	mu   sync.Mutex
	logs map[string]*sharedLog // by pipeline

	outages map[string]outage // found by refreshes; by pipeline, "" concerns all of them
}

type outage struct {
	since time.Time
	err   error
}

type sharedLog struct {
	busy chan struct{} // holds one element while a request is under way
	last *logAnswer
	drop *time.Timer // forgets last, which nobody may use any more
	from time.Time   // of all requests: a window never shrinks
}

// logAnswer is one answer, or the failure to get one.
type logAnswer struct {
	rows           map[string][]LogRow // by run
	from           time.Time
	at             time.Time // when it was asked for, by the server's clock: rows that came later are not in it
	asked, arrived time.Time // by ours
	err            error
}

// outage is why a refresh of the run would wait in vain, as one did a moment ago.
func (l *logCache) outage(run RunRef) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range []string{"", strings.ToLower(run.PipelineUUID)} {
		if o := l.outages[key]; o.err != nil && time.Since(o.since) < refreshAge {
			return o.err
		}
	}
	return nil
}

// noteOutage remembers that there is no connection or no token, for all pipelines, or that the log of one is slow.
func (l *logCache) noteOutage(run RunRef, err error, slow bool) {
	e, _ := errors.AsType[*Error](err)
	dial, _ := errors.AsType[*net.OpError](err)
	key := ""
	if (e == nil || e.Op != OpToken) && (dial == nil || dial.Op != "dial") {
		if !slow {
			return
		}
		key = strings.ToLower(run.PipelineUUID)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.outages == nil {
		l.outages = map[string]outage{}
	}
	l.outages[key] = outage{time.Now(), err}
}

func (l *logCache) of(run RunRef) *sharedLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := strings.ToLower(run.PipelineUUID)
	shared := l.logs[key]
	if shared == nil {
		if l.logs == nil {
			l.logs = map[string]*sharedLog{}
		}
		shared = &sharedLog{busy: make(chan struct{}, 1), from: run.TriggeredAt}
		l.logs[key] = shared
	}
	return shared
}

// read returns a log that reaches back to the run and is no older than age; one that it requests reaches back
// further by reach. Errors are shared like answers.
func (l *logCache) read(ctx context.Context, c *Client, run RunRef, reach, age time.Duration) (*logAnswer, error) {
	// Of an imported run whose rows have no time, it is not known when it was triggered.
	run.TriggeredAt = later(run.TriggeredAt, epoch.Add(logMargin))
	shared := l.of(run)
	select {
	case shared.busy <- struct{}{}:
		defer func() { <-shared.busy }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	since := run.TriggeredAt.Add(-logMargin)
	if last := shared.last; last != nil && !last.from.After(since) && time.Since(last.arrived) < age {
		return last, last.err
	}
	if from := later(run.TriggeredAt.Add(-reach), epoch); from.Before(shared.from) {
		shared.from = from
	}
	shared.last = nil // so that two answers are never held at once
	log := &logAnswer{rows: map[string][]LogRow{}, from: shared.from}
	if log.at, log.err = c.Now(ctx); log.err == nil {
		log.asked = time.Now()
		log.fill(c.PipelineLogs(ctx, run.PipelineUUID, shared.from, log.at.Add(logAhead)))
	}
	log.arrived = time.Now()
	if ctx.Err() == nil { // giving up is this caller's own affair
		shared.last = log
		if shared.drop != nil {
			shared.drop.Stop()
		}
		shared.drop = time.AfterFunc(refreshAge, func() {
			shared.busy <- struct{}{}
			if shared.last == log {
				shared.last = nil
			}
			<-shared.busy
		})
	}
	return log, log.err
}

// maxFailedOutput is how much of a failed task's output is held, in base64.
const maxFailedOutput = 16 << 10

func later(a, b time.Time) time.Time {
	if a.Before(b) {
		return b
	}
	return a
}

// fill takes over what runs need: not the outputs of successful tasks, and texts that repeat only once.
func (l *logAnswer) fill(rows iter.Seq2[LogRow, error]) {
	var held HeldLog
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
		if err != nil {
			l.err = err
			return
		}
		if row.IsSuccessful {
			row.Output = ""
		} else if len(row.Output) > maxFailedOutput {
			row.Output = shortOutput(row)
		}
		row.PipelineRunUUID = intern(strings.ToLower(row.PipelineRunUUID))
		row.TaskUUID, row.TaskType = intern(row.TaskUUID), intern(row.TaskType)
		if err := held.Add(row); err != nil {
			l.err = &Error{Op: OpLogs, Err: err}
			return
		}
		l.rows[row.PipelineRunUUID] = append(l.rows[row.PipelineRunUUID], row)
	}
}

// shortOutput is a failed task's output with shortened faults, or the beginning of it where it is something else.
func shortOutput(row LogRow) string {
	faults := row.TaskErrors()
	if len(faults) == 0 {
		text, _ := row.DecodeOutput()
		return base64.StdEncoding.EncodeToString([]byte(Shorten(text)))
	}
	faults = faults[:min(len(faults), 20)]
	for i := range faults {
		faults[i].Severity, faults[i].Message = Shorten(faults[i].Severity), Shorten(faults[i].Message)
	}
	short, _ := json.Marshal(faults) // plain structs always encode
	return base64.StdEncoding.EncodeToString(short)
}
