package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

var (
	_ resource.ResourceWithConfigure      = (*pipelineRunResource)(nil)
	_ resource.ResourceWithValidateConfig = (*pipelineRunResource)(nil)
	_ resource.ResourceWithModifyPlan     = (*pipelineRunResource)(nil)
	_ resource.ResourceWithImportState    = (*pipelineRunResource)(nil)
	_ resource.ResourceWithIdentity       = (*pipelineRunResource)(nil)
)

func newPipelineRunResource() resource.Resource { return &pipelineRunResource{} }

type pipelineRunResource struct{ api api }

func (r *pipelineRunResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_run"
}

func (r *pipelineRunResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = identityschema.Schema{Attributes: map[string]identityschema.Attribute{
		"pipeline_uuid": identityschema.StringAttribute{RequiredForImport: true, Description: "UUID of the pipeline, in lower case."},
		"run_uuid":      identityschema.StringAttribute{RequiredForImport: true, Description: "UUID of the run, in lower case."},
	}}
}

func (r *pipelineRunResource) Configure(_ context.Context, req resource.ConfigureRequest, resp *resource.ConfigureResponse) {
	r.api = apiFrom(req.ProviderData, &resp.Diagnostics)
}

// ValidateConfig refuses waits that could never succeed, and warns of those that could not be resumed.
func (r *pipelineRunResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var create, update types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("timeouts").AtName("create"), &create)...)
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("timeouts").AtName("update"), &update)...)
	checkKey(ctx, req.Config, &resp.Diagnostics)
	check := newQuietPeriodCheck(ctx, req.Config, &resp.Diagnostics)
	check.refuse(create, &resp.Diagnostics)
	if timeout, tooLong := check.tooLong(update); tooLong && !resp.Diagnostics.HasError() {
		resp.Diagnostics.AddAttributeWarning(path.Root("timeouts").AtName("update"), "The quiet period outlasts the timeout of a resumed wait",
			quietPeriodDetail(timeout, check.quiet))
	}
}

func (r *pipelineRunResource) Create(ctx context.Context, req resource.CreateRequest, resp *resource.CreateResponse) {
	var m pipelineRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	var inputWO types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("input_wo"), &inputWO)...)
	timeout, diags := m.Timeouts.Create(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	// Whatever is wrong with the configuration is found before a run is started.
	completionFrom(ctx, m.Completion, &resp.Diagnostics)
	start := m.startRequest(inputWO, timeout, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !r.api.ready(&resp.Diagnostics) || !r.api.claims.refuseSecond(start, &resp.Diagnostics) {
		return
	}
	run, ok := r.api.start(ctx, start, &resp.Diagnostics)
	if !ok {
		return
	}
	// From here on every way out keeps the run.
	resp.Diagnostics.Append(m.setStarted(ctx, run.Run, run.pending)...)
	resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
	if m.WaitForCompletion.ValueBool() {
		r.wait(ctx, &m, creating, timeout, &resp.Diagnostics)
		resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
	}
}

// Read finds out how far the run has got, unless it has ended for good. Nothing that the log says, or fails to say,
// removes the run from the state: that would start another.
func (r *pipelineRunResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var m pipelineRunModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	known := m.progress(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	if r.api.client != nil && !isSettled(ctx, known, r.api.client.LastKnownNow(), req.Private) {
		r.refresh(ctx, &m, known, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
}

// refresh looks at the log once.
func (r *pipelineRunResource) refresh(ctx context.Context, m *pipelineRunModel, known follow.Progress, diags *diag.Diagnostics) {
	completion, _ := completionFrom(ctx, m.Completion, diags)
	if m.Completion.IsNull() && !m.WaitForCompletion.ValueBool() {
		completion.QuietPeriod = follow.Day // nothing says that an end may be presumed earlier
	}
	run := m.run(ctx, diags)
	progress, err := r.api.follower.Refresh(ctx, run, completion)
	if err != nil {
		if e, ok := request.AsError(err); ok && e.Permanent() && !e.MissingScope() {
			summary, advice := explain(e)
			about := summary
			if e.RefusesAccess() {
				about += run.PipelineUUID
			}
			if _, warned := r.api.warned.LoadOrStore(about, true); !warned {
				diags.AddWarning("The status of a run could not be refreshed", fmt.Sprintf(
					"Run %s of pipeline %s keeps its status, and so do other runs with the same trouble. %s. %s\n\n%s",
					run.RunUUID, run.PipelineUUID, summary, advice, answer(e)))
			}
		}
		tflog.Warn(ctx, "The log of a run could not be read; its status stays as it is", map[string]any{
			"run_uuid": run.RunUUID, "error": err.Error(),
		})
		return
	}
	if known.Status == follow.Succeeded && !progress.Status.Ended() && len(progress.Rows) == len(known.Rows) {
		return // no task has reported since: the log has lost rows, the quiet period has become longer, or a clock is behind
	}
	if known.Status == follow.Succeeded && progress.Status != follow.Succeeded {
		diags.AddWarning("The run had not ended", fmt.Sprintf(
			"Run %s of pipeline %s counted as succeeded because no task had reported for the quiet period, but a task has reported since: it is %s; %s.\n\n%s"+
				"To recognize its end exactly, set final_task_uuids.",
			run.RunUUID, run.PipelineUUID, progress.Status, reported(progress), describe(failedTasks(progress))))
	}
	diags.Append(m.setProgress(ctx, progress)...)
}

// Update adopts arguments whose change starts no run, and resumes waiting if ModifyPlan said so.
func (r *pipelineRunResource) Update(ctx context.Context, req resource.UpdateRequest, resp *resource.UpdateResponse) {
	var m, state pipelineRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &m)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	timeout, diags := m.Timeouts.Update(ctx, defaultTimeout)
	resp.Diagnostics.Append(diags...)
	resume := m.Status.IsUnknown()
	if resp.Diagnostics.HasError() || resume && !r.api.ready(&resp.Diagnostics) {
		return
	}
	if resume {
		m.keepProgress(&state)
		r.wait(ctx, &m, updating, timeout, &resp.Diagnostics)
	} else if state.progress(ctx, &resp.Diagnostics).Certainty == follow.Certain {
		resp.Diagnostics.Append(resp.Private.SetKey(ctx, certainKey, []byte("true"))...)
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, nil)...)
	resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
}

// wait waits for the run that m describes, and fills in what became of it.
func (r *pipelineRunResource) wait(ctx context.Context, m *pipelineRunModel, by caller, timeout time.Duration, diags *diag.Diagnostics) {
	completion, pollInterval := completionFrom(ctx, m.Completion, diags)
	run := m.run(ctx, diags)
	if diags.HasError() {
		return
	}
	var status follow.Status
	o := r.api.wait(ctx, run, follow.Options{Completion: completion, PollInterval: pollInterval, Report: func(p follow.Progress) {
		if p.Status != status {
			status = p.Status
			tflog.Info(ctx, "The run's status changed", map[string]any{"run_uuid": run.RunUUID, "status": string(status)})
		}
	}}, timeout)
	if !m.IdempotencyKey.IsNull() {
		o.warnOfUselessKey(diags)
		by = by.withKey()
	}
	o.report(by, m.OnFailure.ValueString(), m.OnTimeout.ValueString(), diags)
	diags.Append(m.setProgress(ctx, o.progress)...)
}

// Delete only forgets the run: Ylem can neither stop nor delete one.
func (r *pipelineRunResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}

// ImportState brings a run into the state by PIPELINE_UUID/RUN_UUID or by its identity.
func (r *pipelineRunResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	pipelineUUID, runUUID := importedRun(ctx, req, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !r.api.ready(&resp.Diagnostics) {
		return
	}
	first, found, err := r.api.follower.Find(ctx, pipelineUUID, runUUID)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "pipeline "+pipelineUUID, err)
		return
	}
	if !found {
		resp.Diagnostics.AddError("The run is not in the log", fmt.Sprintf(
			"The log of pipeline %s holds no row of run %s. Check both UUIDs. A run appears in the log when its first task has finished: if it was started just now, import it "+
				"again a little later. Nothing was started.", pipelineUUID, runUUID))
		return
	}
	for attribute, value := range map[string]any{
		"pipeline_uuid":       pipelineUUID,
		"id":                  strings.ToLower(runUUID),
		"triggered_at":        timeValue(first),
		"status":              string(follow.Pending), // the refresh that follows finds out
		"wait_for_completion": false,
		"on_failure":          onError,
		"on_timeout":          onError,
	} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(attribute), value)...)
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, []byte("true"))...)
}

// importedRun reads which run is to be imported.
func importedRun(ctx context.Context, req resource.ImportStateRequest, diags *diag.Diagnostics) (pipelineUUID, runUUID string) {
	if req.ID != "" || req.Identity == nil {
		pipelineUUID, runUUID, _ = strings.Cut(req.ID, "/")
		if !ylem.ValidUUID(pipelineUUID) || !ylem.ValidUUID(runUUID) {
			diags.AddError("Invalid import ID", fmt.Sprintf(
				"%q is not a valid import ID. Use PIPELINE_UUID/RUN_UUID, such as %s/95295cbc-cee7-49cc-a11a-2f1788423934: the UUID of the pipeline, and that of the "+
					"run from Ylem or the provider's log.", req.ID, pipelineSubject.example))
		}
		return pipelineUUID, runUUID
	}
	var identity pipelineRunIdentity
	diags.Append(req.Identity.Get(ctx, &identity)...)
	for attribute, uuid := range map[string]types.String{"pipeline_uuid": identity.PipelineUUID, "run_uuid": identity.RunUUID} {
		if !ylem.ValidUUID(uuid.ValueString()) {
			diags.AddAttributeError(path.Root(attribute), "Invalid import identity", fmt.Sprintf("%s %q is not %s.", attribute, uuid.ValueString(), uuidForm))
		}
	}
	return strings.ToLower(identity.PipelineUUID.ValueString()), strings.ToLower(identity.RunUUID.ValueString())
}
