package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

type pipelineLogsModel struct {
	pipelineModel
	windowModel
	PipelineRunUUID types.String `tfsdk:"pipeline_run_uuid"`
	TaskUUID        types.String `tfsdk:"task_uuid"`
	IsSuccessful    types.Bool   `tfsdk:"is_successful"`
	Limit           types.Int64  `tfsdk:"limit"`
	IncludeOutput   types.Bool   `tfsdk:"include_output"`
	Logs            types.List   `tfsdk:"logs"` // null: see logCollector.store
	Runs            types.List   `tfsdk:"runs"` // null: see logCollector.store
	Truncated       types.Bool   `tfsdk:"truncated"`
}

type taskErrorModel struct {
	Code     int64  `tfsdk:"code"`
	Severity string `tfsdk:"severity"`
	Message  string `tfsdk:"message"`
}

func taskErrorModels(faults []ylem.TaskError) []taskErrorModel {
	models := make([]taskErrorModel, len(faults))
	for i, fault := range faults {
		models[i] = taskErrorModel(fault)
	}
	return models
}

// maxRows is how many rows a state may have. Terraform takes a minute and gigabytes of memory for a few times more.
const maxRows = 25_000

var errTooManyRows = fmt.Errorf("more than %d rows pass the filters, which is more than Terraform can handle in one state", maxRows)

// logCollector keeps the rows that pass the filters, and counts those that do not.
type logCollector struct {
	run, task     string // in lower case; "": any
	isSuccessful  types.Bool
	limit         int64 // 0: none
	includeOutput bool

	rows      []ylem.LogRow
	runs      map[string]*logRun
	truncated bool
	held      ylem.HeldLog
	tooLarge  error
}

// logRun is what is kept of a run.
type logRun struct {
	kept            bool
	started, ended  time.Time
	duration, tasks int64
	failed          map[string]bool // the tasks
	unknown         bool            // the outcome of a task
}

func newLogCollector(m pipelineLogsModel) *logCollector {
	return &logCollector{
		run:           strings.ToLower(m.PipelineRunUUID.ValueString()),
		task:          strings.ToLower(m.TaskUUID.ValueString()),
		isSuccessful:  m.IsSuccessful,
		limit:         m.Limit.ValueInt64(),
		includeOutput: m.IncludeOutput.IsNull() || m.IncludeOutput.ValueBool(),
		runs:          map[string]*logRun{},
	}
}

// filtersAway reports whether rows of a run are of no interest.
func (c *logCollector) filtersAway(runUUID string) bool {
	return c.run != "" && !strings.EqualFold(runUUID, c.run)
}

// add takes the next row, and reports whether more are wanted.
func (c *logCollector) add(row ylem.LogRow) bool {
	// Ylem takes both cases for one UUID. Here they have one form, so that a configuration can compare them.
	row.PipelineRunUUID, row.TaskUUID = strings.ToLower(row.PipelineRunUUID), strings.ToLower(row.TaskUUID)
	if c.filtersAway(row.PipelineRunUUID) {
		return true
	}
	keep := (c.task == "" || row.TaskUUID == c.task) &&
		(c.isSuccessful.IsNull() || row.Outcome == ylem.OutcomeOf(c.isSuccessful.ValueBool()))
	switch {
	case keep && c.limit > 0 && int64(len(c.rows)) == c.limit:
		c.truncated = true
		return false
	case keep && len(c.rows) == maxRows:
		c.tooLarge = errTooManyRows
		return false
	}

	failed := row.Outcome == ylem.Failed
	run := c.runs[row.PipelineRunUUID]
	if run == nil {
		c.hold(ylem.LogRow{PipelineRunUUID: row.PipelineRunUUID})
		run = &logRun{started: row.ExecutedAt, ended: row.ExecutedAt, failed: map[string]bool{}}
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
	run.unknown = run.unknown || row.Outcome == ylem.OutcomeUnknown
	if failed && !run.failed[row.TaskUUID] {
		c.hold(ylem.LogRow{TaskUUID: row.TaskUUID})
		run.failed[row.TaskUUID] = true
	}
	if keep {
		run.kept = true
		if !c.includeOutput && !failed {
			row.Output = "" // the largest part of a row, which only shows the errors of a failed task
		}
		c.rows = append(c.rows, row)
		c.hold(row)
	}
	return c.tooLarge == nil
}

// hold counts what is held of a row.
func (c *logCollector) hold(row ylem.LogRow) { c.tooLarge = cmp.Or(c.tooLarge, c.held.Add(row)) }

// adviceOnOutput ends the advice on a log that is too large.
func (c *logCollector) adviceOnOutput() string {
	if errors.Is(c.tooLarge, ylem.ErrLogTooLarge) && c.includeOutput {
		return ", or set include_output = false"
	}
	return ""
}

// store sets the state's lists. It builds them as Terraform's own values: through models, each row is turned by reflection
// into the framework's values first, and those into Terraform's.
func (c *logCollector) store(ctx context.Context, state *tfsdk.State) (diags diag.Diagnostics) {
	typ := state.Schema.Type().TerraformType(ctx).(tftypes.Object)
	var attributes map[string]tftypes.Value
	if err := state.Raw.As(&attributes); err != nil {
		diags.AddError("Unexpected error", err.Error())
		return diags
	}
	for name, elements := range map[string][]map[string]tftypes.Value{"logs": c.logs(), "runs": c.keptRuns()} {
		list := typ.AttributeTypes[name].(tftypes.List)
		values := make([]tftypes.Value, len(elements))
		for i, element := range elements {
			values[i] = tftypes.NewValue(list.ElementType, element)
		}
		attributes[name] = tftypes.NewValue(list, values)
	}
	state.Raw = tftypes.NewValue(typ, attributes)
	return diags
}

// logs are the rows that were kept, sorted: Ylem's order of rows with equal times varies from answer to answer.
func (c *logCollector) logs() []map[string]tftypes.Value {
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
	logs := make([]map[string]tftypes.Value, len(c.rows))
	for i, row := range c.rows {
		c.rows[i] = ylem.LogRow{} // so that its output is not held twice
		faults := []tftypes.Value{}
		for _, fault := range row.TaskErrors() {
			faults = append(faults, tftypes.NewValue(taskErrorType, map[string]tftypes.Value{
				"code":     intValue(fault.Code),
				"severity": stringValue(fault.Severity),
				"message":  stringValue(fault.Message),
			}))
		}
		output, base64 := nullString, nullString
		if c.includeOutput {
			if text, ok := row.DecodeOutput(); ok {
				output = stringValue(text)
			} else {
				base64 = stringValue(row.Output)
			}
		}
		logs[i] = map[string]tftypes.Value{
			"pipeline_run_uuid": stringValue(row.PipelineRunUUID),
			"task_uuid":         stringValue(row.TaskUUID),
			"task_type":         stringValue(row.TaskType),
			"is_successful":     outcomeValue(row.Outcome),
			"duration":          intValue(row.Duration),
			"output":            output,
			"output_base64":     base64,
			"metric_value":      tftypes.NewValue(tftypes.Number, row.MetricValue),
			"executed_at":       timeString(row.ExecutedAt),
			"errors":            tftypes.NewValue(tftypes.List{ElementType: taskErrorType}, faults),
		}
	}
	return logs
}

// keptRuns are the runs of the rows that were kept, newest first.
func (c *logCollector) keptRuns() []map[string]tftypes.Value {
	maps.DeleteFunc(c.runs, func(_ string, run *logRun) bool { return !run.kept })
	uuids := slices.SortedFunc(maps.Keys(c.runs), func(a, b string) int {
		return cmp.Or(c.runs[b].started.Compare(c.runs[a].started), cmp.Compare(a, b))
	})
	runs := make([]map[string]tftypes.Value, len(uuids))
	for i, uuid := range uuids {
		run := c.runs[uuid]
		failed := []tftypes.Value{}
		for _, uuid := range slices.Sorted(maps.Keys(run.failed)) {
			failed = append(failed, stringValue(uuid))
		}
		runs[i] = map[string]tftypes.Value{
			"pipeline_run_uuid": stringValue(uuid),
			"is_successful":     outcomeValue(run.outcome()),
			"started_at":        timeString(run.started),
			"finished_at":       timeString(run.ended),
			"duration":          intValue(run.duration),
			"task_count":        intValue(run.tasks),
			"failed_task_uuids": tftypes.NewValue(tftypes.List{ElementType: tftypes.String}, failed),
		}
	}
	return runs
}

// outcome is unknown if that of a task is, unless another one failed.
func (r *logRun) outcome() ylem.Outcome {
	switch {
	case len(r.failed) > 0:
		return ylem.Failed
	case r.unknown:
		return ylem.OutcomeUnknown
	default:
		return ylem.Succeeded
	}
}

// taskErrorType is the shape of an element of errors.
var taskErrorType = tftypes.Object{AttributeTypes: map[string]tftypes.Type{
	"code": tftypes.Number, "severity": tftypes.String, "message": tftypes.String,
}}

var nullString = tftypes.NewValue(tftypes.String, nil)

func stringValue(s string) tftypes.Value { return tftypes.NewValue(tftypes.String, s) }
func intValue(n int64) tftypes.Value     { return tftypes.NewValue(tftypes.Number, n) }

func outcomeValue(o ylem.Outcome) tftypes.Value {
	if o == ylem.OutcomeUnknown {
		return tftypes.NewValue(tftypes.Bool, nil)
	}
	return tftypes.NewValue(tftypes.Bool, o == ylem.Succeeded)
}

func timeString(t time.Time) tftypes.Value {
	if t.IsZero() {
		return nullString
	}
	return stringValue(formatTime(t))
}
