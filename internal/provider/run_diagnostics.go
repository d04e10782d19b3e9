package provider

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// caller is who waited for a run.
type caller int

const (
	creating        caller = iota
	creatingWithKey        // the next apply finds the run by its key
	updating
	invoking // the action
	invokingWithKey
)

func (c caller) isAction() bool { return c == invoking || c == invokingWithKey }

// withKey is the caller if the run has an idempotency key.
func (c caller) withKey() caller {
	switch c {
	case creating:
		return creatingWithKey
	case invoking:
		return invokingWithKey
	default:
		return c
	}
}

// next is what to do after a wait that did not end well, by who waited. In the resource's texts, unlessFailed follows.
var next = map[caller]map[ending]string{
	creating: {
		waitFailed:      fixAndAccept + " and run terraform untaint ADDRESS.",
		waitTimedOut:    tainted + "That apply waits for as long as \"update\" in the timeouts block says; \"create\" applies to new runs.",
		waitInterrupted: resumes,
		waitUnreadable:  tainted + "That apply resumes waiting.",
	},
	creatingWithKey: {
		waitFailed:      fixAndAccept + " and run terraform untaint ADDRESS.",
		waitTimedOut:    foundByKey,
		waitInterrupted: resumes,
		waitUnreadable:  foundByKey,
	},
	updating: {
		waitFailed:      fixAndAccept + ".",
		waitTimedOut:    resumesForUpdate,
		waitInterrupted: resumes,
		waitUnreadable:  resumes,
	},
	invoking: {
		waitFailed:      "Fix the pipeline or its input, and invoke the action again.",
		waitTimedOut:    startsAnother + " To wait longer, raise \"timeout\".",
		waitInterrupted: startsAnother,
		waitUnreadable:  "Check the run in Ylem.",
	},
	invokingWithKey: {
		waitFailed:      "Fix the pipeline or its input, and invoke the action again.",
		waitTimedOut:    adoptsIt + " To wait longer, raise \"timeout\".",
		waitInterrupted: adoptsIt,
		waitUnreadable:  "Check the run in Ylem.",
	},
}

const (
	fixAndAccept = "Fix the pipeline or its input; the next apply starts a new run. To accept this one instead, set on_failure = \"warn\""

	resumes          = "The next apply resumes waiting."
	resumesForUpdate = "The next apply resumes waiting, for as long as \"update\" in the timeouts block says."

	tainted = "Terraform has marked the resource as tainted, so a plain apply would start another run. To resume waiting for this one:\n\n" +
		"  terraform untaint ADDRESS\n  terraform apply\n\n"
	foundByKey = "Terraform has marked the resource as tainted. The next apply finds the run by its idempotency key and resumes waiting, if its first task has " +
		"reported by then and it was started less than 24 hours ago."

	startsAnother = "Invoking the action again starts another run: check this one in Ylem."
	adoptsIt      = "Invoking the action again finds the run by its idempotency key, if its first task has reported by then."

	// The next apply begins with a refresh, which may find that the run has failed since.
	unlessFailed = " If the run has failed by then, it starts a new run."
)

// report explains how a wait ended, with errors or warnings as configured.
func (o outcome) report(by caller, onFailure, onTimeout string, diags *diag.Diagnostics) {
	if o.ending == waitSucceeded {
		return
	}
	advice := next[by][o.ending]
	if !by.isAction() && o.ending == waitTimedOut && onTimeout == onWarn {
		advice = resumesForUpdate // a warning taints nothing
	}
	if !by.isAction() && o.ending != waitFailed && onFailure != onWarn {
		advice += unlessFailed
	}
	name := fmt.Sprintf("Run %s of pipeline %s", o.run.RunUUID, o.run.PipelineUUID)
	switch o.ending {
	case waitFailed:
		if onFailure == onWarn {
			advice = "on_failure = \"warn\" accepts it."
		}
		addAs(onFailure, diags, "The run failed", fmt.Sprintf("%s failed within %s.\n\n%s\n%s",
			name, o.took.Round(time.Millisecond), describe(failedTasks(o.progress)), advice))
	case waitTimedOut:
		state := reported(o.progress)
		if len(o.options.FinalTaskUUIDs) == 0 && len(o.progress.Rows) > 0 {
			state += fmt.Sprintf(", the last within %s", brief(o.options.QuietPeriod))
		}
		detail := fmt.Sprintf("%s has not finished within %s and continues in Ylem; %s.\n\n%s", name, brief(o.timeout), state, advice)
		if e, ok := o.requestError(); ok {
			detail += "\n\nThe last attempt to read the log failed:\n" + answer(e)
		}
		addAs(onTimeout, diags, "The run outlasted the timeout", detail)
	case waitInterrupted:
		detail := fmt.Sprintf("%s continues in Ylem; %s. %s", name, reported(o.progress), advice)
		if by.isAction() { // there is no state to resume from
			diags.AddError("Stopped waiting for the run", detail)
		} else {
			diags.AddWarning("Stopped waiting for the run", detail)
		}
	case waitUnreadable:
		e, ok := o.requestError()
		if !ok {
			diags.AddError("Unexpected error", o.err.Error())
			return
		}
		summary, cause := explain(e)
		diags.AddAttributeError(path.Root("wait_for_completion"), summary, fmt.Sprintf(
			"%s was started and continues in Ylem, but waiting for it is not possible. %s\n\n%s\n\n%s", name, cause, advice, answer(e)))
	}
}

// addAs adds an error or a warning, as on_failure or on_timeout says.
func addAs(policy string, diags *diag.Diagnostics, summary, detail string) {
	if policy == onWarn {
		diags.AddWarning(summary, detail)
	} else {
		diags.AddError(summary, detail)
	}
}

func quietPeriodDetail(timeout, quiet time.Duration) string {
	return fmt.Sprintf("Waiting could never succeed: the timeout is %s, but the run counts as finished only after %s of silence. Raise the timeout, "+
		"shorten quiet_period, or set final_task_uuids.", brief(timeout), brief(quiet))
}

// brief is a duration without zeros at its end: 20m, not 20m0s.
func brief(d time.Duration) string {
	s := d.String()
	for _, zero := range []string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = strings.TrimSuffix(s, zero[1:])
		}
	}
	return s
}

// reported says how far a run has got.
func reported(p follow.Progress) string {
	missing := strings.Join(p.Missing, ", ")
	switch n := len(p.Rows); {
	case n == 0 && missing != "":
		return "no task has reported yet; the final " + missing + " must"
	case n == 0:
		return "no task has reported yet"
	case missing != "":
		return tasksHaveReported(n) + ", but not the final " + missing
	default:
		return tasksHaveReported(n)
	}
}

func tasksHaveReported(n int) string {
	if n == 1 {
		return "1 task has reported"
	}
	return fmt.Sprintf("%d tasks have reported", n)
}

// failedTask is a failed task as diagnostics name it.
type failedTask struct {
	uuid, taskType string
	errors         []ylem.TaskError
	output         string // shown if there are no errors
}

func failedTasks(p follow.Progress) []failedTask {
	var tasks []failedTask
	for _, row := range p.Failed() {
		var output string
		if row.TaskType != follow.TaskTypeTrigger { // its output is the run's input, which may be secret
			output, _ = row.DecodeOutput()
		}
		tasks = append(tasks, failedTask{uuid: row.TaskUUID, taskType: row.TaskType, errors: row.TaskErrors(), output: output})
	}
	return tasks
}

// What a diagnostic names at most: a for-each can fail a thousand times.
const (
	maxFailedTasks = 10
	maxTaskErrors  = 5 // of each
)

// describe names each failed task with its errors, a line each.
func describe(tasks []failedTask) string {
	var b strings.Builder
	for i, task := range tasks {
		if i == maxFailedTasks {
			fmt.Fprintf(&b, "and %d more\n", len(tasks)-i)
			break
		}
		var causes []string
		for i, e := range task.errors {
			if i == maxTaskErrors {
				causes = append(causes, fmt.Sprintf("and %d more", len(task.errors)-i))
				break
			}
			causes = append(causes, fmt.Sprintf("%s %d: %s", request.Shorten(e.Severity), e.Code, request.Shorten(e.Message)))
		}
		if len(causes) == 0 {
			causes = []string{"Ylem names no error"}
			if task.output != "" {
				causes = []string{"output: " + request.Shorten(task.output)}
			}
		}
		fmt.Fprintf(&b, "Task %s (%s): %s\n", request.Shorten(task.uuid), request.Shorten(task.taskType), strings.Join(causes, "; "))
	}
	return b.String()
}

// warnOfAdoption says that a run was found instead of started.
func warnOfAdoption(found follow.Started, others []follow.Started, diags *diag.Diagnostics) {
	detail := fmt.Sprintf(
		"No run was started: run %s of pipeline %s (triggered at %s) has this key and input, and has not failed. "+
			"To run the pipeline again, change idempotency_key or a trigger. If another resource already has this run, give this one a key of its own.",
		found.Run.RunUUID, found.Run.PipelineUUID, formatTime(found.Run.TriggeredAt))
	if len(others) > 0 {
		detail += fmt.Sprintf("\n\nThe newest one was taken. These have the same key and have not failed either: %s.", uuidsOf(others))
	}
	diags.AddAttributeWarning(keyPath, "A run with this idempotency key was adopted", detail)
}

// addDoubt reports a run that may have been started.
func addDoubt(diags *diag.Diagnostics, s startRequest, e *request.Error, searched bool, candidates []follow.Started) {
	var b strings.Builder
	fmt.Fprintf(&b, "The request to run pipeline %s was sent at %s (UTC) by Ylem's clock, but Ylem's answer does not say whether a run was started. ",
		s.pipelineUUID, e.SentAt.Format(time.DateTime))
	switch {
	case s.key != "" && searched:
		b.WriteString("No run with the idempotency key has appeared in the log so far. The next start with this key looks again before it starts anything.\n\n")
	case s.key != "":
		b.WriteString("The log could not be searched for the idempotency key. The next start with this key does so before it starts anything.\n\n")
	default:
		b.WriteString("Ylem has no idempotency key of its own, so the request is not repeated, and Terraform does not know the run. " +
			"With idempotency_key, the provider would find it.\n\n")
	}
	switch {
	case s.forAction && len(candidates) > 0:
		fmt.Fprintf(&b, "Runs of the pipeline that have reported since then, of which one may be yours: %s. Check them before you invoke the action again.\n\n", uuidsOf(candidates))
	case s.forAction:
		b.WriteString("Look in Ylem for a run of this pipeline that began at about that time before you invoke the action again.\n\n")
	case len(candidates) > 0:
		b.WriteString("These runs of the pipeline have reported since then. If one of them is yours, import it (after terraform state rm ADDRESS if the state " +
			"still holds an older run). One whose first task has not finished is not listed yet: look in Ylem before you apply again.\n\n")
		for i, run := range candidates {
			if i == maxCandidates {
				fmt.Fprintf(&b, "  and %d more\n", len(candidates)-i)
				break
			}
			fmt.Fprintf(&b, "  terraform import ADDRESS %s/%s", s.pipelineUUID, run.Run.RunUUID)
			if len(s.input.Body) > 0 && run.HasInput(s.input.Body) {
				b.WriteString("  # the same input")
			}
			b.WriteString("\n")
		}
		b.WriteString("\n")
	default:
		fmt.Fprintf(&b, "Look in Ylem for a run of this pipeline that began at about that time. If there is one, import it "+
			"(terraform import ADDRESS %s/RUN_UUID, after terraform state rm ADDRESS if the state still holds an older run); if there is none, apply again.\n\n",
			s.pipelineUUID)
	}
	b.WriteString(answer(e))
	diags.AddAttributeError(path.Root("pipeline_uuid"), "The run may have been started", b.String())
}

const maxCandidates = 5

func uuidsOf(runs []follow.Started) string {
	var uuids []string
	for _, run := range runs[:min(len(runs), maxCandidates)] {
		uuids = append(uuids, run.Run.RunUUID)
	}
	return strings.Join(uuids, ", ")
}

// warnOfUselessKey says that a run which has ended shows no trace of its key.
func (o outcome) warnOfUselessKey(diags *diag.Diagnostics) {
	for _, row := range o.progress.Rows {
		if row.TaskType == follow.TaskTypeTrigger {
			return
		}
	}
	if o.progress.Status.Ended() {
		diags.AddAttributeWarning(keyPath, "The idempotency key had no effect", fmt.Sprintf(
			"Run %s of pipeline %s has no External trigger, so its log does not show its input, and another apply could not find it by its key. "+
				"Let the pipeline begin with an External trigger, or remove idempotency_key.", o.run.RunUUID, o.run.PipelineUUID))
	}
}

// addStartError explains why a run was not started.
func addStartError(diags *diag.Diagnostics, pipelineUUID string, err error) {
	at := path.Root("pipeline_uuid")
	e, ok := errors.AsType[*request.Error](err)
	if !ok {
		addError(diags, at, "pipeline "+pipelineUUID, err)
		return
	}
	notStarted := fmt.Sprintf("No run of pipeline %s was started. ", pipelineUUID)
	switch {
	case e.Deadlock:
		diags.AddAttributeError(at, "Ylem's database rolled the run back", notStarted+
			"Several pipelines were started at once, and Ylem's database had a deadlock each time, most often with pipelines that have never run before. "+
			"Apply again; if it happens again, lower max_concurrent_runs of the provider (1 avoids it, unless others start pipelines too) or raise max_retries.\n\n"+answer(e))
	case e.Op == request.OpRun && e.StatusCode == http.StatusForbidden:
		causes := "The pipeline is paused: resume it in Ylem. Less likely, the OAuth client lacks the scope pipelines:run."
		if e.MissingScope() {
			causes = missingScope(request.OpRun) + " Less likely, the pipeline is paused."
		}
		diags.AddAttributeError(at, "Ylem refuses to run the pipeline", notStarted+causes+"\n\n"+answer(e))
	case e.Op == request.OpRun && e.StatusCode == http.StatusNotFound && e.Message == "":
		diags.AddAttributeError(at, "Ylem finds no pipeline to run", fmt.Sprintf(
			"%sPipeline %s does not exist or was deleted, or is a template, or has no active task. Check the UUID, and the pipeline in Ylem.\n\n%s",
			notStarted, pipelineUUID, answer(e)))
	default:
		summary, advice := explain(e)
		if e.Op == request.OpToken {
			diags.AddError(summary, notStarted+advice+"\n\n"+answer(e))
		} else {
			diags.AddAttributeError(at, summary, notStarted+advice+"\n\n"+answer(e))
		}
	}
}
