package provider

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-framework/types/basetypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// What waiting does unless it is told otherwise.
const (
	defaultQuietPeriod  = "30s"
	defaultPollInterval = "5s"
	defaultTimeout      = 20 * time.Minute
	minPollInterval     = 100 * time.Millisecond

	orError = "error" // of on_failure and on_timeout
	orWarn  = "warn"
)

// Descriptions that the resource and the action share: both start a run and wait for it.
const (
	inputDescription = "What the pipeline's *External trigger* task receives, byte for byte: usually JSON, written as " +
		"`jsonencode({ day = \"2024-01-31\" })`, but any text will do, up to 65,535 bytes."
	waitDescription = "`true` waits until the run has finished. Also needs the scope `stats:read`. Unset: `false`."

	completionDescription = "How the end of the run is recognized. Ylem does not report a status for a run: it only logs the tasks that have finished, " +
		"not how many there are. A failed task always ends the run. Unset: the defaults below."
	finalTasksDescription = "UUIDs of the tasks that end the pipeline, one for each branch, at least one, such as `[\"449c3c47-427e-465e-b1d2-0bf257b714e4\"]`: the run has succeeded " +
		"as soon as all of them have reported. Unset: it has succeeded once no task has reported for `quiet_period`."
	quietPeriodDescription = "The run counts as succeeded once no task has reported for this long, as a duration such as `2m`. Make it longer than the pipeline's " +
		"longest task, or set `final_task_uuids`, which is exact. Must be shorter than the timeout of the wait. Unset: `30s`."
	pollIntervalDescription = "Time between two polls of the log, as a duration such as `10s`, at least `100ms`. Unset: `5s`."

	onFailureDescription = "What happens when the run fails while it is being waited for: `error` or `warn`. Unset: `error`."
	onTimeoutDescription = "What happens when the run takes longer than the timeout: `error` or `warn`; the run itself continues. Unset: `error`."
)

// finalTasksValidators check final_task_uuids.
var finalTasksValidators = []validator.Set{
	setvalidator.SizeAtLeast(1), setvalidator.NoNullValues(), setvalidator.ValueStringsAre(uuidValidator{}),
}

// completionModel is the attribute completion.
type completionModel struct {
	FinalTaskUUIDs types.Set    `tfsdk:"final_task_uuids"`
	QuietPeriod    types.String `tfsdk:"quiet_period"`
	PollInterval   types.String `tfsdk:"poll_interval"`
}

// completionFrom reads the attribute completion; what is unset has its default.
func completionFrom(ctx context.Context, object types.Object, diags *diag.Diagnostics) (c ylem.Completion, pollInterval time.Duration) {
	var m completionModel
	if !object.IsNull() {
		diags.Append(object.As(ctx, &m, basetypes.ObjectAsOptions{})...)
	}
	if !m.FinalTaskUUIDs.IsNull() {
		diags.Append(m.FinalTaskUUIDs.ElementsAs(ctx, &c.FinalTaskUUIDs, false)...)
	}
	at := path.Root("completion")
	c.QuietPeriod = durationFrom(cmp.Or(m.QuietPeriod.ValueString(), defaultQuietPeriod), at, diags)
	return c, durationFrom(cmp.Or(m.PollInterval.ValueString(), defaultPollInterval), at, diags)
}

// durationFrom reads an attribute that its validator has seen, unless it was unknown then.
func durationFrom(text string, at path.Path, diags *diag.Diagnostics) time.Duration {
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		diags.AddAttributeError(at, "Invalid duration", fmt.Sprintf("%q is not %s.", text, durationForm))
	}
	return d
}

// validateQuietPeriod refuses a wait that runs out of time before the quiet period can be over.
func validateQuietPeriod(ctx context.Context, config tfsdk.Config, timeoutText types.String, diags *diag.Diagnostics) {
	var wait types.Bool
	var finalTasks types.Set
	var quietText types.String
	completion := path.Root("completion")
	diags.Append(config.GetAttribute(ctx, path.Root("wait_for_completion"), &wait)...)
	diags.Append(config.GetAttribute(ctx, completion.AtName("final_task_uuids"), &finalTasks)...)
	diags.Append(config.GetAttribute(ctx, completion.AtName("quiet_period"), &quietText)...)
	if !wait.ValueBool() || !finalTasks.IsNull() || quietText.IsUnknown() || timeoutText.IsUnknown() {
		return
	}
	timeout := defaultTimeout
	if d, err := time.ParseDuration(timeoutText.ValueString()); err == nil {
		timeout = d
	}
	quiet, err := time.ParseDuration(cmp.Or(quietText.ValueString(), defaultQuietPeriod))
	if err == nil && quiet >= timeout && timeout > 0 {
		diags.AddAttributeError(completion.AtName("quiet_period"), "The quiet period outlasts the timeout", fmt.Sprintf(
			"No wait could succeed: a run is waited for %s, but counts as finished only once no task has reported for %s. Raise the timeout, "+
				"shorten quiet_period, or set final_task_uuids.", timeout, quiet))
	}
}

// start starts a run. Where the run is to be waited for, it makes sure first that its log may be read: a run that
// is started and cannot be followed helps nobody.
func (a api) start(ctx context.Context, pipelineUUID string, input, inputWO types.String, wait bool, diags *diag.Diagnostics) (ylem.Run, bool) {
	if wait {
		if err := a.client.CanWatch(ctx, pipelineUUID); err != nil {
			addStartError(diags, pipelineUUID, err)
			return ylem.Run{}, false
		}
	}
	run, err := a.client.RunPipeline(ctx, pipelineUUID, []byte(cmp.Or(input.ValueString(), inputWO.ValueString())))
	if err != nil {
		addStartError(diags, pipelineUUID, err)
		return ylem.Run{}, false
	}
	return run, true
}

// waiting is how a run is waited for, and what is told of the ways in which that can end.
type waiting struct {
	run                  ylem.RunRef
	watch                ylem.Watch
	onFailure, onTimeout string
	timeout              time.Duration

	// What to do next.
	afterFailure   string // that is an error
	afterTimeout   string
	afterInterrupt string
	afterRefusal   string // the log may not be read
}

// wait waits for a run and explains how that ended, with errors or warnings as configured.
func (a api) wait(ctx context.Context, w waiting, diags *diag.Diagnostics) ylem.Progress {
	started := time.Now()
	limited, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	progress, err := a.client.WatchRun(limited, w.run, w.watch)
	name := fmt.Sprintf("Run %s of pipeline %s", w.run.RunUUID, w.run.PipelineUUID)
	failure, answered := errors.AsType[*ylem.Error](err)

	switch {
	case progress.Status == ylem.StatusFailed:
		next := w.afterFailure
		if w.onFailure == orWarn {
			next = "on_failure = \"warn\" accepts it."
		}
		report(diags, w.onFailure, "The run failed", fmt.Sprintf("%s failed within %s.\n\n%s\n%s", name, tookFor(progress, w.run, started), describe(failedTasks(progress)), next))
	case progress.Status == ylem.StatusSucceeded:
	case ctx.Err() != nil:
		diags.AddWarning("Stopped waiting for the run", fmt.Sprintf("%s continues in Ylem; %s. %s", name, reported(progress), w.afterInterrupt))
	case limited.Err() != nil:
		state := reported(progress)
		if len(w.watch.FinalTaskUUIDs) == 0 && len(progress.Rows) > 0 {
			state += fmt.Sprintf(", the last within %s", w.watch.QuietPeriod)
		}
		detail := fmt.Sprintf("%s has not finished within %s and continues in Ylem; %s.\n\n%s", name, w.timeout, state, w.afterTimeout)
		if answered {
			detail += "\n\nThe last attempt to read the log failed:\n" + answer(failure)
		}
		report(diags, w.onTimeout, "The run outlasted the timeout", detail)
	case answered:
		summary, advice := explain(failure)
		diags.AddAttributeError(path.Root("wait_for_completion"), summary, fmt.Sprintf(
			"%s was started and continues in Ylem, but it cannot be waited for. %s\n\n%s\n\n%s", name, advice, w.afterRefusal, answer(failure)))
	default:
		diags.AddError("Unexpected error", err.Error())
	}
	return progress
}

// report adds an error or a warning, as the policy says.
func report(diags *diag.Diagnostics, policy, summary, detail string) {
	if policy == orWarn {
		diags.AddWarning(summary, detail)
	} else {
		diags.AddError(summary, detail)
	}
}

func tookFor(p ylem.Progress, run ylem.RunRef, waitedSince time.Time) time.Duration {
	if took := p.FinishedAt.Sub(run.TriggeredAt); took > 0 {
		return took.Round(time.Millisecond)
	}
	return time.Since(waitedSince).Round(time.Millisecond)
}

// reported tells how far a run has got.
func reported(p ylem.Progress) string {
	var text string
	switch n := len(p.Rows); n {
	case 0:
		text = "no task has reported yet"
	case 1:
		text = "1 task has reported"
	default:
		text = fmt.Sprintf("%d tasks have reported", n)
	}
	if len(p.Missing) > 0 {
		text += ", but not the final " + strings.Join(p.Missing, ", ")
	}
	return text
}

// failedTask is a failed task as diagnostics name it.
type failedTask struct {
	uuid, taskType string
	faults         []taskErrorModel
	output         string // shown where there are no faults
}

func failedTasks(p ylem.Progress) []failedTask {
	var tasks []failedTask
	for _, row := range p.Failed() {
		output, _ := row.DecodeOutput()
		tasks = append(tasks, failedTask{uuid: row.TaskUUID, taskType: row.TaskType, faults: taskErrorModels(row.TaskErrors()), output: output})
	}
	return tasks
}

// How much a diagnostic names: a for-each can fail a thousand times.
const (
	maxFailures = 10 // tasks
	maxFaults   = 5  // of each
)

// describe names each failed task with its faults, a line each.
func describe(failed []failedTask) string {
	var b strings.Builder
	for i, task := range failed {
		if i == maxFailures {
			fmt.Fprintf(&b, "and %d more\n", len(failed)-i)
			break
		}
		var faults []string
		for i, fault := range task.faults {
			if i == maxFaults {
				faults = append(faults, fmt.Sprintf("and %d more", len(task.faults)-i))
				break
			}
			faults = append(faults, fmt.Sprintf("%s %d: %s", ylem.Shorten(fault.Severity), fault.Code, ylem.Shorten(fault.Message)))
		}
		if len(faults) == 0 {
			faults = []string{"Ylem names no error"}
			if task.output != "" {
				faults = []string{"output: " + ylem.Shorten(task.output)}
			}
		}
		fmt.Fprintf(&b, "Task %s (%s): %s\n", ylem.Shorten(task.uuid), ylem.Shorten(task.taskType), strings.Join(faults, "; "))
	}
	return b.String()
}
