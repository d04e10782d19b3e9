package provider

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const runDataSource = "ylem_pipeline_run"

// readRun reads a run of the history.
func (h *history) readRun(t *testing.T, run string, more object) object {
	t.Helper()
	return h.connect(t, nil).mustRead(t, runDataSource, object{"pipeline_uuid": h.pipeline, "id": run}.with(more))
}

func TestRunIsRead(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, dialect)
			failed := h.readRun(t, h.failed, nil)
			failed.expect(t, object{
				"status": "failed", "is_successful": false, "triggered_at": "2024-06-05T08:00:00Z", "finished_at": "2024-06-05T08:00:00.123456Z", "duration": 500,
				"input": nil, "outputs": nil, "completion": nil, "include_outputs": nil,
			})
			tasks := failed.list(t, "task_runs")
			if len(tasks) != 2 {
				t.Fatalf("%d tasks", len(tasks))
			}
			tasks[0].expect(t, object{"task_uuid": h.extract, "task_type": "query", "state": "succeeded", "is_successful": true, "duration": 300, "task_run_uuid": nil, "errors": []any{}})
			tasks[1].expect(t, object{"task_uuid": h.load, "state": "failed", "executed_at": "2024-06-05T08:00:00.123456Z", "errors": []any{object{
				"code": 200, "severity": "error", "message": loadError,
			}}})
			h.readRun(t, h.good, nil).expect(t, object{
				"status": "succeeded", "is_successful": true, "triggered_at": "2024-06-01T08:00:00Z", "finished_at": "2024-06-01T08:00:01.5Z", "duration": 1500,
			})
		})
	}
}

// What the data source shows of a run is what the resource shows of it.
func TestRunIsTheSameAsTheResource(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	p := h.connect(t, nil)
	for _, run := range []string{h.good, h.failed} {
		resource := p.imported(t, h.pipeline, run)
		data := h.readRun(t, run, nil)
		for name := range data {
			if name == "completion" || name == "include_outputs" || name == "outputs" {
				continue
			}
			data.expect(t, object{name: resource[name]})
		}
	}
}

// imported is a run as the resource has it after an import and the refresh that follows.
func (p *protocol) imported(t *testing.T, pipelineUUID, runUUID string) object {
	t.Helper()
	typ := p.schema.ResourceSchemas["ylem_pipeline_run"].ValueType()
	imported, err := p.server.ImportResourceState(t.Context(), &tfprotov6.ImportResourceStateRequest{TypeName: "ylem_pipeline_run", ID: pipelineUUID + "/" + runUUID})
	if err != nil || len(imported.ImportedResources) != 1 {
		t.Fatal(err, diagnostics(imported.Diagnostics))
	}
	one := imported.ImportedResources[0]
	read, err := p.server.ReadResource(t.Context(), &tfprotov6.ReadResourceRequest{
		TypeName: "ylem_pipeline_run", CurrentState: one.State, Private: one.Private, CurrentIdentity: one.Identity,
	})
	if err != nil || len(read.Diagnostics) > 0 {
		t.Fatal(err, diagnostics(read.Diagnostics))
	}
	return fromDynamic(t, typ, read.NewState)
}

// The log is read from its end, and no further than needed.
func TestRunIsLookedForInLongerAndLongerLogs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		began    time.Time
		requests int
	}{
		"today":      {now.Add(-23 * time.Hour), 1},
		"this month": {now.AddDate(0, 0, -20), 2},
		"long ago":   {now.AddDate(-3, 0, 0), 3},
		"tomorrow":   {now.Add(23 * time.Hour), 1}, // by the clock of a service that is ahead
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, withNow())
			pipeline, run := ylemtest.NewUUID(), ylemtest.NewUUID()
			s.AddRows(ylemtest.Row{PipelineUUID: pipeline, PipelineRunUUID: run, IsSuccessful: true, ExecutedAt: test.began})
			s.connect(t, nil).mustRead(t, runDataSource, object{"pipeline_uuid": pipeline, "id": strings.ToUpper(run)}).expect(t, object{"id": strings.ToUpper(run)})
			s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLogs: test.requests})()
		})
	}
}

func TestRunThatIsNotThere(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	missing := ylemtest.NewUUID()
	_, diags := h.connect(t, nil).read(t, runDataSource, object{"pipeline_uuid": h.pipeline, "id": missing})
	diags.expectError(t, "id", "The run is not in the log", h.pipeline, missing, "Check both UUIDs", "read it again a little later")
	h.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteLogs: 3})()
}

// Whether silence is an end is the configuration's choice.
func TestRunHasEndedAsCompletionSays(t *testing.T) {
	t.Parallel()
	first, last, forEach := ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID()
	for name, test := range map[string]struct {
		ago        time.Duration
		types      map[string]string
		completion object
		status     string
	}{
		"a minute of silence":                {time.Minute, nil, nil, "running"},
		"a day of silence":                   {24 * time.Hour, nil, nil, "succeeded"},
		"an empty completion":                {time.Minute, nil, object{}, "succeeded"},
		"a longer quiet period":              {time.Minute, nil, object{"quiet_period": "2m"}, "running"},
		"a shorter quiet period":             {time.Minute, nil, object{"quiet_period": "59s"}, "succeeded"},
		"the final task":                     {time.Second, nil, object{"final_task_uuids": []any{strings.ToUpper(last)}}, "succeeded"},
		"another final task":                 {48 * time.Hour, nil, object{"final_task_uuids": []any{last, forEach}}, "running"},
		"the final task, after a for-each":   {time.Minute, map[string]string{first: "for_each"}, object{"final_task_uuids": []any{last}, "quiet_period": "2m"}, "running"},
		"for-each, and the final task is in": {3 * time.Minute, map[string]string{first: "for_each"}, object{"final_task_uuids": []any{last}, "quiet_period": "2m"}, "succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, withNow())
			pipeline, run := ylemtest.NewUUID(), ylemtest.NewUUID()
			for i, task := range []string{first, last} {
				s.AddRows(ylemtest.Row{
					PipelineUUID: pipeline, PipelineRunUUID: run, TaskUUID: task, TaskType: test.types[task], IsSuccessful: true,
					ExecutedAt: now.Add(-test.ago).Add(time.Duration(i-1) * time.Millisecond),
				})
			}
			arguments := object{"pipeline_uuid": pipeline, "id": run}
			if test.completion != nil {
				arguments["completion"] = test.completion
			}
			state := s.connect(t, nil).mustRead(t, runDataSource, arguments)
			ended := test.status == "succeeded"
			state.expect(t, object{"status": test.status, "is_successful": map[bool]any{true: true}[ended]})
			if (state["finished_at"] != nil) != ended || (state["duration"] != nil) != ended {
				t.Errorf("finished_at %v, duration %v", state["finished_at"], state["duration"])
			}
		})
	}
}

func TestOutputsOfARun(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	h.readRun(t, h.good, object{"include_outputs": true}).expect(t, object{
		"outputs": object{h.extract: `[{"amount":299.76}]`, h.load: nil}, "input": nil,
	})
	h.readRun(t, h.failed, object{"include_outputs": true}).expect(t, object{
		"outputs": object{h.extract: "größe", h.load: `[{"Code":200,"Message":` + asJSON(t, loadError) + `,"Severity":"error"}]`},
	})
	h.readRun(t, h.good, object{"include_outputs": false}).expect(t, object{"outputs": nil, "input": nil})
	for _, name := range []string{"input", "outputs"} {
		for _, a := range newProtocol(t).schema.DataSourceSchemas[runDataSource].Block.Attributes {
			if a.Name == name && !a.Sensitive {
				t.Errorf("%s is not sensitive", name)
			}
		}
	}
}

// Of a task that reports once for each item, the last output counts, whatever the order of rows with the same time.
func TestOutputOfATaskThatReportsManyTimes(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline, run, task, tie := ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID()
	add := func(task, output string, ago time.Duration) {
		s.AddRows(ylemtest.Row{PipelineUUID: pipeline, PipelineRunUUID: run, TaskUUID: task, IsSuccessful: true, Output: []byte(output), ExecutedAt: now.Add(-ago)})
	}
	add(task, "2", 2*time.Minute)
	add(task, "3", time.Minute)
	add(task, "1", 3*time.Minute)
	arguments := object{"pipeline_uuid": pipeline, "id": run, "include_outputs": true}
	for _, outputs := range [][]string{{"a", "b"}, {"b", "a"}} {
		s.RemoveRows(func(r ylemtest.Row) bool { return r.TaskUUID == tie })
		for _, output := range outputs {
			add(tie, output, time.Minute)
		}
		s.connect(t, nil).mustRead(t, runDataSource, arguments).expect(t, object{"outputs": object{task: "3", tie: "b"}})
	}
}

// What a run received is read byte for byte. Ylem logs no input as null.
func TestInputOfARun(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.triggered(ylemtest.Task{})
	p := s.connect(t, nil)
	for name, test := range map[string]struct {
		arguments object
		input     any
	}{
		"none":       {nil, nil},
		"JSON":       {object{"input": "{\"a\" : 1.0,\n\"b\":\"é\"}"}, "{\"a\" : 1.0,\n\"b\":\"é\"}"},
		"text":       {object{"input": "a day"}, "a day"},
		"write-only": {object{"input_wo": "a secret", "input_wo_version": 1}, "a secret"},
	} {
		state, diags := p.create(t, object{"pipeline_uuid": pipeline, "wait_for_completion": true, "completion": object{
			"poll_interval": "100ms", "final_task_uuids": []any{s.tasks(pipeline)[1]},
		}}.with(test.arguments))
		if len(diags) > 0 {
			t.Fatal(name, diags)
		}
		arguments := object{"pipeline_uuid": pipeline, "id": state["id"], "include_outputs": true}
		p.mustRead(t, runDataSource, arguments).expect(t, object{"input": test.input})
	}
}

// A row of another run that cannot be read does no harm; one of this run leaves its status open.
func TestRunWithAnUnreadableRow(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	for _, run := range []string{h.failed, ylemtest.NewUUID()} {
		h.AddRows(ylemtest.Row{PipelineUUID: h.pipeline, PipelineRunUUID: run, ExecutedAt: now, JSON: map[string]string{"duration": "1.5"}})
		arguments := object{"pipeline_uuid": h.pipeline, "id": h.failed}
		state, diags := h.connect(t, nil).read(t, runDataSource, arguments)
		if run == h.failed {
			diags.expectError(t, "pipeline_uuid", "cannot be understood", "duration")
			h.RemoveRows(func(r ylemtest.Row) bool { return r.ExecutedAt.Equal(now) })
		} else if len(diags) > 0 || state["status"] != "failed" {
			t.Error(state, diags)
		}
	}
}

// A run may have thousands of rows, and its pipeline many more.
func TestLargeRunIsRead(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline, run, task := ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID()
	rows := make([]ylemtest.Row, 20_000)
	for i := range rows {
		rows[i] = ylemtest.Row{
			PipelineUUID: pipeline, PipelineRunUUID: run, TaskUUID: task, IsSuccessful: true, Duration: 1, Output: fmt.Append(nil, i),
			ExecutedAt: now.Add(-time.Hour).Add(time.Duration(i) * time.Millisecond),
		}
		if i%2 == 1 {
			rows[i].PipelineRunUUID = ylemtest.NewUUID()
		}
	}
	s.AddRows(rows...)
	state := s.connect(t, nil).mustRead(t, runDataSource, object{"pipeline_uuid": pipeline, "id": run, "include_outputs": true, "completion": object{}})
	state.expect(t, object{"status": "succeeded", "duration": 10_000, "outputs": object{task: "19998"}})
	if n := len(state.list(t, "task_runs")); n != 10_000 {
		t.Errorf("%d task runs", n)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteLogs: 1})()
}

// A log that breaks off is requested again only while nothing of it has been used; no half of a run is shown.
func TestRunInALogThatBreaksOff(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	h.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Truncate: 400})
	_, diags := h.connect(t, nil).read(t, runDataSource, object{"pipeline_uuid": h.pipeline, "id": h.failed})
	diags.expectError(t, "pipeline_uuid", "EOF")
}
