package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// startRequest is a run to be started, or to be found if it has been.
type startRequest struct {
	pipelineUUID string
	input        ylem.Input
	key          string    // with its fingerprint; "": none
	follow       bool      // the run is to be followed
	forAction    bool      // nothing keeps the run: it cannot be imported
	deadline     time.Time // of resolving a doubt
}

func newStartRequest(pipelineUUID, input, inputWO types.String, wait types.Bool, timeout time.Duration) startRequest {
	return startRequest{
		deadline:     time.Now().Add(timeout),
		pipelineUUID: pipelineUUID.ValueString(),
		input: ylem.Input{
			Body:   []byte(cmp.Or(input.ValueString(), inputWO.ValueString())),
			Secret: inputWO.ValueString() != "",
		},
		follow: wait.ValueBool(),
	}
}

// startedRun is a run that was started, or found.
type startedRun struct {
	follow.Run
	pending  []ylem.PendingTaskRun // tasks that are still to run
	adopted  bool                  // an earlier start has left it
	doubtful bool                  // none is known, but it may have been started
}

// start starts a run. It first checks that it may read the log, if it needs it, before starting a run it could not follow.
// With a key, a run that carries it and has not failed is adopted instead.
func (a api) start(ctx context.Context, s startRequest, diags *diag.Diagnostics) (run startedRun, ok bool) {
	// An open-source server answers a longer input as it answers a deadlock. A value that was unknown when it was validated can
	// be one.
	if n := len(s.input.Body); n > ylem.MaxInput {
		at := path.Root("input")
		if s.input.Secret {
			at = path.Root("input_wo")
		}
		refuse(diags, at, "Input too long", inputForm, fmt.Errorf("the value has %d bytes", n))
		return run, false
	}
	if s.follow || s.key != "" {
		if err := a.follower.CanFollow(ctx, s.pipelineUUID); err != nil {
			addStartError(diags, s.pipelineUUID, err)
			return run, false
		}
	}
	var known map[string]bool
	if s.key != "" {
		var found []follow.Started
		var err error
		if found, known, err = a.findByKey(ctx, s, nil); err != nil {
			addStartError(diags, s.pipelineUUID, err)
			return run, false
		}
		if len(found) > 0 {
			if found[0].Err != nil {
				addUnreadable(diags, found[0])
				return run, false
			}
			warnOfAdoption(found[0], found[1:], diags)
			return startedRun{Run: found[0].Run, adopted: true}, true
		}
		s.input.BeforeRerun = func(ctx context.Context) error {
			// If the log cannot be read now, Ylem's answer still says that nothing was started.
			if found, _, err := a.findByKey(ctx, s, known); err == nil && len(found) > 0 {
				return &startedAfterAll{found[0]}
			}
			return nil
		}
	}
	started, err := a.client.RunPipeline(ctx, s.pipelineUUID, s.input)
	if err == nil {
		run.Run = follow.Run{PipelineUUID: s.pipelineUUID, RunUUID: started.UUID, TriggeredAt: started.TriggeredAt}
		run.pending = started.TaskRuns
		return run, true
	}
	if after, ok := errors.AsType[*startedAfterAll](err); ok {
		return startedRun{Run: after.found.Run}, true
	}
	e, failed := request.AsError(err)
	if !failed || !e.MaybeStarted {
		addStartError(diags, s.pipelineUUID, err)
		return run, false
	}
	searched := false
	if s.key != "" {
		var found []follow.Started
		if found, searched = a.resolveDoubt(ctx, s, known); len(found) > 0 {
			return startedRun{Run: found[0].Run}, true
		}
	}
	addDoubt(diags, s, e, searched, a.candidates(ctx, s, e))
	return startedRun{doubtful: true}, false
}

// startedAfterAll ends a call whose run was started by a request that Ylem said it had rolled back.
type startedAfterAll struct{ found follow.Started }

func (e *startedAfterAll) Error() string { return "run " + e.found.Run.RunUUID + " was started" }

// findByKey looks for runs that carry the key and have not failed, newest first, except for those that were known before. It
// returns all that carry the key as well.
func (a api) findByKey(ctx context.Context, s startRequest, except map[string]bool) (found []follow.Started, all map[string]bool, err error) {
	runs, err := a.follower.Recent(ctx, s.pipelineUUID)
	if err != nil {
		return nil, nil, err
	}
	all = map[string]bool{}
	for _, run := range runs {
		if run.Key != s.key {
			continue
		}
		all[run.Run.RunUUID] = true
		// One that was not known before is the run of this very start, whatever became of it.
		usable := except != nil || run.Progress().Status != follow.Failed
		if usable && !except[run.Run.RunUUID] {
			found = append(found, run)
		}
	}
	return found, all, nil
}

// addUnreadable reports a run with the key that may have failed: a row of it cannot be read.
func addUnreadable(diags *diag.Diagnostics, found follow.Started) {
	diags.AddAttributeError(keyPath, "A run with this idempotency key cannot be read", fmt.Sprintf(
		"Run %s of pipeline %s has this key, and a row of its log is in a form that the provider does not know, so it may have failed. No run was started. "+
			"To start another, change idempotency_key. Please report this as a bug in the provider.\n\n%s",
		found.Run.RunUUID, found.Run.PipelineUUID, request.Shorten(found.Err.Error())))
}

const (
	doubtTime = time.Minute // how long a run is looked for whose start was not answered
	doubtPoll = 2 * time.Second
	// interruptedTime is how long the log may take after an interrupt: the answer must be out before the process is killed.
	interruptedTime = time.Second
)

// resolveDoubt looks for the run of a request whose answer does not say whether it was started, and reports whether the log
// could be read.
func (a api) resolveDoubt(ctx context.Context, s startRequest, known map[string]bool) (found []follow.Started, searched bool) {
	deadline := s.deadline
	if latest := time.Now().Add(doubtTime); latest.Before(deadline) {
		deadline = latest
	}
	limited, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	for limited.Err() == nil {
		found, _, err := a.findByKey(limited, s, known)
		searched = searched || err == nil
		if len(found) > 0 {
			return found, true
		}
		select {
		case <-time.After(doubtPoll):
		case <-limited.Done():
		}
	}
	if searched && ctx.Err() == nil {
		return nil, true
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), interruptedTime)
	defer cancelLast()
	found, _, err := a.findByKey(last, s, known)
	return found, searched || err == nil
}

// candidates are the runs that a request without a clear answer may have started: those whose first row came after it,
// with the same input first. If the log cannot be read, there are none.
func (a api) candidates(ctx context.Context, s startRequest, e *request.Error) (runs []follow.Started) {
	limit := candidatesTime
	if ctx.Err() != nil {
		limit = interruptedTime
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	all, err := a.follower.Recent(ctx, s.pipelineUUID)
	if err != nil {
		return nil
	}
	var others []follow.Started
	for _, run := range all {
		early := e.SentAt.Truncate(time.Second).Sub(run.Run.TriggeredAt)
		switch {
		case len(s.input.Body) > 0 && run.HasInput(s.input.Body) && early <= candidateMargin:
			runs = append(runs, run)
		case early <= 0:
			others = append(others, run)
		}
	}
	return append(runs, others...)
}

// candidateMargin is how far the clock of a task runner may be behind, for a run with the same input.
const candidateMargin = 5 * time.Minute

// candidatesTime is how long the log may take to name candidates.
const candidatesTime = 10 * time.Second
