package provider

import (
	"context"
	"errors"
	"fmt"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

var (
	_ datasource.DataSourceWithConfigure        = (*pipelineLogsDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*pipelineLogsDataSource)(nil)
)

func newPipelineLogsDataSource() datasource.DataSource { return &pipelineLogsDataSource{} }

type pipelineLogsDataSource struct{ dataSourceBase }

func (d *pipelineLogsDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_logs"
}

func (d *pipelineLogsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := windowAttributes()
	attributes["pipeline_uuid"] = pipelineSubject.uuidAttribute()
	attributes["pipeline_run_uuid"] = schema.StringAttribute{
		Optional:            true,
		MarkdownDescription: "Only this run, such as the `id` of an `ylem_pipeline_run`. Case-insensitive.",
		Validators:          []validator.String{uuidValidator{}},
	}
	attributes["task_uuid"] = schema.StringAttribute{
		Optional:            true,
		MarkdownDescription: fmt.Sprintf("Only this task, such as `%s`. Case-insensitive.", taskSubject.example),
		Validators:          []validator.String{uuidValidator{}},
	}
	attributes["is_successful"] = schema.BoolAttribute{
		Optional:            true,
		MarkdownDescription: "`true`: only tasks that succeeded; `false`: only tasks that failed. Either leaves out tasks whose outcome Ylem does not report.",
	}
	attributes["limit"] = schema.Int64Attribute{
		Optional: true,
		MarkdownDescription: fmt.Sprintf("Maximum number of rows, newest first, after filtering, such as `100`; at most `%d`. The provider stops reading there. "+
			"Without it, a log with more than %[1]d such rows is refused: Terraform itself cannot handle a larger state.", maxRows),
		Validators: []validator.Int64{int64validator.Between(1, maxRows)},
	}
	attributes["include_output"] = schema.BoolAttribute{
		Optional: true,
		MarkdownDescription: "`false` keeps the tasks' outputs, which can be large or private, out of Terraform's state: `output` and `output_base64` are null. " +
			"Defaults to `true`.",
	}
	attributes["logs"] = schema.ListNestedAttribute{
		Computed:            true,
		MarkdownDescription: "The tasks that ran, newest first.",
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"pipeline_run_uuid": computedString("UUID of the run that the task belongs to, in lower case."),
			"task_uuid":         computedString("UUID of the task, in lower case."),
			"task_type":         computedString("Type of the task, such as `query`; empty when Ylem does not report it."),
			"is_successful":     computedBool("Whether the task succeeded; null when Ylem does not report it."),
			"duration":          computedInt("Duration of the task, in milliseconds. Example: `120`."),
			"output": computedString("The task's output as text, decoded; the error as JSON when the task failed. Null when it is not text (see `output_base64`), " +
				"or `include_output` is false. Example: `[{\"amount\":299.76}]`."),
			"output_base64": computedString("The output as Ylem sent it, base64, when it is not text; else null. Example: `/wD+AcMogEE=`."),
			"metric_value":  schema.Float64Attribute{Computed: true, MarkdownDescription: "Value that a metric task computed; `0` for other tasks. Example: `3.5`."},
			"executed_at":   computedString("When the task was executed, RFC 3339, UTC. Example: `2024-01-10T10:00:00.123456Z`."),
			"errors": schema.ListNestedAttribute{
				Computed:            true,
				MarkdownDescription: "Errors that the task reports; empty when it succeeded, or when its output is not a list of errors.",
				NestedObject:        schema.NestedAttributeObject{Attributes: taskErrorAttributes()},
			},
		}},
	}
	attributes["runs"] = schema.ListNestedAttribute{
		Computed: true,
		MarkdownDescription: "The runs that `logs` belong to, newest first. They count every task of the run, also those that the filters keep out of `logs`. " +
			"When `truncated`, tasks of a run that come after the last row are not counted.",
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"pipeline_run_uuid": computedString("UUID of the run, in lower case."),
			"is_successful":     computedBool("Whether no task of the run failed; null when none failed but the outcome of one is unknown."),
			"started_at":        computedString("When the run's first task was executed, RFC 3339, UTC. Example: `2024-01-10T10:00:00.123456Z`."),
			"finished_at":       computedString("When the run's last task was executed, RFC 3339, UTC. Example: `2024-01-10T10:00:05.5Z`."),
			"duration":          computedInt("Sum of its tasks' durations, in milliseconds, as Ylem counts it. Example: `150`."),
			"task_count":        computedInt("Number of tasks that ran; each pass of a for-each counts. Example: `2`."),
			"failed_task_uuids": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "UUIDs of the tasks that failed, in lower case, sorted; empty when none did.",
			},
		}},
	}
	attributes["truncated"] = computedBool("Whether there are more rows than `limit`.")
	resp.Schema = schema.Schema{
		MarkdownDescription: "Reads the log of a pipeline: which tasks ran in a window of time, how they ended and what they returned. Needs the scope `stats:read`.\n\n" +
			"A run with at least one task in the window is returned with all of its tasks. Ylem answers with the whole window at once, " +
			"so use a short one. A pipeline that does not exist has an empty log.",
		Attributes: attributes,
	}
}

func taskErrorAttributes() map[string]schema.Attribute {
	return map[string]schema.Attribute{
		"code":     computedInt("Ylem's error code. Example: `200`."),
		"severity": computedString("Severity of the error, such as `error`."),
		"message":  computedString("What went wrong, in Ylem's words."),
	}
}

func (d *pipelineLogsDataSource) ConfigValidators(context.Context) []datasource.ConfigValidator {
	return windowValidators()
}

func (d *pipelineLogsDataSource) Read(ctx context.Context, req datasource.ReadRequest, resp *datasource.ReadResponse) {
	var m pipelineLogsModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() || !d.api.ready(&resp.Diagnostics) {
		return
	}
	w := m.read(ctx, d.api.client, 0, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	c := newLogCollector(m)
	for row, err := range d.api.client.PipelineLogs(ctx, m.uuid(), w.from, w.to) {
		if unreadable, ok := errors.AsType[*ylem.RowError](err); ok && c.filtersAway(unreadable.RunUUID) {
			continue
		}
		if err != nil {
			pipelineSubject.addError(&resp.Diagnostics, m.uuid(), err)
			return
		}
		if !c.add(row) {
			break
		}
	}
	if c.tooLarge != nil {
		resp.Diagnostics.AddAttributeError(path.Root("pipeline_uuid"), "The log is too large", fmt.Sprintf(
			"The log of pipeline %s from %s to %s: %s. Ask for less: set \"limit\" or another filter, shorten the window%s.",
			m.uuid(), m.From.ValueString(), m.To.ValueString(), c.tooLarge, c.adviceOnOutput()))
		return
	}
	m.Truncated = types.BoolValue(c.truncated)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	resp.Diagnostics.Append(c.store(ctx, &resp.State)...)
}
