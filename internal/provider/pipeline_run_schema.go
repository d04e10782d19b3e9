package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/booldefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/boolplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/int64planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/listplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/planmodifier"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringdefault"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema/stringplanmodifier"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

// Descriptions that the resource and the action share.
const (
	inputDescription = "What the pipeline's *External trigger* task receives, byte for byte, up to 65,535 bytes: usually JSON, written as " +
		"`jsonencode({ day = \"2024-01-31\" })`, but any text will do."
	keyDescription = "A text that names this run, such as `random_uuid.run.result`, `\"release-1.4.2\"` or `\"2024-01-31\"`, up to 200 characters. Before a run is started, the log " +
		"of the last 24 hours is searched for a run with the same key that has not failed: it is adopted, with a warning, and no run is started. So a run whose answer was " +
		"lost, or whose apply was killed, is neither lost nor started twice, once its first task has reported. The key is written into the JSON object `input`, as the member " +
		"`_idempotency_key` (without an `input`, it becomes one), and the pipeline must begin with an *External trigger*. Needs the scope `stats:read`."
	waitDescription = "Whether to wait until the run has ended. Also needs the scope `stats:read`. Defaults to `false`."

	completionDescription = "How the end of the run is recognized: exactly if you name the final tasks, otherwise by a period of silence. Ylem does not report a status " +
		"for a run; it only logs the tasks that have finished. A failed task always ends the run."
	finalTasksDescription = "UUIDs of the tasks that end the pipeline, one for each branch, such as `[\"449c3c47-427e-465e-b1d2-0bf257b714e4\"]`: the run has succeeded " +
		"as soon as all of them have reported. After a for-each, tasks report once for each item, so `quiet_period` must pass as well. Without `final_task_uuids`, the run " +
		"counts as succeeded after `quiet_period`."
	quietPeriodDescription = "Silence after which the run counts as succeeded, as a duration such as `2m`. This is a guess: one task runner serves all " +
		"pipelines of a server, so make it longer than the longest task of any pipeline, or set `final_task_uuids`. Must be shorter than the timeout. Defaults to `30s`."
	pollIntervalDescription = "Time between two polls of the log, as a duration such as `10s`, at least `100ms`. Defaults to `5s`."

	onFailureDescription = "Whether a failed run is an `error` or a warning (`warn`). Defaults to `error`."
	onTimeoutDescription = "Whether a run that outlasts the timeout is an `error` or a warning (`warn`). The run itself continues. Defaults to `error`."
)

// finalTasksValidators check final_task_uuids.
var finalTasksValidators = []validator.Set{
	setvalidator.SizeAtLeast(1), setvalidator.NoNullValues(), setvalidator.ValueStringsAre(uuidValidator{}),
}

// taskRunObject is the shape of an element of task_runs.
var taskRunObject = schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
	"task_uuid":     schema.StringAttribute{Computed: true, MarkdownDescription: "UUID of the task."},
	"task_run_uuid": schema.StringAttribute{Computed: true, MarkdownDescription: "UUID of this run of the task; null if Ylem does not report it."},
	"task_type":     schema.StringAttribute{Computed: true, MarkdownDescription: "Type of the task, such as `query`; null until it has reported."},
	"state":         schema.StringAttribute{Computed: true, MarkdownDescription: "`pending`, `succeeded`, `failed`, or `unknown` if Ylem does not report how the task ended."},
	"is_successful": schema.BoolAttribute{Computed: true, MarkdownDescription: "Whether the task succeeded; null until it has reported, or if Ylem does not report it."},
	"duration":      schema.Int64Attribute{Computed: true, MarkdownDescription: "How long the task took, in milliseconds, such as `120`; null until it has reported."},
	"executed_at":   schema.StringAttribute{Computed: true, MarkdownDescription: "When the task was executed, RFC 3339, UTC; null until it has reported."},
	"errors": schema.ListNestedAttribute{
		Computed:            true,
		MarkdownDescription: "Errors that the task reports; empty if it succeeded.",
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"code":     schema.Int64Attribute{Computed: true, MarkdownDescription: "Ylem's error code, such as `200`."},
			"severity": schema.StringAttribute{Computed: true, MarkdownDescription: "Severity of the error, such as `error`."},
			"message":  schema.StringAttribute{Computed: true, MarkdownDescription: "What went wrong, in Ylem's words."},
		}},
	},
}}

func (r *pipelineRunResource) Schema(ctx context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Starts a run of a pipeline, and optionally waits until it has ended. One resource is one run: creating it starts the run, and whatever replaces it " +
			"starts another. Destroying the resource only removes it from the state; the run is neither stopped nor undone. Needs the scope `pipelines:run`, and " +
			"`stats:read` to follow the run.\n\n" +
			"Ylem has no idempotency key, so the provider never repeats a request that may have started a run; the error says that it may have. " +
			"Terraform stores a resource only when its creation returns. If the provider is killed while it waits, find the run's UUID in the log " +
			"(`TF_LOG_PROVIDER=INFO`: `Started run … of pipeline …`) or in Ylem, and bring the run back with `terraform import`.",
		Attributes: map[string]schema.Attribute{
			"pipeline_uuid": schema.StringAttribute{
				Required: true,
				MarkdownDescription: "UUID of the pipeline to run, such as `" + pipelineSubject.example + "`. Ylem shows it on the pipeline's page. Case-insensitive. Another pipeline means a new run. " +
					"The pipeline must not be paused or a template, and must have an active task.",
				Validators:    []validator.String{uuidValidator{}},
				PlanModifiers: []planmodifier.String{replacedByPipeline()},
			},
			"input": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: inputDescription + " " + newRunUnlessImported + " It is stored in Terraform's state: for secrets, use `input_wo`. Conflicts with `input_wo`.",
				Validators: []validator.String{
					inputValidator{},
					stringvalidator.ConflictsWith(path.MatchRoot("input_wo"), path.MatchRoot("input_wo_version")),
				},
				PlanModifiers: []planmodifier.String{replacedByInput()},
			},
			"input_wo": schema.StringAttribute{
				Optional:  true,
				WriteOnly: true,
				MarkdownDescription: "The same as `input`, for secrets. It is never stored in a plan or in Terraform's state, so Terraform cannot see that it changed: change " +
					"`input_wo_version` with it. A task of the pipeline may still repeat it in its output or its errors. Needs Terraform 1.11 or later. " +
					"Example: `jsonencode({ token = var.token })`. Conflicts with `input`.",
				Validators: []validator.String{inputValidator{}},
			},
			"input_wo_version": schema.Int64Attribute{
				Optional:            true,
				MarkdownDescription: "A number, such as `1`, to increase whenever `input_wo` changes. " + newRunUnlessImported + " Without it, a change of `input_wo` starts no run. Requires `input_wo`.",
				Validators:          []validator.Int64{int64validator.AlsoRequires(path.MatchRoot("input_wo"))},
				PlanModifiers:       []planmodifier.Int64{replacedByVersion()},
			},
			"idempotency_key": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: keyDescription + " Changed `triggers` or `input` are another run under the same key. " + newRunUnlessImported +
					" See the guide [Never run twice](../guides/never-run-twice.md).",
				Validators:    []validator.String{keyValidator{}},
				PlanModifiers: []planmodifier.String{replacedByKey()},
			},
			"triggers": schema.MapAttribute{
				Optional:    true,
				ElementType: types.StringType,
				MarkdownDescription: "Any values whose change starts a new run, such as `{ schema = filesha256(\"schema.sql\") }`. Removing the whole map starts none; " +
					"after an import, the first value is adopted without starting a run.",
				PlanModifiers: []planmodifier.Map{replacedByTriggers()},
			},
			"wait_for_completion": schema.BoolAttribute{
				Optional: true,
				Computed: true,
				Default:  booldefault.StaticBool(false),
				MarkdownDescription: waitDescription + " If the run has not ended yet (after an interrupt, after a timeout with `on_timeout = \"warn\"`, or because this was " +
					"`false`), the next apply waits for it. The plan shows this as an in-place update; no run is started.",
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
						Optional: true, Computed: true, CustomType: durationType{}, Default: stringdefault.StaticString(defaultQuietPeriod.String()),
						MarkdownDescription: quietPeriodDescription,
						PlanModifiers:       []planmodifier.String{keepEqualDuration{}},
					},
					"poll_interval": schema.StringAttribute{
						Optional: true, Computed: true, CustomType: durationType{}, Default: stringdefault.StaticString(defaultPollInterval.String()),
						MarkdownDescription: pollIntervalDescription,
						PlanModifiers:       []planmodifier.String{keepEqualDuration{}},
						Validators:          []validator.String{durationValidator{atLeast: minPollInterval}},
					},
				},
			},
			"on_failure": schema.StringAttribute{
				Optional:            true,
				Computed:            true,
				Default:             stringdefault.StaticString(onError),
				MarkdownDescription: onFailureDescription + " With `error`, the next apply starts a new run; with `warn`, the failed run stays as it is.",
				Validators:          []validator.String{stringvalidator.OneOf(onError, onWarn)},
			},
			"on_timeout": schema.StringAttribute{
				Optional: true,
				Computed: true,
				Default:  stringdefault.StaticString(onError),
				MarkdownDescription: onTimeoutDescription + " With `error`, Terraform taints a new run's resource: run `terraform untaint` to resume waiting, or the next apply starts another run. " +
					"With `warn`, the next apply resumes waiting.",
				Validators: []validator.String{stringvalidator.OneOf(onError, onWarn)},
			},
			"id": schema.StringAttribute{
				Computed:            true,
				MarkdownDescription: "UUID of the run, the `pipeline_run_uuid` of Ylem's logs.",
				PlanModifiers:       []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"status": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "`pending` (no task has reported yet), `running`, `succeeded` or `failed`. A refresh updates it as `completion` describes, except that a run without `wait_for_completion` " +
					"and `completion` counts as succeeded only after a day of silence. `failed` is final, and so is `succeeded` if all `final_task_uuids` have " +
					"reported. Otherwise `succeeded` is a guess: for a day after the last task, a refresh looks again, and may find that a task has reported since: then the run continues or has failed. If the log " +
					"cannot be read, the status stays as it is.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"is_successful": schema.BoolAttribute{
				Computed:            true,
				MarkdownDescription: "Whether the run succeeded; null until the run has ended.",
				PlanModifiers:       []planmodifier.Bool{boolplanmodifier.UseStateForUnknown()},
			},
			"triggered_at": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "When the run was requested, by Ylem's clock and never after its first task: RFC 3339, UTC, such as `2024-01-31T14:23:01Z`. For an imported run: when its " +
					"first task was executed.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"finished_at": schema.StringAttribute{
				Computed: true,
				MarkdownDescription: "When the run's last task was executed, RFC 3339, UTC, such as `2024-01-31T14:23:09.5Z`; null until the run has ended. For a failed run: as far as its " +
					"tasks had reported when the failure was seen.",
				PlanModifiers: []planmodifier.String{stringplanmodifier.UseStateForUnknown()},
			},
			"duration": schema.Int64Attribute{
				Computed: true,
				MarkdownDescription: "Sum of its tasks' durations, in milliseconds, as Ylem counts it, such as `1250`; null until the run has ended. For a failed run: as far as its " +
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
		CreateDescription: "How long to wait for a new run, as a duration such as `45m`. Defaults to `20m`.",
		UpdateDescription: "How long to wait for a run that was started earlier, as a duration such as `45m`. Defaults to `20m`.",
	}).(schema.SingleNestedBlock)
	block.MarkdownDescription = "How long to wait for a run. Without `wait_for_completion` it has no effect."
	for name, attribute := range block.Attributes {
		duration := attribute.(schema.StringAttribute)
		duration.Validators = []validator.String{durationValidator{}}
		block.Attributes[name] = duration
	}
	return block
}
