package provider

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// Ylem has no idempotency key, but a pipeline that begins with an External trigger logs its input. So a key is written into
// the input, and a run that carries it is found in the log.

// keyPath is the attribute.
var keyPath = path.Root("idempotency_key")

// fingerprint makes of what starts a new run a short text, so that under one key a changed trigger is another run.
func fingerprint(parts ...any) string {
	text, _ := json.Marshal(parts) // strings, numbers and maps of strings always encode
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:6])
}

// withKey adds a key to an input, as its first member. Everything else stays as it is, byte for byte.
func withKey(input []byte, key string) ([]byte, error) {
	if len(bytes.TrimSpace(input)) == 0 {
		input = []byte("{}")
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(input, &members) != nil || members == nil {
		return nil, errors.New("the input is not a JSON object, which is what the key is added to")
	}
	if _, taken := members[follow.KeyMember]; taken {
		return nil, fmt.Errorf("the input has a member %q already", follow.KeyMember)
	}
	member, _ := json.Marshal(key) // a string always encodes
	added := fmt.Appendf(nil, "{%q:%s", follow.KeyMember, member)
	if len(members) > 0 {
		added = append(added, ',')
	}
	keyed := bytes.Replace(input, []byte("{"), added, 1)
	if len(keyed) > ylem.MaxInput {
		return nil, fmt.Errorf("with the key, the input has %d bytes, and Ylem can store %d", len(keyed), ylem.MaxInput)
	}
	return keyed, nil
}

// checkKey refuses a key that is not one, and an input that cannot carry it. What is not known yet is checked before the start.
func checkKey(ctx context.Context, config tfsdk.Config, diags *diag.Diagnostics) {
	var key, input, inputWO types.String
	diags.Append(config.GetAttribute(ctx, keyPath, &key)...)
	diags.Append(config.GetAttribute(ctx, path.Root("input"), &input)...)
	diags.Append(config.GetAttribute(ctx, path.Root("input_wo"), &inputWO)...)
	if key.IsNull() || key.IsUnknown() || input.IsUnknown() || inputWO.IsUnknown() || diags.HasError() {
		return
	}
	s := newStartRequest(types.StringNull(), input, inputWO, types.BoolNull())
	s.setKey(key.ValueString(), fingerprint(), diags)
}

func refuseKey(err error, diags *diag.Diagnostics) {
	refuse(diags, keyPath, "The input cannot carry an idempotency key",
		"an input that is a JSON object without a member \""+follow.KeyMember+"\", such as jsonencode({ day = \"2024-01-31\" }), or none", err)
}

// startRequest is a run to be started, or to be found if it has been.
type startRequest struct {
	pipelineUUID string
	input        ylem.Input
	key          string // with its fingerprint; "": none
	follow       bool   // the run is to be followed
	forAction    bool   // nothing keeps the run: it cannot be imported
}

func newStartRequest(pipelineUUID, input, inputWO types.String, wait types.Bool) startRequest {
	return startRequest{
		pipelineUUID: pipelineUUID.ValueString(),
		input: ylem.Input{
			Body:   []byte(cmp.Or(input.ValueString(), inputWO.ValueString())),
			Secret: inputWO.ValueString() != "",
		},
		follow: wait.ValueBool(),
	}
}

// setKey adds an idempotency key.
func (s *startRequest) setKey(key, fingerprint string, diags *diag.Diagnostics) {
	s.key = key + "/" + fingerprint
	keyed, err := withKey(s.input.Body, s.key)
	if err != nil { // it was not known when the configuration was validated
		refuseKey(err, diags)
	}
	s.input.Body = keyed
}

// start starts a run. If its log is needed, it first makes sure that that may be read: a run that is started and cannot be
// followed is of no use. With a key, a run that carries it and has not failed is adopted instead.
func (a api) start(ctx context.Context, s startRequest, diags *diag.Diagnostics) (run follow.Run, tasks []ylem.PendingTaskRun, ok bool) {
	if s.follow || s.key != "" {
		if err := a.follower.CanFollow(ctx, s.pipelineUUID); err != nil {
			addStartError(diags, s.pipelineUUID, err)
			return run, nil, false
		}
	}
	var known map[string]bool
	if s.key != "" {
		var found follow.Started
		var err error
		if found, known, err = a.findByKey(ctx, s, nil); err != nil {
			addStartError(diags, s.pipelineUUID, err)
			return run, nil, false
		}
		if found.Run.RunUUID != "" {
			warnOfAdoption(found, diags)
			return found.Run, nil, true
		}
		s.input.BeforeRerun = func(ctx context.Context) error {
			// If the log cannot be read now, Ylem's answer still says that nothing was started.
			if found, _, err := a.findByKey(ctx, s, known); err == nil && found.Run.RunUUID != "" {
				return &startedAfterAll{found}
			}
			return nil
		}
	}
	started, err := a.client.RunPipeline(ctx, s.pipelineUUID, s.input)
	if err == nil {
		return follow.Run{PipelineUUID: s.pipelineUUID, RunUUID: started.UUID, TriggeredAt: started.TriggeredAt}, started.TaskRuns, true
	}
	if after, ok := errors.AsType[*startedAfterAll](err); ok {
		return after.found.Run, nil, true
	}
	e, failed := request.AsError(err)
	if failed && e.MaybeStarted && s.key != "" {
		if found, ok := a.resolveDoubt(ctx, s, known); ok {
			return found.Run, nil, true
		}
	}
	if failed && e.MaybeStarted {
		addDoubt(diags, s, e, a.candidates(ctx, s, e))
	} else {
		addStartError(diags, s.pipelineUUID, err)
	}
	return run, nil, false
}

// startedAfterAll ends a call whose run was started by a request that Ylem said it had rolled back.
type startedAfterAll struct{ found follow.Started }

func (e *startedAfterAll) Error() string { return "run " + e.found.Run.RunUUID + " was started" }

// findByKey looks for a run that carries the key and has not failed, except for those that were known before. It returns
// all that carry the key as well.
func (a api) findByKey(ctx context.Context, s startRequest, except map[string]bool) (found follow.Started, all map[string]bool, err error) {
	runs, err := a.follower.Recent(ctx, s.pipelineUUID)
	if err != nil {
		return follow.Started{}, nil, err
	}
	all = map[string]bool{}
	for _, run := range runs {
		if run.Key != s.key {
			continue
		}
		all[run.Run.RunUUID] = true
		// One that was not known before is the run of this very start, whatever became of it.
		usable := except != nil || run.Progress().Status != follow.Failed
		if found.Run.RunUUID == "" && usable && !except[run.Run.RunUUID] {
			found = run
		}
	}
	return found, all, nil
}

const (
	doubtTime = time.Minute // how long a run is looked for whose start was not answered
	doubtPoll = 2 * time.Second
)

// resolveDoubt looks for the run of a request whose answer does not say whether it was started.
func (a api) resolveDoubt(ctx context.Context, s startRequest, known map[string]bool) (follow.Started, bool) {
	ctx, cancel := context.WithTimeout(ctx, doubtTime)
	defer cancel()
	for {
		if found, _, err := a.findByKey(ctx, s, known); err == nil && found.Run.RunUUID != "" {
			return found, true
		}
		select {
		case <-time.After(doubtPoll):
		case <-ctx.Done():
			return follow.Started{}, false
		}
	}
}

// candidates are the runs that a request without a clear answer may have started: those whose first row came after it,
// with the same input first. If the log cannot be read, there are none.
func (a api) candidates(ctx context.Context, s startRequest, e *request.Error) (runs []follow.Started) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), candidatesTime)
	defer cancel()
	all, err := a.follower.Recent(ctx, s.pipelineUUID)
	if err != nil {
		return nil
	}
	var others []follow.Started
	for _, run := range all {
		switch {
		case run.Run.TriggeredAt.Before(e.SentAt.Truncate(time.Second)):
		case len(s.input.Body) > 0 && run.HasInput(s.input.Body):
			runs = append(runs, run)
		default:
			others = append(others, run)
		}
	}
	return append(runs, others...)
}

// candidatesTime is how long the log may take to name candidates.
const candidatesTime = 10 * time.Second

// warnOfAdoption says that a run was found instead of started.
func warnOfAdoption(found follow.Started, diags *diag.Diagnostics) {
	diags.AddAttributeWarning(keyPath, "A run with this idempotency key was adopted", fmt.Sprintf(
		"Run %s of pipeline %s carries the key and has not failed: it was triggered at %s, and is %s. So no run was started. "+
			"To run the pipeline again, change idempotency_key or a trigger.",
		found.Run.RunUUID, found.Run.PipelineUUID, formatTime(found.Run.TriggeredAt), found.Progress().Status))
}

// addDoubt reports a run that may have been started.
func addDoubt(diags *diag.Diagnostics, s startRequest, e *request.Error, candidates []follow.Started) {
	var b strings.Builder
	fmt.Fprintf(&b, "The request to run pipeline %s was sent at %s (UTC) by Ylem's clock, but Ylem's answer does not say whether a run was started. ",
		s.pipelineUUID, e.SentAt.Format(time.DateTime))
	if s.key != "" {
		b.WriteString("No run with the idempotency key has appeared in the log so far. The next start with this key looks again before it starts anything.\n\n")
	} else {
		b.WriteString("Ylem has no idempotency key of its own, so the request is not repeated, and Terraform does not know the run. " +
			"With idempotency_key, the provider would find it.\n\n")
	}
	switch {
	case s.forAction && len(candidates) > 0:
		fmt.Fprintf(&b, "Runs of the pipeline that have reported since then, of which one may be yours: %s. Check them before you invoke the action again.\n\n", uuidsOf(candidates))
	case s.forAction:
		b.WriteString("Look in Ylem for a run of this pipeline that began at about that time before you invoke the action again.\n\n")
	case len(candidates) > 0:
		b.WriteString("These runs of the pipeline have reported since then. If one of them is yours, import it (after terraform state rm ADDRESS if the state " +
			"still holds an older run); otherwise apply again:\n\n")
		for i, run := range candidates {
			if i == maxCandidates {
				fmt.Fprintf(&b, "  and %d more\n", len(candidates)-i)
				break
			}
			fmt.Fprintf(&b, "  terraform import ADDRESS %s/%s", s.pipelineUUID, run.Run.RunUUID)
			if len(s.input.Body) > 0 && run.HasInput(s.input.Body) {
				b.WriteString("  # the same input")
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	default:
		fmt.Fprintf(&b, "Look in Ylem for a run of this pipeline that began at about that time. If there is one, import it "+
			"(terraform import ADDRESS %s/RUN_UUID, after terraform state rm ADDRESS if the state still holds an older run); if there is none, apply again.\n\n",
			s.pipelineUUID)
	}
	b.WriteString(answer(e))
	diags.AddAttributeError(path.Root("pipeline_uuid"), "The run may have been started", b.String())
}

const maxCandidates = 5

func uuidsOf(runs []follow.Started) string {
	var uuids []string
	for _, run := range runs[:min(len(runs), maxCandidates)] {
		uuids = append(uuids, run.Run.RunUUID)
	}
	return strings.Join(uuids, ", ")
}

// warnOfUselessKey says that a run which has ended shows no trace of its key.
func warnOfUselessKey(o outcome, diags *diag.Diagnostics) {
	for _, row := range o.progress.Rows {
		if row.TaskType == follow.TaskTypeTrigger {
			return
		}
	}
	if o.progress.Status.Ended() {
		diags.AddAttributeWarning(keyPath, "The idempotency key had no effect", fmt.Sprintf(
			"Run %s of pipeline %s has no External trigger, so its log does not show its input, and another apply could not find it by its key. "+
				"Let the pipeline begin with an External trigger, or remove idempotency_key.", o.run.RunUUID, o.run.PipelineUUID))
	}
}

// claims are the starts with a key since the provider was configured.
type claims struct {
	mu     sync.Mutex
	starts map[string]*sharedStart // by pipeline and key
}

// sharedStart is a start that later ones with the same key share.
type sharedStart struct {
	done chan struct{} // closed when run is there
	run  follow.Run
	ok   bool
}

// of returns the start with the request's key, and whether the caller is the first: then it must start the run.
func (c *claims) of(s startRequest) (shared *sharedStart, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := strings.ToLower(s.pipelineUUID) + " " + s.key
	if shared = c.starts[id]; shared == nil {
		shared, first = &sharedStart{done: make(chan struct{})}, true
		if c.starts == nil {
			c.starts = map[string]*sharedStart{}
		}
		c.starts[id] = shared
	}
	return shared, first
}

// refuseSecond refuses a second resource with the same pipeline, key and fingerprint: both would be the same run.
func (c *claims) refuseSecond(s startRequest, diags *diag.Diagnostics) bool {
	if s.key == "" {
		return true
	}
	if _, first := c.of(s); !first {
		diags.AddAttributeError(keyPath, "Two resources have the same idempotency key", fmt.Sprintf(
			"Another resource of this configuration runs pipeline %s with the same key, input and triggers: both would be one run. No run was started for this one. "+
				"Give each its own idempotency_key.", s.pipelineUUID))
		return false
	}
	return true
}

// startShared is start for an action, which may be triggered several times: all triggers with one key share a run.
func (a api) startShared(ctx context.Context, s startRequest, diags *diag.Diagnostics) (follow.Run, bool) {
	if s.key == "" {
		run, _, ok := a.start(ctx, s, diags)
		return run, ok
	}
	shared, first := a.claims.of(s)
	if first {
		shared.run, _, shared.ok = a.start(ctx, s, diags)
		if !shared.ok {
			a.claims.forget(s) // the next trigger may try again
		}
		close(shared.done)
		return shared.run, shared.ok
	}
	select {
	case <-shared.done:
	case <-ctx.Done():
		diags.AddError("Interrupted", "Another trigger of the action was starting the run with this idempotency key.")
		return follow.Run{}, false
	}
	if !shared.ok {
		return a.startShared(ctx, s, diags)
	}
	return shared.run, true
}

func (c *claims) forget(s startRequest) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.starts, strings.ToLower(s.pipelineUUID)+" "+s.key)
}
