package provider

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

var (
	_ action.ActionWithConfigure      = (*pipelineRunAction)(nil)
	_ action.ActionWithValidateConfig = (*pipelineRunAction)(nil)
)

func newPipelineRunAction() action.Action {
	return &pipelineRunAction{heartbeat: 15 * time.Second}
}

type pipelineRunAction struct {
	api       api
	heartbeat time.Duration // the longest silence while a run is waited for
}

type pipelineRunActionModel struct {
	PipelineUUID      types.String `tfsdk:"pipeline_uuid"`
	Input             types.String `tfsdk:"input"`
	InputWO           types.String `tfsdk:"input_wo"`
	WaitForCompletion types.Bool   `tfsdk:"wait_for_completion"`
	Completion        types.Object `tfsdk:"completion"`
	OnFailure         types.String `tfsdk:"on_failure"`
	OnTimeout         types.String `tfsdk:"on_timeout"`
	Timeout           types.String `tfsdk:"timeout"`
}

func (a *pipelineRunAction) Metadata(_ context.Context, req action.MetadataRequest, resp *action.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_run"
}

func (a *pipelineRunAction) Schema(_ context.Context, _ action.SchemaRequest, resp *action.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Starts a run of a pipeline, and waits for it if asked to, each time it is invoked: by an `action_trigger` of a resource or by " +
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
				MarkdownDescription: inputDescription + " Not together with `input_wo`. Unset: none.",
				Validators:          []validator.String{inputValidator{}, stringvalidator.ConflictsWith(path.MatchRoot("input_wo"))},
			},
			"input_wo": schema.StringAttribute{
				Optional: true, // and write-only: see server.GetProviderSchema
				MarkdownDescription: "The same as `input`, for secrets in ephemeral values, which Terraform keeps out of its plans. Example: " +
					"`jsonencode({ token = var.token })`, with an ephemeral variable. An `action_trigger` delivers them; for `terraform apply -invoke`, Terraform leaves ephemeral " +
					"values out (seen with a development build of Terraform 1.17), and the run gets no input: use a `sensitive` variable there. Unset: none.",
				Validators: []validator.String{inputValidator{}},
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
						MarkdownDescription: quietPeriodDescription,
						Validators:          []validator.String{durationValidator{}},
					},
					"poll_interval": schema.StringAttribute{
						Optional:            true,
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
				MarkdownDescription: "How long the run is waited for, as a duration such as `45m`. Unset: `20m`.",
				Validators:          []validator.String{durationValidator{}},
			},
		},
	}
}

func (a *pipelineRunAction) Configure(_ context.Context, req action.ConfigureRequest, resp *action.ConfigureResponse) {
	a.api = apiFrom(req.ProviderData, &resp.Diagnostics)
}

func (a *pipelineRunAction) ValidateConfig(ctx context.Context, req action.ValidateConfigRequest, resp *action.ValidateConfigResponse) {
	var timeout types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("timeout"), &timeout)...)
	newQuietPeriodCheck(ctx, req.Config, &resp.Diagnostics).refuse(timeout, &resp.Diagnostics)
}

func (a *pipelineRunAction) Invoke(ctx context.Context, req action.InvokeRequest, resp *action.InvokeResponse) {
	var m pipelineRunActionModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !a.api.ready(&resp.Diagnostics) {
		return
	}
	completion, pollInterval := completionFrom(ctx, m.Completion, &resp.Diagnostics)
	timeout := defaultTimeout
	if s := m.Timeout.ValueString(); s != "" {
		timeout = durationFrom(s, path.Root("timeout"), &resp.Diagnostics)
	}
	if resp.Diagnostics.HasError() {
		return
	}

	run, ok := a.api.start(ctx, m.PipelineUUID.ValueString(), m.Input, m.InputWO, m.WaitForCompletion.ValueBool(), &resp.Diagnostics)
	if !ok {
		return
	}
	progress := func(format string, arguments ...any) {
		resp.SendProgress(action.InvokeProgressEvent{Message: fmt.Sprintf(format, arguments...)})
	}
	progress("Started run %s of pipeline %s.", run.UUID, m.PipelineUUID.ValueString())
	if !m.WaitForCompletion.ValueBool() {
		return
	}

	begin, tick := time.Now(), a.heartbeat/15
	shown, shownAt := follow.Pending, time.Now()
	options := follow.Options{Completion: completion, PollInterval: pollInterval, Heartbeat: tick, Report: func(p follow.Progress) {
		if p.Status == shown && time.Since(shownAt) < a.heartbeat-tick {
			return
		}
		shown, shownAt = p.Status, time.Now()
		progress("Run %s: %s after %s, %s.", run.UUID, p.Status, time.Since(begin).Round(time.Second), reported(p))
	}}
	started := follow.Run{PipelineUUID: m.PipelineUUID.ValueString(), RunUUID: run.UUID, TriggeredAt: run.TriggeredAt}
	a.api.wait(ctx, started, options, timeout).report(invoking, m.OnFailure.ValueString(), m.OnTimeout.ValueString(), &resp.Diagnostics)
}
