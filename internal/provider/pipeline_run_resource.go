package provider

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/mapplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-log/tflog"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
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

type pipelineRunModel struct {
	PipelineUUID      types.String   `tfsdk:"pipeline_uuid"`
	Input             types.String   `tfsdk:"input"`
	InputWO           types.String   `tfsdk:"input_wo"`
	InputWOVersion    types.Int64    `tfsdk:"input_wo_version"`
	Triggers          types.Map      `tfsdk:"triggers"`
	WaitForCompletion types.Bool     `tfsdk:"wait_for_completion"`
	Completion        types.Object   `tfsdk:"completion"`
	OnFailure         types.String   `tfsdk:"on_failure"`
	OnTimeout         types.String   `tfsdk:"on_timeout"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
	ID                types.String   `tfsdk:"id"`
	Status            types.String   `tfsdk:"status"`
	IsSuccessful      types.Bool     `tfsdk:"is_successful"`
	TriggeredAt       types.String   `tfsdk:"triggered_at"`
	FinishedAt        types.String   `tfsdk:"finished_at"`
	Duration          types.Int64    `tfsdk:"duration"`
	TaskRuns          types.List     `tfsdk:"task_runs"`
}

// pipelineRunIdentity is what names a run across states.
type pipelineRunIdentity struct {
	PipelineUUID types.String `tfsdk:"pipeline_uuid"`
	RunUUID      types.String `tfsdk:"run_uuid"`
}

// taskRunModel is a task of the run.
type taskRunModel struct {
	TaskUUID     string           `tfsdk:"task_uuid"`
	TaskRunUUID  types.String     `tfsdk:"task_run_uuid"`
	TaskType     types.String     `tfsdk:"task_type"`
	State        string           `tfsdk:"state"`
	IsSuccessful types.Bool       `tfsdk:"is_successful"`
	Duration     types.Int64      `tfsdk:"duration"`
	ExecutedAt   types.String     `tfsdk:"executed_at"`
	Errors       []taskErrorModel `tfsdk:"errors"`
}

// taskRunObject is the shape of an element of task_runs.
var taskRunObject = schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
	"task_uuid":     schema.StringAttribute{Computed: true, MarkdownDescription: "UUID of the task."},
	"task_run_uuid": schema.StringAttribute{Computed: true, MarkdownDescription: "UUID of this run of the task; null when Ylem does not report it."},
	"task_type":     schema.StringAttribute{Computed: true, MarkdownDescription: "Type of the task, such as `query`; null until it has reported."},
	"state":         schema.StringAttribute{Computed: true, MarkdownDescription: "`pending`, `succeeded` or `failed`."},
	"is_successful": schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the task succeeded; null until it has reported."},
	"duration":      schema.Int64Attribute{Computed: true, MarkdownDescription: "How long the task took, in milliseconds, such as `120`; null until it has reported."},
	"executed_at":   schema.StringAttribute{Computed: true, MarkdownDescription: "When the task was executed, RFC 3339, UTC; null until it has reported."},
	"errors": schema.ListNestedAttribute{
		Computed:            true,
		MarkdownDescription: "Errors that the task reports; empty when it succeeded.",
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"code":     schema.Int64Attribute{Computed: true, MarkdownDescription: "Ylem's error code, such as `200`."},
			"severity": schema.StringAttribute{Computed: true, MarkdownDescription: "Severity of the error, such as `error`."},
			"message":  schema.StringAttribute{Computed: true, MarkdownDescription: "What went wrong, in Ylem's words."},
		}},
	},
}}

func (r *pipelineRunResource) Metadata(_ context.Context, req resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_run"
}

func (r *pipelineRunResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Starts a run of a pipeline, and waits for it if asked to. One resource is one run: creating it starts the run, and whatever replaces it " +
			"starts another. Destroying the resource only removes it from the state; the run is neither stopped nor undone. Needs the scope `pipelines:run`, and " +
			"`stats:read` to follow the run.\n\n" +
			"Ylem has no idempotency key, so the provider never repeats a request that may have started a run; the error tells you that it may have. " +
			"Terraform stores a resource only when the create call returns. If the provider is killed while it waits, find the run's UUID in the log " +
			"(`TF_LOG_PROVIDER=INFO`: `Started run … of pipeline …`) or in Ylem, and bring the run back with `terraform import`.",
		Attributes: map[string]schema.Attribute{
			"pipeline_uuid": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "UUID of the pipeline to run, such as `" + pipelineSubject.example + "`. Ylem shows it on the pipeline's page. A change starts a new run. " +
					"The pipeline must not be paused or a template, and must have an active task.",
				Validators: []validator.String{uuidValidator{}},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(
					func(_ context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
						resp.RequiresReplace = !strings.EqualFold(req.StateValue.ValueString(), req.PlanValue.ValueString())
					},
					"Another pipeline means another run; upper and lower case mean the same.",
					"Another pipeline means another run; upper and lower case mean the same.",
				)},
			},
			"input": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: inputDescription + " Not together with `input_wo`. " + newRunUnlessImported + " It is stored in Terraform's state: for secrets, use `input_wo`. " +
					"Unset: none.",
				Validators: []validator.String{
					inputValidator{},
					stringvalidator.ConflictsWith(path.MatchRoot("input_wo"), path.MatchRoot("input_wo_version")),
				},
				PlanModifiers: []planmodifier.String{stringplanmodifier.RequiresReplaceIf(
					func(ctx context.Context, req planmodifier.StringRequest, resp *stringplanmodifier.RequiresReplaceIfFuncResponse) {
						// No input and an empty one are the same to Ylem.
						resp.RequiresReplace = (req.StateValue.ValueString() != req.PlanValue.ValueString() || req.PlanValue.IsUnknown()) &&
							(!req.StateValue.IsNull() || !imported(ctx, req.Private))
					}, newRunUnlessImported, newRunUnlessImported)},
			},
			"input_wo": schema.StringAttribute{
				Optional:  true,
				WriteOnly: true,
				MarkdownDescription: "The same as `input`, for secrets. It is never stored in a plan or in Terraform's state, so Terraform cannot see that it changed: change " +
					"`input_wo_version` with it. A task of the pipeline may still repeat it in its output or its errors. Needs Terraform 1.11 or later. Example: `jsonencode({ token = var.token })`. Unset: none.",
				Validators: []validator.String{inputValidator{}},
			},
			"input_wo_version": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "A number, such as `1`, to increase whenever `input_wo` changes. " + newRunUnlessImported + " Needs `input_wo`. Unset: a change of `input_wo` starts no run.",
				Validators:          []validator.Int64{int64validator.AlsoRequires(path.MatchRoot("input_wo"))},
				PlanModifiers: []planmodifier.Int64{int64planmodifier.RequiresReplaceIf(
					func(ctx context.Context, req planmodifier.Int64Request, resp *int64planmodifier.RequiresReplaceIfFuncResponse) {
						resp.RequiresReplace = !req.StateValue.IsNull() || !imported(ctx, req.Private)
					}, newRunUnlessImported, newRunUnlessImported)},
			},
			"triggers": schema.MapAttribute{
				Optional:    true,
				ElementType: types.StringType,
				MarkdownDescription: "Any values whose change starts a new run, such as `{ schema = filesha256(\"schema.sql\") }`. Removing the whole map starts none; " +
					"after an import, the first value is adopted without starting a run. Unset: only the other arguments start runs.",
				PlanModifiers: []planmodifier.Map{mapplanmodifier.RequiresReplaceIf(
					func(ctx context.Context, req planmodifier.MapRequest, resp *mapplanmodifier.RequiresReplaceIfFuncResponse) {
						same := !req.PlanValue.IsUnknown() && len(req.PlanValue.Elements())+len(req.StateValue.Elements()) == 0
						resp.RequiresReplace = !req.ConfigValue.IsNull() && !same && (!req.StateValue.IsNull() || !imported(ctx, req.Private))
					},
					"A change of any value, but not the removal of the whole map, starts a new run.",
					"A change of any value, but not the removal of the whole map, starts a new run.",
				)},
			},
			"wait_for_completion": schema.BoolAttribute{
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(false),
				MarkdownDescription: waitDescription + " If the run has not finished yet, after an interrupt, after a timeout with `on_timeout = \"warn\"`, or because this was " +
					"`false`, the next apply waits for it. The plan shows this as an in-place update; no run is started.",
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
						Optional: true, Computed: true, Default: stringdefault.StaticString(defaultQuietPeriod),
						MarkdownDescription: quietPeriodDescription,
						Validators:          []validator.String{durationValidator{}},
					},
					"poll_interval": schema.StringAttribute{
						Optional: true, Computed: true, Default: stringdefault.StaticString(defaultPollInterval),
						MarkdownDescription: pollIntervalDescription,
						Validators:          []validator.String{durationValidator{atLeast: minPollInterval}},
					},
				},
			},
			"on_failure": schema.StringAttribute{
				Optional:            true,
				Computed:            true,
				Default:             stringdefault.StaticString(orError),
				MarkdownDescription: onFailureDescription + " With `error`, the next apply starts a new run; with `warn`, the failed run stays as it is.",
				Validators:          []validator.String{stringvalidator.OneOf(orError, orWarn)},
			},
			"on_timeout": schema.StringAttribute{
				Optional: true,
				Computed: true,
				Default:  stringdefault.StaticString(orError),
				MarkdownDescription: onTimeoutDescription + " With `error`, Terraform taints a new run's resource: run `terraform untaint` to resume waiting, or the next apply starts another run. " +
					"With `warn`, the next apply resumes waiting.",
				Validators: []validator.String{stringvalidator.OneOf(orError, orWarn)},
			},
			"id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "UUID of the run, the `pipeline_run_uuid` of Ylem's logs.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"status": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "`pending` (no task has reported yet), `running`, `succeeded` or `failed`. The last two are final and are not refreshed. Otherwise a refresh " +
					"updates the status as `completion` describes; if the log cannot be read, the status stays as it is.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"is_successful": schema.BoolAttribute{
				Computed:            true,
				MarkdownDescription: "Whether the run succeeded; null until that is known.",
				PlanModifiers:       []planmodifier.Bool{boolplanmodifier.UseStateForUnknown()},
			},
			"triggered_at": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "When Ylem accepted the run, by its own clock: RFC 3339, UTC, such as `2024-01-31T14:23:01Z`. For an imported run: when its first task was " +
					"executed.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"finished_at": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "When the run's last task was executed, RFC 3339, UTC, such as `2024-01-31T14:23:09.5Z`; null until the run is known to have finished. For a failed run: as far as its " +
					"tasks had reported when the failure was seen.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"duration": schema.Int64Attribute{
				Computed: true,
				MarkdownDescription: "Sum of its tasks' durations, in milliseconds, as Ylem counts it, such as `1250`; null until the run is known to have finished. For a failed run: as far as its " +
					"tasks had reported when the failure was seen.",
				PlanModifiers: []planmodifier.Int64{int64planmodifier.UseStateForUnknown()},
			},
			"task_runs": schema.ListNestedAttribute{
				Computed: true,
				MarkdownDescription: "The tasks that Ylem has reported so far, oldest first. Their outputs are not stored here, as they can be large or private: " +
					"read them with the data source `ylem_pipeline_logs`.",
				PlanModifiers: []planmodifier.List{listplanmodifier.UseStateForUnknown()},
				NestedObject:  taskRunObject,
			},
		},
		Blocks: map[string]schema.Block{
			"timeouts": timeoutsBlock(ctx),
		},
	}
}

// timeoutsBlock is the usual block, with a description, and with durations checked as everywhere else.
func timeoutsBlock(ctx context.Context) schema.Block {
	block := timeouts.Block(ctx, timeouts.Opts{
		Create:            true,
		Update:            true,
		CreateDescription: "How long a new run is waited for, as a duration such as `45m`. Unset: `20m`.",
		UpdateDescription: "How long a run that was started earlier is waited for, as a duration such as `45m`. Unset: `20m`.",
	}).(schema.SingleNestedBlock)
	block.MarkdownDescription = "How long runs are waited for. Without `wait_for_completion` it has no effect."
	for name, attribute := range block.Attributes {
		duration := attribute.(schema.StringAttribute)
		duration.Validators = []validator.String{durationValidator{}}
		block.Attributes[name] = duration
	}
	return block
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

// ValidateConfig refuses waits that could never end well.
func (r *pipelineRunResource) ValidateConfig(ctx context.Context, req resource.ValidateConfigRequest, resp *resource.ValidateConfigResponse) {
	var timeout types.String
	resp.Diagnostics.Append(req.Config.GetAttribute(ctx, path.Root("timeouts").AtName("create"), &timeout)...)
	validateQuietPeriod(ctx, req.Config, timeout, &resp.Diagnostics)
}

// ModifyPlan plans an in-place update that resumes waiting for a run, or a new run after one that failed.
func (r *pipelineRunResource) ModifyPlan(ctx context.Context, req resource.ModifyPlanRequest, resp *resource.ModifyPlanResponse) {
	if req.State.Raw.IsNull() || req.Plan.Raw.IsNull() {
		return
	}
	var status types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("status"), &status)...)
	if ylem.Status(status.ValueString()) == ylem.StatusSucceeded {
		return
	}
	var plan, state pipelineRunModel
	resp.Diagnostics.Append(req.Plan.Get(ctx, &plan)...)
	resp.Diagnostics.Append(req.State.Get(ctx, &state)...)
	if resp.Diagnostics.HasError() {
		return
	}
	// What is not known yet may turn out to ask for it.
	waits := plan.WaitForCompletion.IsUnknown() || plan.WaitForCompletion.ValueBool()
	failed := ylem.Status(status.ValueString()) == ylem.StatusFailed
	if !waits || failed && plan.OnFailure.ValueString() == orWarn {
		return
	}
	if failed && imported(ctx, req.Private) {
		resp.Diagnostics.AddWarning("The imported run failed", fmt.Sprintf(
			"Run %s of pipeline %s failed.\n\n%s\nThis plan starts no run, but the next one will. To accept the failure, set on_failure = \"warn\".",
			state.ID.ValueString(), state.PipelineUUID.ValueString(), describe(state.failedTasks(ctx, &resp.Diagnostics))))
		return
	}
	plan.Status = types.StringUnknown()
	plan.IsSuccessful = types.BoolUnknown()
	plan.FinishedAt = types.StringUnknown()
	plan.Duration = types.Int64Unknown()
	plan.TaskRuns = types.ListUnknown(taskRunObject.Type())
	resp.Diagnostics.Append(resp.Plan.Set(ctx, &plan)...)
	if failed {
		resp.RequiresReplace.Append(path.Root("status"))
		resp.Diagnostics.AddWarning("The run failed, and a new one is planned", fmt.Sprintf(
			"Run %s of pipeline %s failed.\n\n%s\nTo accept the failure, set on_failure = \"warn\".", state.ID.ValueString(), state.PipelineUUID.ValueString(),
			describe(state.failedTasks(ctx, &resp.Diagnostics))))
	}
}

// failedTasks are the failed tasks that the state knows.
func (m *pipelineRunModel) failedTasks(ctx context.Context, diags *diag.Diagnostics) (failed []failedTask) {
	var tasks []taskRunModel
	diags.Append(m.TaskRuns.ElementsAs(ctx, &tasks, false)...)
	for _, task := range tasks {
		if task.State == string(ylem.StatusFailed) {
			failed = append(failed, failedTask{uuid: task.TaskUUID, taskType: task.TaskType.ValueString(), faults: task.Errors})
		}
	}
	return failed
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
	if resp.Diagnostics.HasError() || !r.api.ready(&resp.Diagnostics) {
		return
	}
	run, ok := r.api.start(ctx, m.PipelineUUID.ValueString(), m.Input, inputWO, m.WaitForCompletion.ValueBool(), &resp.Diagnostics)
	if !ok {
		return
	}
	// From here on every way out keeps the run.
	resp.Diagnostics.Append(m.setStarted(ctx, run)...)
	resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
	if m.WaitForCompletion.ValueBool() {
		r.wait(ctx, &m, timeout, true, &resp.Diagnostics)
		resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
	}
}

// Read finds out how far the run has got, unless that is final. Nothing that the log says, or fails to say, removes
// the run from the state: that would start another.
func (r *pipelineRunResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	var status types.String
	resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root("status"), &status)...)
	hasIdentity := resp.Identity == nil || !resp.Identity.Raw.IsFullyNull()
	if ylem.Status(status.ValueString()).Final() && hasIdentity {
		return
	}
	var m pipelineRunModel
	resp.Diagnostics.Append(req.State.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	if !ylem.Status(status.ValueString()).Final() && r.api.client != nil {
		completion, _ := completionFrom(ctx, m.Completion, &resp.Diagnostics)
		progress, err := r.api.client.Progress(ctx, m.ref(), completion)
		if err != nil {
			tflog.Warn(ctx, "The log of a run could not be read; its status stays as it is", map[string]any{
				"run_uuid": m.ID.ValueString(), "error": err.Error(),
			})
		} else {
			resp.Diagnostics.Append(m.setProgress(ctx, progress)...)
		}
	}
	resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
}

// Update takes over arguments whose change starts no run, and resumes waiting where ModifyPlan said so.
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
		m.Status, m.IsSuccessful = state.Status, state.IsSuccessful
		m.FinishedAt, m.Duration, m.TaskRuns = state.FinishedAt, state.Duration, state.TaskRuns
		r.wait(ctx, &m, timeout, false, &resp.Diagnostics)
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, nil)...)
	resp.Diagnostics.Append(m.store(ctx, &resp.State, resp.Identity)...)
}

// Delete only forgets the run: Ylem can neither stop nor delete one.
func (r *pipelineRunResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {
}

// ImportState brings a run into the state by PIPELINE_UUID/RUN_UUID or by its identity.
func (r *pipelineRunResource) ImportState(ctx context.Context, req resource.ImportStateRequest, resp *resource.ImportStateResponse) {
	pipelineUUID, runUUID, _ := strings.Cut(req.ID, "/")
	if req.ID == "" && req.Identity != nil {
		var identity pipelineRunIdentity
		resp.Diagnostics.Append(req.Identity.Get(ctx, &identity)...)
		pipelineUUID, runUUID = identity.PipelineUUID.ValueString(), identity.RunUUID.ValueString()
	}
	if !ylem.ValidUUID(pipelineUUID) || !ylem.ValidUUID(runUUID) {
		resp.Diagnostics.AddError("Invalid import ID", fmt.Sprintf(
			"%q names no run. Write PIPELINE_UUID/RUN_UUID, such as %s/95295cbc-cee7-49cc-a11a-2f1788423934: the UUID of the pipeline, and that of the run "+
				"from Ylem or the provider's log.", req.ID, pipelineSubject.example))
	}
	if resp.Diagnostics.HasError() || !r.api.ready(&resp.Diagnostics) {
		return
	}
	rows, err := r.api.client.FindRun(ctx, pipelineUUID, runUUID)
	if err != nil {
		addError(&resp.Diagnostics, path.Empty(), "pipeline "+pipelineUUID, err)
		return
	}
	if len(rows) == 0 {
		resp.Diagnostics.AddError("The run is not in the log", fmt.Sprintf(
			"The log of pipeline %s holds no row of run %s. Check both UUIDs. A run appears in the log when its first task has finished: if it was started just now, import it "+
				"again a little later. Nothing was started.", pipelineUUID, runUUID))
		return
	}
	first := ylem.Assess(runUUID, rows, time.Time{}, ylem.Completion{}).Rows[0]
	for attribute, value := range map[string]any{
		"pipeline_uuid":       pipelineUUID,
		"id":                  strings.ToLower(runUUID),
		"triggered_at":        timeValue(first.ExecutedAt),
		"status":              string(ylem.StatusPending), // the refresh that follows finds out
		"wait_for_completion": false,
		"on_failure":          orError,
		"on_timeout":          orError,
	} {
		resp.Diagnostics.Append(resp.State.SetAttribute(ctx, path.Root(attribute), value)...)
	}
	resp.Diagnostics.Append(resp.Private.SetKey(ctx, importedKey, []byte("true"))...)
}

// wait waits for the run that m names, and takes over what became of it.
func (r *pipelineRunResource) wait(ctx context.Context, m *pipelineRunModel, timeout time.Duration, creating bool, diags *diag.Diagnostics) {
	completion, pollInterval := completionFrom(ctx, m.Completion, diags)
	if diags.HasError() {
		return
	}
	// The next apply begins with a refresh, which may find that the run has failed since.
	unlessFailed := ""
	if m.OnFailure.ValueString() != orWarn {
		unlessFailed = ", unless it has failed by then: that starts a new run"
	}
	w := waiting{
		run:            m.ref(),
		onFailure:      m.OnFailure.ValueString(),
		onTimeout:      m.OnTimeout.ValueString(),
		timeout:        timeout,
		afterFailure:   "Fix the pipeline or its input; the next apply starts a new run. To accept this one instead, set on_failure = \"warn\".",
		afterTimeout:   "The next apply resumes waiting for it, for as long as \"update\" in the timeouts block says" + unlessFailed + ".",
		afterInterrupt: "The next apply resumes waiting for it" + unlessFailed + ".",
		afterRefusal:   "The next apply resumes waiting for it" + unlessFailed + ".",
	}
	if creating {
		const tainted = "Terraform has marked the resource as tainted, so a plain apply would start another run. To resume waiting for this one:\n\n" +
			"  terraform untaint ADDRESS\n  terraform apply\n\n"
		w.afterFailure = "Fix the pipeline or its input; the next apply starts a new run. To accept this one instead, set on_failure = \"warn\" and run " +
			"terraform untaint ADDRESS."
		w.afterRefusal = tainted + "That apply waits for it" + unlessFailed + "."
		if w.onTimeout != orWarn {
			w.afterTimeout = tainted + "That apply waits for as long as \"update\" in the timeouts block says" + unlessFailed + ". For new runs, \"create\" applies."
		}
	}
	status := ylem.Status("")
	w.watch = ylem.Watch{Completion: completion, PollInterval: pollInterval, Report: func(p ylem.Progress) {
		if p.Status != status {
			status = p.Status
			tflog.Info(ctx, "The run's status changed", map[string]any{"run_uuid": m.ID.ValueString(), "status": string(status)})
		}
	}}
	progress := r.api.wait(ctx, w, diags)
	diags.Append(m.setProgress(ctx, progress)...)
}

func (m *pipelineRunModel) ref() ylem.RunRef {
	triggeredAt, _ := ylem.ParseTime(m.TriggeredAt.ValueString()) // ours: valid, or null
	reported := 0
	for _, task := range m.TaskRuns.Elements() {
		if object, ok := task.(types.Object); ok && !object.Attributes()["is_successful"].IsNull() {
			reported++
		}
	}
	return ylem.RunRef{PipelineUUID: m.PipelineUUID.ValueString(), RunUUID: m.ID.ValueString(), TriggeredAt: triggeredAt, Reported: reported}
}

// setStarted takes over what the answer to the start tells of a run.
func (m *pipelineRunModel) setStarted(ctx context.Context, run ylem.Run) (diags diag.Diagnostics) {
	m.ID = types.StringValue(run.UUID)
	m.Status = types.StringValue(string(ylem.StatusPending))
	m.IsSuccessful = types.BoolNull()
	m.TriggeredAt = timeValue(run.TriggeredAt)
	m.FinishedAt = types.StringNull()
	m.Duration = types.Int64Null()
	tasks := make([]taskRunModel, len(run.TaskRuns))
	for i, task := range run.TaskRuns {
		tasks[i] = taskRunModel{
			TaskUUID:    task.TaskUUID,
			TaskRunUUID: orNull(task.TaskRunUUID != "", types.StringValue(task.TaskRunUUID), types.StringNull()),
			State:       string(ylem.StatusPending),
			Errors:      []taskErrorModel{},
		}
	}
	m.TaskRuns, diags = types.ListValueFrom(ctx, taskRunObject.Type(), tasks)
	return diags
}

// setProgress takes over what the log tells of a run. A log that tells less than was known before, because rows
// have aged out of it, takes nothing back.
func (m *pipelineRunModel) setProgress(ctx context.Context, p ylem.Progress) (diags diag.Diagnostics) {
	if p.Status == ylem.StatusPending {
		if m.TaskRuns.IsNull() {
			m.TaskRuns, diags = types.ListValueFrom(ctx, taskRunObject.Type(), []taskRunModel{})
		}
		return diags
	}
	var known []taskRunModel
	diags.Append(m.TaskRuns.ElementsAs(ctx, &known, false)...)
	tasks := make([]taskRunModel, 0, len(p.Rows)+len(known))
	for _, row := range p.Rows {
		task := taskRunModel{
			TaskUUID:     row.TaskUUID,
			TaskType:     types.StringValue(row.TaskType),
			State:        string(ylem.StatusSucceeded),
			IsSuccessful: types.BoolValue(row.IsSuccessful),
			Duration:     types.Int64Value(row.Duration),
			ExecutedAt:   timeValue(row.ExecutedAt),
			Errors:       taskErrorModels(row.TaskErrors()),
		}
		if !row.IsSuccessful {
			task.State = string(ylem.StatusFailed)
		}
		if i := slices.IndexFunc(known, func(k taskRunModel) bool { return strings.EqualFold(k.TaskUUID, row.TaskUUID) }); i >= 0 {
			task.TaskRunUUID = known[i].TaskRunUUID
			known = slices.Delete(known, i, i+1)
		}
		tasks = append(tasks, task)
	}
	for _, task := range known {
		if task.IsSuccessful.IsNull() { // still to report
			tasks = append(tasks, task)
		}
	}

	m.Status = types.StringValue(string(p.Status))
	if p.Status.Final() {
		m.IsSuccessful = types.BoolValue(p.Status == ylem.StatusSucceeded)
		m.FinishedAt = timeValue(p.FinishedAt)
		m.Duration = types.Int64Value(p.Duration)
	}
	var more diag.Diagnostics
	m.TaskRuns, more = types.ListValueFrom(ctx, taskRunObject.Type(), tasks)
	diags.Append(more...)
	return diags
}

// store writes the state and, where Terraform knows them, the identity.
func (m *pipelineRunModel) store(ctx context.Context, state *tfsdk.State, identity *tfsdk.ResourceIdentity) (diags diag.Diagnostics) {
	m.InputWO = types.StringNull() // write-only
	diags.Append(state.Set(ctx, m)...)
	if identity != nil {
		diags.Append(identity.Set(ctx, pipelineRunIdentity{
			PipelineUUID: types.StringValue(strings.ToLower(m.PipelineUUID.ValueString())),
			RunUUID:      types.StringValue(strings.ToLower(m.ID.ValueString())),
		})...)
	}
	return diags
}

// An imported run knows neither its input nor its triggers. importedKey, in the resource's private state, says so until
// an update has taken them over from the configuration, which starts no run.
const importedKey = "imported"

const newRunUnlessImported = "A change starts a new run; after an import, the first value is adopted without starting a run."

// privateState is what the private states of all requests have in common.
type privateState interface {
	GetKey(ctx context.Context, key string) ([]byte, diag.Diagnostics)
}

func imported(ctx context.Context, private privateState) bool {
	value, _ := private.GetKey(ctx, importedKey)
	return len(value) > 0
}
