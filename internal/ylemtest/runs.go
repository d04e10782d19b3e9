package ylemtest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// maxInput is the size in bytes of the largest input that the real server's
// database column takes.
const maxInput = 65535

// Run is one run of a pipeline. It goes on by itself: which rows it shows is a
// function of its start and the server's clock.
type Run struct {
	UUID         string
	PipelineUUID string
	StartedAt    time.Time
	Input        []byte // the request's body; nil = none
	ContentType  string // of the request
	Tasks        []Task // the pipeline's tasks when the run started

	requested bool // through the API
}

// Runs is the runs that requests have started, in order of their start: of one
// pipeline, or with "" of every one.
func (s *Server) Runs(pipelineUUID string) []Run {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Run
	for _, r := range s.runs {
		if pipelineUUID == "" || strings.EqualFold(r.PipelineUUID, pipelineUUID) {
			r.Input = bytes.Clone(r.Input)
			r.Tasks = slices.Clone(r.Tasks)
			found = append(found, r)
		}
	}
	return found
}

// AddRun adds a run of the past, or one that starts in the future, whatever
// state the pipeline is in. Its rows appear by the clock, like those of any
// run; unlike in a run by request, an output may have any size. Runs does not
// list it. It panics when there is no such pipeline.
func (s *Server) AddRun(pipelineUUID string, startedAt time.Time) Run {
	return s.AddRunOf(Run{PipelineUUID: pipelineUUID, StartedAt: startedAt})
}

// AddRunOf is AddRun for a run with a UUID, an input or tasks of its own: those
// of its fields that are empty are filled in as in AddRun.
func (s *Server) AddRunOf(r Run) Run {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pipeline(r.PipelineUUID)
	r.StartedAt, r.requested = r.StartedAt.UTC(), false
	return s.start(now, p, r)
}

// start makes a run of a pipeline. The caller holds the lock.
func (s *Server) start(now time.Time, p *Pipeline, r Run) Run {
	r.UUID = uuidOrNew(r.UUID)
	r.PipelineUUID = p.UUID
	if r.Tasks == nil {
		r.Tasks = p.Tasks
	}
	r.Tasks = Pipeline{Tasks: r.Tasks}.filled().Tasks
	r.Input = bytes.Clone(r.Input)
	s.ran[p.UUID] = true
	s.history = append(s.history, r)
	if s.oneTaskRunner {
		s.reschedule(now, r.UUID)
	} else {
		s.rows = append(s.rows, s.simulate([]Run{r})...)
	}
	return r
}

// output is what a pass of a task reports, before base64.
func (r *Run) output(t Task, pass int) []byte {
	switch {
	case t.fails(pass):
		return errorOutput(t.Errors)
	case t.Type == metricTaskType || t.Metric != 0:
		return nil
	case t.Type != triggerTaskType, string(r.Input) == "{}":
		return t.Output
	case len(r.Input) == 0:
		return []byte("null")
	default:
		return r.Input
	}
}

func errorOutput(list []TaskError) []byte {
	list = slices.Clone(list)
	for i := range list {
		list[i].Code = cmp.Or(list[i].Code, 200)
		list[i].Severity = cmp.Or(list[i].Severity, "error")
	}
	// The real server's list has the Go names of the fields, as here.
	output, err := json.Marshal(list)
	if err != nil {
		panic("ylemtest: " + err.Error())
	}
	return output
}

// startRun is the run route.
func (s *Server) startRun(c *call) answer {
	if strings.Contains(c.subject, "?") {
		// The gateway pastes the uuid into another URL and hits another route.
		return answer{
			status: http.StatusUnsupportedMediaType,
			header: http.Header{"Content-Type": {"application/json"}},
			reason: "the UUID holds a question mark",
		}
	}
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.pipelines[strings.ToLower(c.subject)]
	switch {
	case p == nil:
		return emptyAnswer(http.StatusNotFound).because("%s", s.unknown(c))
	case p.Deleted, p.Template:
		return emptyAnswer(http.StatusNotFound).because("the pipeline is a template, or was deleted")
	case p.Paused:
		return emptyAnswer(http.StatusForbidden).because("the pipeline is paused")
	case !slices.ContainsFunc(p.Tasks, func(t Task) bool { return !t.Inactive && len(t.After) == 0 }):
		return emptyAnswer(http.StatusNotFound).because("the pipeline has no active task to begin with")
	case len(c.body) > maxInput:
		return emptyAnswer(http.StatusInternalServerError).because("the input has %d bytes, and Ylem can store %d", len(c.body), maxInput)
	}
	if s.deadlocks != nil && c.contended && s.deadlocks.strike(p.UUID) {
		return deadlock().because("a deadlock of Ylem's database; no run was started")
	}
	run := Run{StartedAt: now, ContentType: c.Header.Get("Content-Type"), requested: true}
	if len(c.body) > 0 {
		run.Input = c.body
	}
	run = s.start(now, p, run)
	c.entry.Run = run.UUID
	s.runs = append(s.runs, run)
	if s.dialect == Reference {
		return s.pendingTaskRuns(run)
	}
	return answer{
		status: http.StatusCreated,
		header: http.Header{"Content-Type": {"application/json; charset=utf-8"}},
		body:   fmt.Appendf(nil, `{"pipeline_run_uuid":"%s"}`, run.UUID),
	}
}

// emptyAnswer is a refusal of the pipelines service, of which the gateway
// keeps the status and the headers but not the body.
func emptyAnswer(status int) answer {
	return answer{status: status, header: errorHeader()}
}

// pendingTaskRuns is what the reference shows for a started run. The caller
// holds the lock.
func (s *Server) pendingTaskRuns(run Run) answer {
	type taskRun struct {
		ID              int     `json:"id"`
		State           string  `json:"state"`
		TaskUUID        string  `json:"task_uuid"`
		TaskRunUUID     string  `json:"task_run_uuid"`
		WorkflowRunUUID string  `json:"workflow_run_uuid"`
		IsSuccessful    bool    `json:"is_successful"`
		Output          *string `json:"output"`
		Errors          *string `json:"errors"`
		CreatedAt       string  `json:"created_at"`
		UpdatedAt       string  `json:"updated_at"`
	}
	taskRuns := []taskRun{}
	for _, t := range run.Tasks {
		if t.Inactive {
			continue
		}
		s.lastID++
		taskRuns = append(taskRuns, taskRun{
			ID:              s.lastID,
			State:           "pending",
			TaskUUID:        t.UUID,
			TaskRunUUID:     NewUUID(),
			WorkflowRunUUID: run.UUID,
		})
	}
	return dataAnswer(taskRuns)
}
