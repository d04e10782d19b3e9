package provider

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

var (
	_ action.ActionWithConfigure      = (*pipelineRunAction)(nil)
	_ action.ActionWithValidateConfig = (*pipelineRunAction)(nil)
	_ action.ActionWithModifyPlan     = (*pipelineRunAction)(nil)
)

func newPipelineRunAction() action.Action {
	return &pipelineRunAction{heartbeat: 15 * time.Second}
}

type pipelineRunAction struct {
	api       api
	heartbeat time.Duration // the longest silence while waiting for a run
}

type pipelineRunActionModel struct {
	PipelineUUID      types.String `tfsdk:"pipeline_uuid"`
	Input             types.String `tfsdk:"input"`
	InputWO           types.String `tfsdk:"input_wo"`
	IdempotencyKey    types.String `tfsdk:"idempotency_key"`
	WaitForCompletion types.Bool   `tfsdk:"wait_for_completion"`
	Completion        types.Object `tfsdk:"completion"`
	OnFailure         types.String `tfsdk:"on_failure"`
	OnTimeout         types.String `tfsdk:"on_timeout"`
	Timeout           duration     `tfsdk:"timeout"`
}

func (a *pipelineRunAction) Metadata(_ context.Context, req action.MetadataRequest, resp *action.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_run"
}

func (a *pipelineRunAction) Schema(_ context.Context, _ action.SchemaRequest, resp *action.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Starts a run of a pipeline, and optionally waits until it has ended, each time it is invoked: by an `action_trigger` of a resource or by " +
			"`terraform apply -invoke`. Terraform stores nothing about it; to have the run in the state, use the resource `ylem_pipeline_run`. " +
			"Needs Terraform 1.14 or later and the scope `pipelines:run`; waiting also needs `stats:read`.",
		Attributes: map[string]schema.Attribute{
			"pipeline_uuid": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "UUID of the pipeline to run, such as `" + pipelineSubject.example + "`. Ylem shows it on the pipeline's page. The pipeline must not be paused or a " +
					"template, and must have an active task.",
				Validators: []validator.String{uuidValidator{}},
			},
			"input": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: inputDescription + " Conflicts with `input_wo`.",
				Validators:          []validator.String{inputValidator{}, stringvalidator.ConflictsWith(path.MatchRoot("input_wo"))},
			},
			"input_wo": schema.StringAttribute{
				Optional: true, // and write-only: see server.GetProviderSchema
				MarkdownDescription: "The same as `input`, for secrets in ephemeral values, which Terraform keeps out of its plans. Conflicts with `input`. Example: " +
					"`jsonencode({ token = var.token })`, with an ephemeral variable. An `action_trigger` delivers it with every version of Terraform. " +
					"`terraform apply -invoke` does so up to Terraform 1.15; from 1.16 on, Terraform removes ephemeral values from what it invokes, and the " +
					"provider cannot see that they are missing: the run starts without an input. Use a `sensitive` variable there instead; Terraform stores its value in saved plans.",
				Validators: []validator.String{inputValidator{}},
			},
			"idempotency_key": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: keyDescription + " Whatever triggers the action, a run with the same key and input is started once a day at most; to run again on purpose, change " +
					"the key.",
				Validators: []validator.String{keyValidator{}},
			},
			"wait_for_completion": schema.BoolAttribute{
				Optional:            true,
				MarkdownDescription: waitDescription,
			},
			"completion": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: completionDescription,
				Attributes: map[string]schema.Attribute{
					"final_task_uuids": schema.SetAttribute{
						Optional:            true,
						ElementType:         types.StringType,
						MarkdownDescription: finalTasksDescription,
						Validators:          finalTasksValidators,
					},
					"quiet_period": schema.StringAttribute{
						Optional:            true,
						CustomType:          durationType{},
						MarkdownDescription: quietPeriodDescription,
					},
					"poll_interval": schema.StringAttribute{
						Optional:            true,
						CustomType:          durationType{},
						MarkdownDescription: pollIntervalDescription,
						Validators:          []validator.String{durationValidator{atLeast: minPollInterval}},
					},
				},
			},
			"on_failure": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: onFailureDescription,
				Validators:          []validator.String{stringvalidator.OneOf(onError, onWarn)},
			},
			"on_timeout": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: onTimeoutDescription,
				Validators:          []validator.String{stringvalidator.OneOf(onError, onWarn)},
			},
			"timeout": schema.StringAttribute{
				Optional:            true,
				CustomType:          durationType{},
				MarkdownDescription: "How long to wait for the run, as a duration such as `45m`. Defaults to `20m`.",
			},
		},
	}
}

func (a *pipelineRunAction) Configure(_ context.Context, req action.ConfigureRequest, resp *action.ConfigureResponse) {
	a.api = apiFrom(req.ProviderData, &resp.Diagnostics)
}

func (a *pipelineRunAction) ValidateConfig(ctx context.Context, req action.ValidateConfigRequest, resp *action.ValidateConfigResponse) {
	var timeout duration
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("timeout"), &timeout)...)
	checkKey(ctx, req.Config, &resp.Diagnostics)
	newQuietPeriodCheck(ctx, req.Config, &resp.Diagnostics).refuse(timeout.StringValue, &resp.Diagnostics)
}

// ModifyPlan refuses what the provider's configuration rules out.
func (a *pipelineRunAction) ModifyPlan(ctx context.Context, req action.ModifyPlanRequest, resp *action.ModifyPlanResponse) {
	var m pipelineRunActionModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	a.api.checkScopes(m.WaitForCompletion, m.IdempotencyKey, &resp.Diagnostics)
}

func (a *pipelineRunAction) Invoke(ctx context.Context, req action.InvokeRequest, resp *action.InvokeResponse) {
	var m pipelineRunActionModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if !req.Config.Raw.IsFullyKnown() { // an unknown input would be none
		resp.Diagnostics.AddError("The action's configuration is not known yet", "No run was started: an argument of the action has no known value. "+
			"Apply what it depends on first.")
	}
	if resp.Diagnostics.HasError() || !a.api.ready(&resp.Diagnostics) {
		return
	}
	progress := func(format string, arguments ...any) {
		resp.SendProgress(action.InvokeProgressEvent{Message: fmt.Sprintf(format, arguments...)})
	}
	resp.Diagnostics.Append(a.run(ctx, m, progress)...)
	for _, warning := range resp.Diagnostics.Warnings() { // Terraform 1.16 drops those of triggered actions
		progress("Warning: %s: %s", warning.Summary(), strings.Join(strings.Fields(warning.Detail()), " "))
	}
}

// run starts a run, and waits for it if asked to.
func (a *pipelineRunAction) run(ctx context.Context, m pipelineRunActionModel, progress func(format string, arguments ...any)) (diags diag.Diagnostics) {
	completion, pollInterval := completionFrom(ctx, m.Completion, &diags)
	timeout := m.Timeout.or(defaultTimeout, path.Root("timeout"), &diags)
	start := newStartRequest(m.PipelineUUID, m.Input, m.InputWO, m.WaitForCompletion, timeout)
	start.forAction = true
	if !m.IdempotencyKey.IsNull() {
		start.setKey(m.IdempotencyKey.ValueString(), fingerprint(m.Input.ValueString(), m.InputWO.ValueString()), &diags)
	}
	if diags.HasError() {
		return diags
	}

	run, ok := a.api.startShared(ctx, start, &diags)
	if !ok {
		return diags
	}
	by, did := invoking, "Started"
	if start.key != "" {
		by = by.withKey()
	}
	if run.adopted {
		did = "Found"
	}
	progress("%s run %s of pipeline %s.", did, run.RunUUID, m.PipelineUUID.ValueString())
	if !m.WaitForCompletion.ValueBool() {
		if ctx.Err() != nil { // then there is no progress to name the run
			diags.AddError("Interrupted", fmt.Sprintf(
				"Run %s of pipeline %s continues in Ylem. %s", run.RunUUID, m.PipelineUUID.ValueString(), next[by][waitInterrupted]))
		}
		return diags
	}

	begin, tick := time.Now(), a.heartbeat/15
	shown, shownAt := follow.Pending, time.Now()
	options := follow.Options{Completion: completion, PollInterval: pollInterval, Heartbeat: tick, Report: func(p follow.Progress) {
		if p.Status == shown && time.Since(shownAt) < a.heartbeat-tick {
			return
		}
		shown, shownAt = p.Status, time.Now()
		progress("Run %s: %s after %s, %s.", run.RunUUID, p.Status, time.Since(begin).Round(time.Second), reported(p))
	}}
	o := a.api.wait(ctx, run.Run, options, timeout)
	if o.progress.Status == follow.Failed {
		a.api.claims.forget(start) // the next trigger starts another
	}
	if start.key != "" {
		o.warnOfUselessKey(&diags)
	}
	o.report(by, m.OnFailure.ValueString(), m.OnTimeout.ValueString(), &diags)
	return diags
}
