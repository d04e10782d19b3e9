package ylem

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

// MaxInput is the longest input of a run that an open-source server can store, in bytes.
const MaxInput = 65535

// Run is a run that was started.
type Run struct {
	UUID        string
	TriggeredAt time.Time // by the server's clock, to the second
	TaskRuns    []PendingTaskRun
}

// PendingTaskRun is a task that waits to be run. Only the reference dialect tells them.
type PendingTaskRun struct {
	TaskUUID    string
	TaskRunUUID string // "" where the answer has none
}

// RunPipeline starts a run. The input is what the pipeline's External trigger task receives, byte for byte; an
// empty one is not sent.
//
// It is not idempotent, and Ylem has no idempotency key: a request that may have reached Ylem is never sent
// again. An error's MaybeStarted tells whether the run may have been started all the same. When ctx ends while a
// request is under way, its answer is waited for a little longer.
func (c *Client) RunPipeline(ctx context.Context, pipelineUUID string, input []byte) (Run, error) {
	uuid, err := lowerUUID(OpRun, pipelineUUID)
	if err != nil {
		return Run{}, err
	}
	// The trailing slash belongs to the route.
	r := request{op: OpRun, method: http.MethodPost, path: []string{"pipelines", uuid, "runs", ""}, body: input}
	if len(input) > 0 {
		r.contentType = "text/plain; charset=utf-8"
		if json.Valid(input) {
			r.contentType = "application/json"
		}
	}

	if err := c.runSlots.Acquire(ctx, 1); err != nil {
		return Run{}, c.newError(r, nil, err)
	}
	defer c.runSlots.Release(1)

	sendCtx, attempt := withAttempt(withRepeats(ctx, c.starts.RetryMax))
	sendCtx, cancel := context.WithCancel(sendCtx)
	defer cancel()
	// An answer that is on its way is worth a moment: without it nobody knows the run.
	defer context.AfterFunc(ctx, func() {
		if !attempt.connected.Load() {
			cancel()
			return
		}
		time.AfterFunc(c.grace, cancel)
	})()
	resp, err := c.send(sendCtx, c.starts, r)
	sentAt := func() time.Time {
		if sent := attempt.sent.Load(); sent != nil {
			return sent.Add(time.Duration(c.skew.Load())).UTC()
		}
		return c.now()
	}
	if e, ok := errors.AsType[*Error](err); ok && e.Op == OpRun {
		e.MaybeStarted = e.StatusCode == 0 && attempt.connected.Load() || maybeStarted(e.StatusCode, e.header)
		e.SentAt = sentAt()
	}
	if err != nil {
		return Run{}, err
	}
	defer func() { _ = resp.Body.Close() }()

	run := Run{TriggeredAt: c.now().Truncate(time.Second)}
	if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
		run.TriggeredAt = date.UTC()
	}
	body, _, err := readBody(resp, maxRunBody)
	if err == nil {
		if run.UUID, run.TaskRuns, err = decodeRun(body); err != nil {
			err = c.unreadable(r, body, err)
		}
	}
	if err != nil {
		e := c.newError(r, nil, err)
		e.StatusCode, e.MaybeStarted, e.SentAt = resp.StatusCode, true, sentAt()
		return Run{}, e
	}
	// Terraform stores nothing of a resource before its creation returns: this line is what is left of the run
	// when the process is killed before that.
	c.logger.InfoContext(ctx, fmt.Sprintf("Started run %s of pipeline %s", run.UUID, uuid))
	return run, nil
}

// runAnswer is an element of the reference dialect's answer, or all of the open-source server's.
type runAnswer struct {
	PipelineRunUUID string `json:"pipeline_run_uuid"`
	WorkflowRunUUID string `json:"workflow_run_uuid"`
	TaskUUID        string `json:"task_uuid"`
	TaskRunUUID     string `json:"task_run_uuid"`
}

func (a runAnswer) runUUID() string {
	if a.PipelineRunUUID != "" {
		return a.PipelineRunUUID
	}
	return a.WorkflowRunUUID
}

const nilUUID = "00000000-0000-0000-0000-000000000000"

// decodeRun understands all three forms of the answer: {"pipeline_run_uuid"}, the older {"workflow_run_uuid"},
// and the reference's array of pending task runs.
func decodeRun(body []byte) (uuid string, tasks []PendingTaskRun, err error) {
	var answers list[runAnswer]
	switch body = bytes.TrimSpace(body); {
	case len(body) == 0:
		return "", nil, errors.New("it is empty and names no run")
	case body[0] == '[':
		err = json.Unmarshal(body, &answers)
	default:
		answers = make([]runAnswer, 1)
		err = json.Unmarshal(body, &answers[0])
	}
	if err != nil {
		return "", nil, fmt.Errorf("it is not the JSON expected (%w)", err)
	}
	for _, answer := range answers {
		if uuid == "" {
			uuid = answer.runUUID()
		}
		if answer.TaskUUID != "" {
			tasks = append(tasks, PendingTaskRun{TaskUUID: answer.TaskUUID, TaskRunUUID: answer.TaskRunUUID})
		}
	}
	if !ValidUUID(uuid) || uuid == nilUUID {
		return "", nil, errors.New("it names no run")
	}
	return uuid, tasks, nil
}

// lowerUUID brings a UUID into the form that every route takes: aggregated statistics refuse upper case.
func lowerUUID(op Op, uuid string) (string, error) {
	if !ValidUUID(uuid) {
		return "", &Error{Op: op, Err: fmt.Errorf("%q is not a UUID", Shorten(uuid))}
	}
	return strings.ToLower(uuid), nil
}
