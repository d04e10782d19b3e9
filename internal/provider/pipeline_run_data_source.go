package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

var _ datasource.DataSourceWithConfigure = (*pipelineRunDataSource)(nil)

func newPipelineRunDataSource() datasource.DataSource { return &pipelineRunDataSource{} }

type pipelineRunDataSource struct{ dataSourceBase }

type pipelineRunDataModel struct {
	pipelineModel
	Completion     types.Object `tfsdk:"completion"`
	IncludeOutputs types.Bool   `tfsdk:"include_outputs"`
	runModel
	Input   types.String `tfsdk:"input"`
	Outputs types.Map    `tfsdk:"outputs"`
}

func (d *pipelineRunDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_run"
}

// presumption says what happens unless a configuration presumes an end earlier.
const presumption = "Without `completion`, a run in which no task failed counts as `running` until a day after its last task."

func (d *pipelineRunDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Reads how far a run has got, also one that others started: a schedule, Ylem's web interface or another configuration. Needs the scope `stats:read`.\n\n" +
			"The run is looked for in the pipeline's log of the last day, then of the last month, then of all time. One that is not found is an error: a run appears in the log " +
			"when its first task has finished. To find runs whose UUID you do not know, use the list resource `ylem_pipeline_run` or the data source `ylem_pipeline_logs`.",
		Attributes: map[string]schema.Attribute{
			"pipeline_uuid": pipelineSubject.uuidAttribute(),
			"id": schema.StringAttribute{
				Required:            true,
				MarkdownDescription: "UUID of the run, such as `95295cbc-cee7-49cc-a11a-2f1788423934`: the `pipeline_run_uuid` of Ylem's logs. Case-insensitive.",
				Validators:          []validator.String{uuidValidator{}},
			},
			"completion": schema.SingleNestedAttribute{
				Optional:            true,
				MarkdownDescription: completionDescription + " " + presumption,
				Attributes: map[string]schema.Attribute{
					"final_task_uuids": schema.SetAttribute{
						Optional: true, ElementType: types.StringType, MarkdownDescription: finalTasksDescription, Validators: finalTasksValidators,
					},
					"quiet_period": schema.StringAttribute{
						Optional: true, CustomType: durationType{}, MarkdownDescription: quietPeriodGuess + " Defaults to `30s`.",
					},
				},
			},
			"include_outputs": schema.BoolAttribute{
				Optional: true,
				MarkdownDescription: "`true` also reads what the run received and what its tasks returned: `input` and `outputs`. They can be large or private, and Terraform's state " +
					"stores them. Defaults to `false`.",
			},
			"status":        computedString("`running`, `succeeded` or `failed`, as `completion` describes. " + presumption),
			"is_successful": computedBool("Whether the run succeeded; null until the run has ended."),
			"triggered_at":  computedString("When its first task was executed, RFC 3339, UTC. Example: `2024-01-31T14:23:01Z`."),
			"finished_at":   computedString("When its last task was executed, RFC 3339, UTC; null until the run has ended. Example: `2024-01-31T14:23:09.5Z`."),
			"duration":      computedInt("Sum of its tasks' durations, in milliseconds, as Ylem counts it; null until the run has ended. Example: `1250`."),
			"task_runs": schema.ListNestedAttribute{
				Computed:            true,
				MarkdownDescription: "The tasks that have reported so far, oldest first.",
				NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
					"task_uuid":     computedString("UUID of the task."),
					"task_run_uuid": computedString("Always null: Ylem's log does not show it. It is here because the resource has it."),
					"task_type":     computedString("Type of the task, such as `query`; empty if Ylem does not report it."),
					"state":         computedString("`succeeded`, `failed`, or `unknown` if Ylem does not report how the task ended."),
					"is_successful": computedBool("Whether the task succeeded; null if Ylem does not report it."),
					"duration":      computedInt("How long the task took, in milliseconds. Example: `120`."),
					"executed_at":   computedString("When the task was executed, RFC 3339, UTC."),
					"errors": schema.ListNestedAttribute{
						Computed:            true,
						MarkdownDescription: "Errors that the task reports; empty if it succeeded.",
						NestedObject:        schema.NestedAttributeObject{Attributes: taskErrorAttributes()},
					},
				}},
			},
			"input": schema.StringAttribute{
				Computed: true, Sensitive: true,
				MarkdownDescription: "What the pipeline's *External trigger* received, byte for byte, with the idempotency key if there is one. Null without `include_outputs`, and if " +
					"the run received nothing, or nothing that is text, or has no such task. Example: `{\"day\":\"2024-01-31\"}`.",
			},
			"outputs": schema.MapAttribute{
				Computed: true, Sensitive: true, ElementType: types.StringType,
				MarkdownDescription: "What each task returned, by the task's UUID in lower case, as text; the errors as JSON if it failed. If it reported several times, the last " +
					"output. Null for a task whose output is not text. Without `include_outputs`, the whole map is null. Example: `{ \"449c3c47-427e-465e-b1d2-0bf257b714e4\" = " +
					"\"[{\\\"amount\\\":299.76}]\" }`.",
			},
		},
	}
}

func (d *pipelineRunDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m pipelineRunDataModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	completion := endFrom(ctx, m.Completion, &resp.Diagnostics)
	if resp.Diagnostics.HasError() || !d.api.ready(&resp.Diagnostics) {
		return
	}
	record, found, err := d.api.follower.Look(ctx, m.uuid(), m.ID.ValueString(), m.IncludeOutputs.ValueBool())
	if err != nil {
		pipelineSubject.addError(&resp.Diagnostics, m.uuid(), err)
		return
	}
	if !found {
		addNotInLog(&resp.Diagnostics, path.Root("id"), m.uuid(), m.ID.ValueString(), "read it again a little later.")
		return
	}
	id := m.ID
	resp.Diagnostics.Append(m.setFound(ctx, record.Run, record.Progress(completion))...)
	m.ID = id // as written
	m.setOutputs(record)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
}

// setOutputs fills in what the run received and returned, if that is wanted.
func (m *pipelineRunDataModel) setOutputs(record follow.Record) {
	m.Input, m.Outputs = types.StringNull(), types.MapNull(types.StringType)
	if !m.IncludeOutputs.ValueBool() {
		return
	}
	if text, known := record.Input(); known {
		m.Input = types.StringValue(text)
	}
	outputs := map[string]attr.Value{}
	for task, row := range record.Outputs {
		text, ok := row.DecodeOutput()
		outputs[task] = orNull(ok, types.StringValue(text), types.StringNull())
	}
	m.Outputs = types.MapValueMust(types.StringType, outputs)
}

// endFrom reads the attribute completion of what only looks at runs. Without it, only a day of silence is an end.
func endFrom(ctx context.Context, object types.Object, diags *diag.Diagnostics) follow.Completion {
	if object.IsNull() {
		return follow.Completion{QuietPeriod: follow.Day}
	}
	var m endModel
	diags.Append(object.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	return m.completion(ctx, diags)
}
