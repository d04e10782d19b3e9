package provider

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/datasource/schema"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

var (
	_ datasource.DataSourceWithConfigure        = (*pipelineLogsDataSource)(nil)
	_ datasource.DataSourceWithConfigValidators = (*pipelineLogsDataSource)(nil)
)

func newPipelineLogsDataSource() datasource.DataSource { return &pipelineLogsDataSource{} }

type pipelineLogsDataSource struct{ reader }

type pipelineLogsModel struct {
	PipelineUUID    types.String `tfsdk:"pipeline_uuid"`
	From            types.String `tfsdk:"from"`
	To              types.String `tfsdk:"to"`
	Lookback        types.String `tfsdk:"lookback"`
	PipelineRunUUID types.String `tfsdk:"pipeline_run_uuid"`
	TaskUUID        types.String `tfsdk:"task_uuid"`
	IsSuccessful    types.Bool   `tfsdk:"is_successful"`
	Limit           types.Int64  `tfsdk:"limit"`
	IncludeOutput   types.Bool   `tfsdk:"include_output"`
	Logs            types.List   `tfsdk:"logs"` // null: see largeState
	Runs            types.List   `tfsdk:"runs"` // null: see largeState
	Truncated       types.Bool   `tfsdk:"truncated"`
}

type taskErrorModel struct {
	Code     int64  `tfsdk:"code"`
	Severity string `tfsdk:"severity"`
	Message  string `tfsdk:"message"`
}

func (d *pipelineLogsDataSource) Metadata(_ context.Context, req datasource.MetadataRequest, resp *datasource.MetadataResponse) {
	resp.TypeName = req.ProviderTypeName + "_pipeline_logs"
}

func (d *pipelineLogsDataSource) Schema(_ context.Context, _ datasource.SchemaRequest, resp *datasource.SchemaResponse) {
	attributes := windowAttributes()
	attributes["pipeline_uuid"] = pipelineSubject.uuidAttribute()
	attributes["pipeline_run_uuid"] = schema.StringAttribute{
		Optional:            true,
		MarkdownDescription: "Only this run, such as the `id` of an `ylem_pipeline_run`. Unset: all runs.",
		Validators:          []validator.String{uuidValidator{}},
	}
	attributes["task_uuid"] = schema.StringAttribute{
		Optional:            true,
		MarkdownDescription: fmt.Sprintf("Only this task, such as `%s`. Unset: all tasks.", taskSubject.example),
		Validators:          []validator.String{uuidValidator{}},
	}
	attributes["is_successful"] = schema.BoolAttribute{
		Optional:            true,
		MarkdownDescription: "`true`: only tasks that succeeded; `false`: only tasks that failed. Unset: both.",
	}
	attributes["limit"] = schema.Int64Attribute{
		Optional: true,
		MarkdownDescription: "Only the newest rows that pass the other filters, at most this many, such as `100`; at least `1`. The provider " +
			"stops reading there. Unset: all rows, and all of them are stored in the state.",
		Validators: []validator.Int64{int64validator.AtLeast(1)},
	}
	attributes["include_output"] = schema.BoolAttribute{
		Optional: true,
		MarkdownDescription: "`false` keeps the tasks' outputs, which can be large or private, out of Terraform's state: `output` and `output_base64` are null. " +
			"Unset: `true`.",
	}
	attributes["logs"] = schema.ListNestedAttribute{
		Computed:            true,
		MarkdownDescription: "The tasks that ran, newest first.",
		NestedObject: schema.NestedAttributeObject{Attributes: map[string]schema.Attribute{
			"pipeline_run_uuid": computedString("UUID of the run that the task belongs to."),
			"task_uuid":         computedString("UUID of the task."),
			"task_type":         computedString("Type of the task, such as `query`; empty when Ylem does not report it."),
			"is_successful":     computedBool("Whether the task succeeded."),
			"duration":          computedInt("How long the task took, in milliseconds. Example: `120`."),
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
			"pipeline_run_uuid": computedString("UUID of the run."),
			"is_successful":     computedBool("Whether no task of the run failed."),
			"started_at":        computedString("When the run's first task was executed, RFC 3339, UTC. Example: `2024-01-10T10:00:00.123456Z`."),
			"finished_at":       computedString("When the run's last task was executed, RFC 3339, UTC. Example: `2024-01-10T10:00:05.5Z`."),
			"duration":          computedInt("Sum of its tasks' durations, in milliseconds, as Ylem counts it. Example: `150`."),
			"task_count":        computedInt("How many tasks ran; each pass of a for-each counts. Example: `2`."),
			"failed_task_uuids": schema.ListAttribute{
				Computed: true, ElementType: types.StringType,
				MarkdownDescription: "UUIDs of the tasks that failed, sorted; empty when none did.",
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
	w := readWindow(ctx, req.Config, d.api.client, &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	m.From, m.To = w.fromText, w.toText

	c := logCollector{
		run:           strings.ToLower(m.PipelineRunUUID.ValueString()),
		task:          strings.ToLower(m.TaskUUID.ValueString()),
		isSuccessful:  m.IsSuccessful,
		limit:         m.Limit.ValueInt64(),
		includeOutput: m.IncludeOutput.IsNull() || m.IncludeOutput.ValueBool(),
		runs:          map[string]*runLog{},
	}
	for row, err := range d.api.client.PipelineLogs(ctx, m.PipelineUUID.ValueString(), w.from, w.to) {
		if err != nil {
			pipelineSubject.addError(&resp.Diagnostics, m.PipelineUUID.ValueString(), err)
			return
		}
		if !c.add(row) {
			break
		}
	}
	if c.tooLarge != nil {
		resp.Diagnostics.AddAttributeError(path.Root("pipeline_uuid"), "The log is too large", fmt.Sprintf(
			"The log of pipeline %s from %s to %s: %s. Ask for less: a shorter window, \"limit\", another filter, or include_output = false.",
			m.PipelineUUID.ValueString(), w.fromText.ValueString(), w.toText.ValueString(), c.tooLarge))
		return
	}
	m.Truncated = types.BoolValue(c.truncated)
	resp.Diagnostics.Append(resp.State.Set(ctx, &m)...)
	setLarge(ctx, resp.State, map[string]largeList{"logs": c.logs(), "runs": c.keptRuns()})
}

// logCollector keeps the rows that pass the filters, and counts those that do not.
type logCollector struct {
	run, task     string // "": any
	isSuccessful  types.Bool
	limit         int64 // 0: none
	includeOutput bool

	rows      []ylem.LogRow
	runs      map[string]*runLog
	truncated bool
	held      ylem.HeldLog
	tooLarge  error
}

// runLog is what is kept of a run.
type runLog struct {
	kept            bool
	started, ended  time.Time
	duration, tasks int64
	failed          []string
}

// add takes the next row, and reports whether more are wanted.
func (c *logCollector) add(row ylem.LogRow) bool {
	if c.run != "" && !strings.EqualFold(row.PipelineRunUUID, c.run) {
		return true
	}
	keep := (c.task == "" || strings.EqualFold(row.TaskUUID, c.task)) &&
		(c.isSuccessful.IsNull() || row.Outcome == ylem.OutcomeOf(c.isSuccessful.ValueBool()))
	if keep && c.limit > 0 && int64(len(c.rows)) == c.limit {
		c.truncated = true
		return false
	}

	run := c.runs[row.PipelineRunUUID]
	if run == nil {
		c.tooLarge = c.held.Add(ylem.LogRow{PipelineRunUUID: row.PipelineRunUUID})
		run = &runLog{started: row.ExecutedAt, ended: row.ExecutedAt}
		c.runs[row.PipelineRunUUID] = run
	}
	if row.ExecutedAt.Before(run.started) {
		run.started = row.ExecutedAt
	}
	if row.ExecutedAt.After(run.ended) {
		run.ended = row.ExecutedAt
	}
	run.duration += row.Duration
	run.tasks++
	if row.Outcome == ylem.Failed && !slices.Contains(run.failed, row.TaskUUID) {
		run.failed = append(run.failed, row.TaskUUID)
	}
	if keep {
		run.kept = true
		if !c.includeOutput && row.Outcome != ylem.Failed {
			row.Output = "" // the largest part of a row
		}
		c.rows = append(c.rows, row)
		c.tooLarge = cmp.Or(c.tooLarge, c.held.Add(row))
	}
	return c.tooLarge == nil
}

// logs are the rows that were kept, sorted: Ylem's order of rows with equal times varies from answer to answer.
func (c *logCollector) logs() largeList {
	slices.SortFunc(c.rows, func(a, b ylem.LogRow) int {
		return cmp.Or(
			b.ExecutedAt.Compare(a.ExecutedAt),
			cmp.Compare(a.PipelineRunUUID, b.PipelineRunUUID),
			cmp.Compare(a.TaskUUID, b.TaskUUID),
			cmp.Compare(a.TaskType, b.TaskType),
			cmp.Compare(a.Output, b.Output),
			cmp.Compare(a.Duration, b.Duration),
			cmp.Compare(a.MetricValue, b.MetricValue),
			cmp.Compare(a.Outcome, b.Outcome),
		)
	})
	list := largeList{length: len(c.rows), size: len(c.rows) * 400}
	for _, row := range c.rows {
		list.size += len(row.Output)
	}
	list.element = func(i int) map[string]tftypes.Value {
		row := c.rows[i]
		c.rows[i] = ylem.LogRow{} // so that its output is not held twice
		faults := row.TaskErrors()
		errors := make([]tftypes.Value, len(faults))
		for i, fault := range faults {
			errors[i] = tftypes.NewValue(taskErrorType, map[string]tftypes.Value{
				"code":     intValue(fault.Code),
				"severity": stringValue(fault.Severity),
				"message":  stringValue(fault.Message),
			})
		}
		output, base64 := nullString, nullString
		if c.includeOutput {
			if text, ok := row.DecodeOutput(); ok {
				output = stringValue(text)
			} else {
				base64 = stringValue(row.Output)
			}
		}
		return map[string]tftypes.Value{
			"pipeline_run_uuid": stringValue(row.PipelineRunUUID),
			"task_uuid":         stringValue(row.TaskUUID),
			"task_type":         stringValue(row.TaskType),
			"is_successful":     boolValue(row.Outcome == ylem.Succeeded),
			"duration":          intValue(row.Duration),
			"output":            output,
			"output_base64":     base64,
			"metric_value":      tftypes.NewValue(tftypes.Number, row.MetricValue),
			"executed_at":       timeString(row.ExecutedAt),
			"errors":            tftypes.NewValue(tftypes.List{ElementType: taskErrorType}, errors),
		}
	}
	return list
}

// keptRuns are the runs of the rows that were kept, newest first.
func (c *logCollector) keptRuns() largeList {
	maps.DeleteFunc(c.runs, func(_ string, run *runLog) bool { return !run.kept })
	uuids := slices.SortedFunc(maps.Keys(c.runs), func(a, b string) int {
		return cmp.Or(c.runs[b].started.Compare(c.runs[a].started), cmp.Compare(a, b))
	})
	return largeList{length: len(uuids), size: len(uuids) * 300, element: func(i int) map[string]tftypes.Value {
		run := c.runs[uuids[i]]
		slices.Sort(run.failed)
		failed := make([]tftypes.Value, len(run.failed))
		for i, uuid := range run.failed {
			failed[i] = stringValue(uuid)
		}
		return map[string]tftypes.Value{
			"pipeline_run_uuid": stringValue(uuids[i]),
			"is_successful":     boolValue(len(run.failed) == 0),
			"started_at":        timeString(run.started),
			"finished_at":       timeString(run.ended),
			"duration":          intValue(run.duration),
			"task_count":        intValue(run.tasks),
			"failed_task_uuids": tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, failed),
		}
	}}
}

// taskErrorType is the shape of an element of errors.
var taskErrorType = tftypes.Object{AttributeTypes: map[string]tftypes.Type{
	"code": tftypes.Number, "severity": tftypes.String, "message": tftypes.String,
}}

func taskErrorModels(faults []ylem.TaskError) []taskErrorModel {
	models := make([]taskErrorModel, len(faults))
	for i, fault := range faults {
		models[i] = taskErrorModel(fault)
	}
	return models
}
