package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/mapplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

// What a plan does with a run: which changes start a new one, when waiting is resumed, and what an import adopts.

const (
	// importedKey, in the private state, marks an imported run, which knows neither its input nor its triggers. The first
	// update adopts them from the configuration, which starts no run, and clears the key.
	importedKey = "imported"
	// certainKey marks a run whose end was certain when its configuration changed: other final tasks reopen nothing.
	certainKey = "certain"
)

const newRunUnlessImported = "A change starts a new run; after an import, the first value is adopted without starting a run."

// privateState is what the private states of all requests have in common.
type privateState interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

func hasKey(ctx context.Context, private privateState, key string) bool {
	value, _ := private.GetKey(ctx, key)
	return len(value) > 0
}

func imported(ctx context.Context, private privateState) bool {
	return hasKey(ctx, private, importedKey)
}

// isSettled reports whether a run has ended for good: it need not be looked at again.
func isSettled(ctx context.Context, known follow.Progress, now time.Time, private privateState) bool {
	return known.Settled(now) || known.Status == follow.Succeeded && hasKey(ctx, private, certainKey)
}

// Which changes start a new run. Each warns if the run that is replaced has not ended.

func replacedByPipeline() planmodifier.String {
	const description = "Another pipeline means another run. Case-insensitive."
	return stringplanmodifier.RequiresReplaceIf(func(ctx context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
		resp.RequiresReplace = !strings.EqualFold(req.StateValue.ValueString(), req.PlanValue.ValueString())
		warnOfReplacing(ctx, resp.RequiresReplace, req.State, &resp.Diagnostics)
	}, description, description)
}

func replacedByInput() planmodifier.String {
	return stringplanmodifier.RequiresReplaceIf(func(ctx context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
		// No input and an empty one are the same to Ylem.
		changed := req.StateValue.ValueString() != req.PlanValue.ValueString() || req.PlanValue.IsUnknown()
		resp.RequiresReplace = changed && !(req.StateValue.IsNull() && imported(ctx, req.Private))
		warnOfReplacing(ctx, resp.RequiresReplace, req.State, &resp.Diagnostics)
	}, newRunUnlessImported, newRunUnlessImported)
}

func replacedByKey() planmodifier.String {
	const description = "Another key means another run. After an import, and when a key is removed, no run is started."
	return stringplanmodifier.RequiresReplaceIf(func(ctx context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
		resp.RequiresReplace = !req.ConfigValue.IsNull() && !(req.StateValue.IsNull() && imported(ctx, req.Private))
		warnOfReplacing(ctx, resp.RequiresReplace, req.State, &resp.Diagnostics)
	}, description, description)
}

func replacedByVersion() planmodifier.Int64 {
	return int64planmodifier.RequiresReplaceIf(func(ctx context.Context, req planmodifier.Int64Request, resp *int64planmodifier.RequiresReplaceIfFuncResponse) {
		resp.RequiresReplace = !(req.StateValue.IsNull() && imported(ctx, req.Private))
		warnOfReplacing(ctx, resp.RequiresReplace, req.State, &resp.Diagnostics)
	}, newRunUnlessImported, newRunUnlessImported)
}

func replacedByTriggers() planmodifier.Map {
	const description = "A change of any value, but not the removal of the whole map, starts a new run."
	return mapplanmodifier.RequiresReplaceIf(func(ctx context.Context, req planmodifier.MapRequest, resp *mapplanmodifier.RequiresReplaceIfFuncResponse) {
		bothEmpty := !req.PlanValue.IsUnknown() && len(req.PlanValue.Elements())+len(req.StateValue.Elements()) == 0
		resp.RequiresReplace = !req.ConfigValue.IsNull() && !bothEmpty && !(req.StateValue.IsNull() && imported(ctx, req.Private))
		warnOfReplacing(ctx, resp.RequiresReplace, req.State, &resp.Diagnostics)
	}, description, description)
}

func warnOfReplacing(ctx context.Context, replaced bool, state tfsdk.State, diags *diag.Diagnostics) {
	if replaced {
		warnOfContinuing(ctx, state, "Replacing it", diags)
	}
}

// ModifyPlan plans an in-place update that resumes waiting for a run, or a new run after one that failed.
func (r *pipelineRunResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.Plan.Raw.IsNull() {
		warnOfContinuing(ctx, req.State, "Destroying its resource", &resp.Diagnostics)
		return
	}
	var plan, state pipelineRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	r.api.checkScopes(plan.WaitForCompletion, plan.IdempotencyKey, &resp.Diagnostics)
	if req.State.Raw.IsNull() {
		if plan.OutputTaskUUIDs.IsNull() {
			resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("outputs"), types.MapNull(types.StringType))...)
		}
		return
	}
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	known := state.progress(ctx, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	plan.planOutputs(state)
	resp.Diagnostics.Append(resp.Plan.SetAttribute(ctx, path.Root("outputs"), plan.Outputs)...)
	waits, policy := plan.WaitForCompletion, plan.OnFailure
	switch known.Status {
	case follow.Failed:
		if !waits.IsUnknown() && !waits.ValueBool() || policy.ValueString() == onWarn {
			return
		}
		r.planAfterFailure(ctx, req, resp, &plan, known)
	case follow.Succeeded:
		if isSettled(ctx, known, r.api.now(), req.Private) || !waits.IsUnknown() && !waits.ValueBool() || !plan.namesOtherFinalTasks(ctx, known) {
			return
		}
		plan.forgetProgress()
		resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	default:
		if !waits.IsUnknown() && !waits.ValueBool() { // what is unknown may turn out to ask for it
			return
		}
		plan.forgetProgress()
		resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	}
}

// planOutputs plans to read the outputs of a run that has ended, if other ones are wanted than the state has.
func (m *pipelineRunModel) planOutputs(state pipelineRunModel) {
	switch ended := follow.Status(state.Status.ValueString()).Ended(); {
	case m.OutputTaskUUIDs.IsNull():
		m.Outputs = types.MapNull(types.StringType)
	case !m.OutputTaskUUIDs.Equal(state.OutputTaskUUIDs), ended && state.Outputs.IsNull():
		m.Outputs = types.MapUnknown(types.StringType)
	default:
		m.Outputs = state.Outputs
	}
}

// planAfterFailure plans a new run if it is certain that the configuration asks for one.
func (r *pipelineRunResource) planAfterFailure(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse, plan *pipelineRunModel, known follow.Progress) {
	failure := fmt.Sprintf("Run %s of pipeline %s failed.\n\n%s\n", plan.ID.ValueString(), plan.PipelineUUID.ValueString(), describe(failedTasks(known)))
	const accept = "To accept the failure, set on_failure = \"warn\"."
	switch {
	case imported(ctx, req.Private):
		resp.Diagnostics.AddWarning("The imported run failed", failure+"This plan starts no run, but the next one will. "+accept)
	case plan.WaitForCompletion.IsUnknown(), plan.OnFailure.IsUnknown():
		resp.Diagnostics.AddWarning("The run failed", failure+
			"wait_for_completion or on_failure is only known after apply, so this plan starts no new run. The next one will, unless they accept the failure; "+
			"this apply may then fail with \"Provider produced inconsistent final plan\", which neither starts nor loses a run.")
	default:
		plan.forgetProgress()
		resp.Diagnostics.Append(resp.Plan.Set(ctx, plan)...)
		resp.RequiresReplace.Append(path.Root("status"))
		resp.Diagnostics.AddWarning("The run failed, and a new one is planned", failure+accept)
	}
}

// namesOtherFinalTasks reports whether the configuration names a final task that has not reported.
func (m *pipelineRunModel) namesOtherFinalTasks(ctx context.Context, known follow.Progress) bool {
	if m.Completion.IsUnknown() {
		return true
	}
	var diags diag.Diagnostics
	tasks, _ := m.Completion.Attributes()["final_task_uuids"].(types.Set)
	if tasks.IsNull() {
		return false
	}
	var uuids []types.String
	diags.Append(tasks.ElementsAs(ctx, &uuids, false)...)
	return tasks.IsUnknown() || slices.ContainsFunc(uuids, func(uuid types.String) bool {
		return uuid.IsUnknown() || !known.Reported(uuid.ValueString())
	})
}

// checkScopes refuses to read a log that the provider's own scopes rule out.
func (a api) checkScopes(wait types.Bool, key types.String, diags *diag.Diagnostics) {
	if a.scopes == nil || slices.Contains(a.scopes, "stats:read") {
		return
	}
	reader := path.Root("wait_for_completion")
	if !wait.ValueBool() {
		if reader = keyPath; key.IsNull() {
			return
		}
	}
	diags.AddAttributeError(reader, "The provider's scopes rule out reading the log", fmt.Sprintf(
		"%s reads the log of the pipeline, which needs the scope stats:read, but the provider's \"scopes\" are %s. Add \"stats:read\" to them, "+
			"or leave them out to use all that the OAuth client has.", reader, strings.Join(a.scopes, ", ")))
}

// warnOfContinuing says that a run which has not ended continues without its resource.
func warnOfContinuing(ctx context.Context, state tfsdk.State, doing string, diags *diag.Diagnostics) {
	var m pipelineRunModel
	if state.Raw.IsNull() || state.Get(ctx, &m).HasError() || follow.Status(m.Status.ValueString()).Ended() {
		return
	}
	diags.AddWarning("The run continues in Ylem", fmt.Sprintf(
		"Run %s of pipeline %s has not ended, as far as Terraform knows (%s). %s does not stop it: Ylem has no way to stop a run.",
		m.ID.ValueString(), m.PipelineUUID.ValueString(), m.Status.ValueString(), doing))
}
