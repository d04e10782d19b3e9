package follow

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Options are how to wait for a run.
type Options struct {
	Completion
	PollInterval time.Duration
	// Report is called after every poll, and at least every Heartbeat if that is set.
	Report    func(Progress)
	Heartbeat time.Duration
}

// Wait polls the log until the run has ended or ctx ends, and returns how far the run has got either way, along with ctx's
// error or one that polling again cannot mend: refused credentials or access, a missing scope, a log that is too large, a row
// of the run that cannot be read. Other errors do not end the wait; if ctx ends while the log could not be read, the error
// holds the last of them.
func (f *Follower) Wait(ctx context.Context, run Run, o Options) (Progress, error) {
	w := wait{follower: f, run: run, options: o, answers: make(chan polled, 1)}
	w.progress = SoFar(run.Rows, o.FinalTaskUUIDs)
	if w.progress.Certainty == Certain {
		return w.progress, nil
	}
	w.age = min(o.PollInterval/2, refreshAge)

	timer := time.NewTimer(0)
	defer timer.Stop()
	var beat <-chan time.Time
	if o.Heartbeat > 0 {
		ticker := time.NewTicker(o.Heartbeat)
		defer ticker.Stop()
		beat = ticker.C
	}
	for {
		select {
		case <-ctx.Done():
			select {
			case answer := <-w.answers: // it came in time
				if err := w.take(ctx, answer); err != nil || w.progress.Status.Ended() {
					return w.progress, err
				}
			default:
			}
			return w.progress, errors.Join(ctx.Err(), w.lastErr)
		case <-beat:
			w.report()
		case <-timer.C:
			w.poll(ctx)
		case answer := <-w.answers:
			if err := w.take(ctx, answer); err != nil || w.progress.Status.Ended() {
				return w.progress, err
			}
			pause := w.pause(ctx)
			w.age = min(pause/2, refreshAge)
			timer.Reset(pause)
		}
	}
}

// wait is the state of one wait.
type wait struct {
	follower *Follower
	run      Run
	options  Options
	answers  chan polled

	progress Progress
	lastErr  error
	polledAt time.Time
	age      time.Duration // how old an answer may be that another wait has received
	lastPoll bool          // before the deadline

	answered bool
	skew     time.Duration // fixed at the first answer, so that pauses are measured by our clock
	lastSeen time.Time     // when a new row was last seen arriving, by the server's clock
}

// polled is an answer of the log, or the failure to get one.
type polled struct {
	log *sharedLog
	err error
}

func (w *wait) report() {
	if w.options.Report != nil {
		w.options.Report(w.progress)
	}
}

func (w *wait) poll(ctx context.Context) {
	w.polledAt = time.Now()
	now := w.follower.client.LastKnownNow()
	want := windowOf(w.run, now)
	// The rows that an old run has had so far are read once; new ones are recent.
	if w.answered && now.Sub(w.run.TriggeredAt) > Day {
		want = recent(now)
	}
	go func() {
		log, err := w.follower.read(ctx, w.run, want, margin, w.age, 0)
		w.answers <- polled{log, err}
	}()
}

// take looks at an answer. Its error ends the wait.
func (w *wait) take(ctx context.Context, answer polled) error {
	rows, err := []ylem.LogRow(nil), answer.err
	if err == nil {
		rows, err = answer.log.of(w.run)
	}
	if err != nil {
		return w.failed(ctx, err)
	}
	if !w.answered {
		w.skew = w.follower.client.Skew()
	}
	asked, received := answer.log.asked.Add(w.skew), answer.log.received.Add(w.skew)
	known := w.progress.Rows
	next := assess(known, rows, asked, w.lastSeen, w.options.Completion)
	// Rows of the first answer count from their own time, unless that is in the future; later rows from when they arrived.
	if len(next.Rows) > len(known) && (w.answered || next.newest().After(received)) {
		w.lastSeen = received
		next = assess(known, rows, asked, w.lastSeen, w.options.Completion)
	}
	w.progress, w.answered, w.lastErr = next, true, nil
	w.report()
	return nil
}

// failed notes why the log could not be read. Its error ends the wait.
func (w *wait) failed(ctx context.Context, err error) error {
	if hopeless(err) {
		return err
	}
	if ctx.Err() == nil { // else the poll was given up
		w.follower.client.Logger().LogAttrs(ctx, slog.LevelWarn, "The log could not be read while waiting for a run; trying again",
			slog.String("run_uuid", w.run.RunUUID), slog.String("error", err.Error()))
		w.lastErr = err
	}
	return nil
}

// pause is how long to wait before the next poll. The last one comes shortly before the deadline, however long the
// interval is.
func (w *wait) pause(ctx context.Context) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok || w.lastPoll {
		return w.options.PollInterval
	}
	left := time.Until(deadline)
	if left > w.options.PollInterval {
		return w.options.PollInterval
	}
	w.lastPoll = true
	return max(0, left-max(min(left/10, time.Second), 2*time.Since(w.polledAt)))
}

// hopeless reports whether polling again cannot help.
func hopeless(err error) bool {
	e, ok := request.AsError(err)
	_, unreadable := errors.AsType[*ylem.RowError](err)
	return ok && e.Permanent() || unreadable || errors.Is(err, ylem.ErrLogTooLarge)
}
