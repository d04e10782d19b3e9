package ylem

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// MaxInput is the longest input of a run that an open-source server can store, in bytes.
const MaxInput = 65535

// Run is a run that was started.
type Run struct {
	UUID        string
	TriggeredAt time.Time // when the request was sent, by the server's clock, to the second
	TaskRuns    []PendingTaskRun
}

// PendingTaskRun is a task that is still to run. Only the reference dialect lists them.
type PendingTaskRun struct {
	TaskUUID    string
	TaskRunUUID string // "" where the answer has none
}

// Input is what the pipeline's External trigger task receives, byte for byte. An empty one is not sent.
type Input struct {
	Body   []byte
	Secret bool // nothing of an answer is shown, because it may repeat the input

	// BeforeRerun is called before a request that Ylem's database rolled back is sent again; an error ends the call. Nil: not
	// called.
	BeforeRerun func(context.Context) error
}

// RunPipeline starts a run.
//
// It is not idempotent, and Ylem has no idempotency key: the request is sent again only after an answer, or the lack of a
// connection, that proves that nothing was started. An error's MaybeStarted says whether the run may have been started all
// the same. If ctx ends while a request is under way, its answer is awaited for up to ten seconds.
func (c *Client) RunPipeline(ctx context.Context, pipelineUUID string, input Input) (Run, error) {
	uuid, err := lowerUUID(request.OpRun, pipelineUUID)
	if err != nil {
		return Run{}, err
	}
	r := request.Request{
		Op: request.OpRun, Method: http.MethodPost,
		Path: []string{"pipelines", uuid, "runs", ""}, // the trailing slash belongs to the route
		Body: input.Body, Private: input.Secret, BeforeRerun: input.BeforeRerun,
	}
	if len(input.Body) > 0 {
		r.ContentType = "text/plain; charset=utf-8"
		if json.Valid(input.Body) {
			r.ContentType = "application/json"
		}
	}
	var run Run
	sentAt, err := c.Start(ctx, r, func(a *request.Answer) error {
		body, err := request.ReadAll(a, request.MaxRunBody)
		if uuid, tasks, decodeErr := decodeRun(body); decodeErr == nil {
			run.UUID, run.TaskRuns = uuid, tasks
			return nil // also if the rest of the answer broke off
		} else if err == nil {
			err = c.Unreadable(r, body, decodeErr)
		}
		return err
	})
	if err != nil {
		return Run{}, err
	}
	// The Date of the answer may be long after the run's first row if the answer was slow.
	run.TriggeredAt = sentAt.Truncate(time.Second)
	// Terraform stores nothing of a resource before its creation returns: if the process is killed before that, this line is
	// all that is left of the run.
	c.Logger().InfoContext(ctx, fmt.Sprintf("Started run %s of pipeline %s", run.UUID, uuid))
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

// decodeRun understands all three forms of the answer: {"pipeline_run_uuid"}, the older {"workflow_run_uuid"}, and the
// reference's array of pending task runs. A run that was started must not be lost because a proxy has changed the answer
// around it: the first UUID under one of those names counts, whatever surrounds it.
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
		if found := runUUIDMember.FindSubmatch(body); found != nil && ValidRunUUID(string(found[1])) {
			return string(found[1]), nil, nil
		}
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
	if !ValidRunUUID(uuid) {
		return "", nil, errors.New("it names no run")
	}
	return uuid, tasks, nil
}

var runUUIDMember = regexp.MustCompile(`"(?:pipeline|workflow)_run_uuid"\s*:\s*"([0-9A-Fa-f-]{36})"`)

// ValidRunUUID reports whether a UUID that Ylem shows can be a run's: the nil UUID stands for none.
func ValidRunUUID(uuid string) bool { return ValidUUID(uuid) && uuid != nilUUID }
