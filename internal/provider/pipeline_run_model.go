package provider

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-timeouts/resource/timeouts"
	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
)

type pipelineRunModel struct {
	PipelineUUID      types.String   `tfsdk:"pipeline_uuid"`
	Input             types.String   `tfsdk:"input"`
	InputWO           types.String   `tfsdk:"input_wo"`
	InputWOVersion    types.Int64    `tfsdk:"input_wo_version"`
	IdempotencyKey    types.String   `tfsdk:"idempotency_key"`
	Triggers          types.Map      `tfsdk:"triggers"`
	WaitForCompletion types.Bool     `tfsdk:"wait_for_completion"`
	Completion        types.Object   `tfsdk:"completion"`
	OutputTaskUUIDs   types.Set      `tfsdk:"output_task_uuids"`
	OnFailure         types.String   `tfsdk:"on_failure"`
	OnTimeout         types.String   `tfsdk:"on_timeout"`
	Timeouts          timeouts.Value `tfsdk:"timeouts"`
	Outputs           types.Map      `tfsdk:"outputs"`
	runModel
}

// runModel is what Ylem says about a run, in the resource and in the data source.
type runModel struct {
	ID           types.String `tfsdk:"id"`
	Status       types.String `tfsdk:"status"`
	IsSuccessful types.Bool   `tfsdk:"is_successful"`
	TriggeredAt  types.String `tfsdk:"triggered_at"`
	FinishedAt   types.String `tfsdk:"finished_at"`
	Duration     types.Int64  `tfsdk:"duration"`
	TaskRuns     types.List   `tfsdk:"task_runs"`
}

// pipelineRunIdentity is what names a run across states.
type pipelineRunIdentity struct {
	PipelineUUID types.String `tfsdk:"pipeline_uuid"`
	RunUUID      types.String `tfsdk:"run_uuid"`
}

func newIdentity(pipelineUUID, runUUID string) pipelineRunIdentity {
	return pipelineRunIdentity{PipelineUUID: types.StringValue(strings.ToLower(pipelineUUID)), RunUUID: types.StringValue(strings.ToLower(runUUID))}
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

// run is the run that the state describes, with the rows of its log that are known.
func (m *pipelineRunModel) run(ctx context.Context, diags *diag.Diagnostics) follow.Run {
	triggeredAt, _ := ylem.ParseTime(m.TriggeredAt.ValueString()) // ours: valid, or null
	return follow.Run{PipelineUUID: m.PipelineUUID.ValueString(), RunUUID: m.ID.ValueString(), TriggeredAt: triggeredAt, KnownRows: m.rows(ctx, diags)}
}

// rows are the rows of the log that the state knows.
func (m *runModel) rows(ctx context.Context, diags *diag.Diagnostics) (rows []ylem.LogRow) {
	for _, task := range m.taskRuns(ctx, diags) {
		if task.State == string(follow.Pending) {
			continue
		}
		executedAt, _ := ylem.ParseTime(task.ExecutedAt.ValueString())
		row := ylem.LogRow{
			PipelineRunUUID: m.ID.ValueString(),
			TaskUUID:        task.TaskUUID,
			TaskType:        task.TaskType.ValueString(),
			Duration:        task.Duration.ValueInt64(),
			ExecutedAt:      executedAt,
		}
		if !task.IsSuccessful.IsNull() {
			row.Outcome = ylem.OutcomeOf(task.IsSuccessful.ValueBool())
		}
		if row.Outcome == ylem.Failed {
			row.Output = ylem.EncodeTaskErrors(task.errors())
		}
		rows = append(rows, row)
	}
	return rows
}

func (m *runModel) taskRuns(ctx context.Context, diags *diag.Diagnostics) (tasks []taskRunModel) {
	diags.Append(m.TaskRuns.ElementsAs(ctx, &tasks, false)...)
	return tasks
}

// startRequest is how the run is started.
func (m *pipelineRunModel) startRequest(inputWO types.String, timeout time.Duration, diags *diag.Diagnostics) startRequest {
	s := newStartRequest(m.PipelineUUID, m.Input, inputWO, m.WaitForCompletion, timeout)
	if !m.IdempotencyKey.IsNull() {
		triggers := map[string]string{}
		for name, value := range m.Triggers.Elements() {
			triggers[name] = value.String()
		}
		s.setKey(m.IdempotencyKey.ValueString(), fingerprint(triggers, m.Input.ValueString(), m.InputWOVersion.String()), diags)
	}
	return s
}

// progress is how far the state says that the run has got, and how sure that is.
func (m *pipelineRunModel) progress(ctx context.Context, diags *diag.Diagnostics) follow.Progress {
	completion, _ := completionFrom(ctx, m.Completion, diags)
	return follow.Known(follow.Status(m.Status.ValueString()), m.rows(ctx, diags), completion.FinalTaskUUIDs)
}

// setStarted fills in what the answer to the start says about a run.
func (m *runModel) setStarted(ctx context.Context, run follow.Run, pending []ylem.PendingTaskRun) (diags diag.Diagnostics) {
	m.ID = types.StringValue(run.RunUUID)
	m.Status = types.StringValue(string(follow.Pending))
	m.IsSuccessful = types.BoolNull()
	m.TriggeredAt = timeValue(run.TriggeredAt)
	m.FinishedAt = types.StringNull()
	m.Duration = types.Int64Null()
	tasks := make([]taskRunModel, len(pending))
	for i, task := range pending {
		tasks[i] = taskRunModel{
			TaskUUID:    task.TaskUUID,
			TaskRunUUID: orNull(task.TaskRunUUID != "", types.StringValue(task.TaskRunUUID), types.StringNull()),
			State:       string(follow.Pending),
			Errors:      []taskErrorModel{},
		}
	}
	m.TaskRuns, diags = types.ListValueFrom(ctx, taskRunObject.Type(), tasks)
	if len(run.KnownRows) > 0 { // it was found, and has come some way already
		diags.Append(m.setProgress(ctx, follow.SoFar(run.KnownRows, nil))...)
	}
	return diags
}

// setFound fills in a run that was found in the log.
func (m *runModel) setFound(ctx context.Context, run follow.Run, progress follow.Progress) diag.Diagnostics {
	run.KnownRows = nil // the progress has them
	diags := m.setStarted(ctx, run, nil)
	diags.Append(m.setProgress(ctx, progress)...)
	return diags
}

// setProgress fills in what the log shows of a run. Tasks that the start named and that have not reported stay.
func (m *runModel) setProgress(ctx context.Context, p follow.Progress) (diags diag.Diagnostics) {
	named := m.taskRuns(ctx, &diags)
	tasks := make([]taskRunModel, 0, len(p.Rows)+len(named))
	for _, row := range p.Rows {
		task := taskRunModel{
			TaskUUID:     row.TaskUUID,
			TaskType:     types.StringValue(row.TaskType),
			State:        taskState(row.Outcome),
			IsSuccessful: orNull(row.Outcome != ylem.OutcomeUnknown, types.BoolValue(row.Outcome == ylem.Succeeded), types.BoolNull()),
			Duration:     types.Int64Value(row.Duration),
			ExecutedAt:   timeValue(row.ExecutedAt),
			Errors:       taskErrorModels(row.TaskErrors()),
		}
		if i := slices.IndexFunc(named, func(n taskRunModel) bool { return strings.EqualFold(n.TaskUUID, row.TaskUUID) }); i >= 0 {
			task.TaskRunUUID = named[i].TaskRunUUID
			named = slices.Delete(named, i, i+1)
		}
		tasks = append(tasks, task)
	}
	for _, task := range named {
		if task.State == string(follow.Pending) {
			tasks = append(tasks, task)
		}
	}
	m.Status = types.StringValue(string(p.Status))
	ended := p.Status.Ended()
	m.IsSuccessful = orNull(ended, types.BoolValue(p.Status == follow.Succeeded), types.BoolNull())
	m.FinishedAt = timeValue(p.FinishedAt)
	m.Duration = orNull(ended, types.Int64Value(p.Duration), types.Int64Null())
	// The clocks of Ylem's services differ: a run does not start after its first task.
	triggeredAt, err := ylem.ParseTime(m.TriggeredAt.ValueString())
	if len(p.Rows) > 0 {
		if first := p.Rows[0].ExecutedAt; !first.IsZero() && (err != nil || first.Before(triggeredAt)) {
			m.TriggeredAt = timeValue(first.Truncate(time.Second))
		}
	}
	var more diag.Diagnostics
	m.TaskRuns, more = types.ListValueFrom(ctx, taskRunObject.Type(), tasks)
	diags.Append(more...)
	return diags
}

// keepProgress takes what Ylem has reported so far from another state.
func (m *runModel) keepProgress(from *runModel) {
	m.Status, m.IsSuccessful, m.TriggeredAt = from.Status, from.IsSuccessful, from.TriggeredAt
	m.FinishedAt, m.Duration, m.TaskRuns = from.FinishedAt, from.Duration, from.TaskRuns
}

// forgetProgress makes unknown in a plan what a wait will find out.
func (m *runModel) forgetProgress() {
	m.Status, m.IsSuccessful, m.TriggeredAt = types.StringUnknown(), types.BoolUnknown(), types.StringUnknown()
	m.FinishedAt, m.Duration, m.TaskRuns = types.StringUnknown(), types.Int64Unknown(), types.ListUnknown(taskRunObject.Type())
}

// forgetProgress makes unknown in a plan what a wait will find out.
func (m *pipelineRunModel) forgetProgress() {
	m.runModel.forgetProgress()
	if !m.OutputTaskUUIDs.IsNull() {
		m.Outputs = types.MapUnknown(types.StringType)
	}
}

// outputTasks are the tasks whose outputs are wanted.
func (m *pipelineRunModel) outputTasks(ctx context.Context, diags *diag.Diagnostics) (uuids []string) {
	if !m.OutputTaskUUIDs.IsNull() {
		diags.Append(m.OutputTaskUUIDs.ElementsAs(ctx, &uuids, false)...)
	}
	return uuids
}

// setOutputs fills in the outputs of the wanted tasks, by their UUIDs as they are written; null without any outputs.
func (m *pipelineRunModel) setOutputs(tasks []string, outputs follow.Outputs) {
	m.Outputs = types.MapNull(types.StringType)
	if outputs == nil || len(tasks) == 0 {
		return
	}
	values := map[string]attr.Value{}
	for _, task := range tasks {
		text, ok := outputs.Of(task)
		values[task] = orNull(ok, types.StringValue(text), types.StringNull())
	}
	m.Outputs = types.MapValueMust(types.StringType, values)
}

// taskState is the state of a task that has reported.
func taskState(outcome ylem.Outcome) string {
	switch outcome {
	case ylem.Failed:
		return string(follow.Failed)
	case ylem.Succeeded:
		return string(follow.Succeeded)
	default:
		return "unknown"
	}
}

func (t taskRunModel) errors() []ylem.TaskError {
	errors := make([]ylem.TaskError, len(t.Errors))
	for i, e := range t.Errors {
		errors[i] = ylem.TaskError(e)
	}
	return errors
}

// store writes the state and, where Terraform knows them, the identity.
func (m *pipelineRunModel) store(ctx context.Context, state *tfsdk.State, identity *tfsdk.ResourceIdentity) (diags diag.Diagnostics) {
	m.InputWO = types.StringNull() // write-only
	diags.Append(state.Set(ctx, m)...)
	if identity != nil {
		diags.Append(identity.Set(ctx, newIdentity(m.PipelineUUID.ValueString(), m.ID.ValueString()))...)
	}
	return diags
}
