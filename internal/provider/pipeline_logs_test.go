package provider

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

func (h *history) logs(t *testing.T, more object) object {
	t.Helper()
	return h.connect(t, nil).mustRead(t, "ylem_pipeline_logs", h.window(more))
}

func TestPipelineLogs(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, dialect)
			state := h.logs(t, nil)
			state.expect(t, object{"truncated": false})
			row := func(run, task, taskType string, succeeded bool, duration int, executedAt string, output, base64 any, errors []object) object {
				return object{
					"pipeline_run_uuid": run, "task_uuid": task, "task_type": taskType, "is_successful": succeeded, "duration": duration,
					"executed_at": executedAt, "output": output, "output_base64": base64, "metric_value": 0, "errors": errors,
				}
			}
			failure := []object{{"code": 200, "severity": "error", "message": loadError}}
			state.expect(t, object{"logs": []object{ // newest first
				row(h.failed, h.load, "api_call", false, 200, "2024-06-05T08:00:00.123456Z",
					`[{"Code":200,"Message":"table \"orders\" does not exist","Severity":"error"}]`, nil, failure),
				row(h.failed, h.extract, "query", true, 300, "2024-06-05T08:00:00Z", "größe", nil, []object{}),
				row(h.good, h.load, "api_call", true, 500, "2024-06-01T08:00:01.5Z", nil, "/wD+", []object{}), // no text
				row(h.good, h.extract, "query", true, 1000, "2024-06-01T08:00:00Z", `[{"amount":299.76}]`, nil, []object{}),
			}})
			state.expect(t, object{"runs": []object{
				{
					"pipeline_run_uuid": h.failed, "is_successful": false, "duration": 500, "task_count": 2, "failed_task_uuids": []string{h.load},
					"started_at": "2024-06-05T08:00:00Z", "finished_at": "2024-06-05T08:00:00.123456Z",
				},
				{
					"pipeline_run_uuid": h.good, "is_successful": true, "duration": 1500, "task_count": 2, "failed_task_uuids": []string{},
					"started_at": "2024-06-01T08:00:00Z", "finished_at": "2024-06-01T08:00:01.5Z",
				},
			}})
		})
	}
}

// Each filter alone and together with the others. Whatever they keep out of logs, runs count it.
func TestPipelineLogsFilters(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	const (
		failedLoad = "failed run, load"
		failedGet  = "failed run, extract"
		goodLoad   = "good run, load"
		goodGet    = "good run, extract"
	)
	names := map[string]string{
		h.failed + h.load: failedLoad, h.failed + h.extract: failedGet,
		h.good + h.load: goodLoad, h.good + h.extract: goodGet,
	}
	for name, test := range map[string]struct {
		filter    object
		rows      []string
		runs      []string
		truncated bool
	}{
		"none":                       {nil, []string{failedLoad, failedGet, goodLoad, goodGet}, []string{h.failed, h.good}, false},
		"run":                        {object{"pipeline_run_uuid": h.good}, []string{goodLoad, goodGet}, []string{h.good}, false},
		"run in upper case":          {object{"pipeline_run_uuid": strings.ToUpper(h.good)}, []string{goodLoad, goodGet}, []string{h.good}, false},
		"run that is not there":      {object{"pipeline_run_uuid": ylemtest.NewUUID()}, nil, nil, false},
		"task":                       {object{"task_uuid": h.load}, []string{failedLoad, goodLoad}, []string{h.failed, h.good}, false},
		"task in upper case":         {object{"task_uuid": strings.ToUpper(h.load)}, []string{failedLoad, goodLoad}, []string{h.failed, h.good}, false},
		"successes":                  {object{"is_successful": true}, []string{failedGet, goodLoad, goodGet}, []string{h.failed, h.good}, false},
		"failures":                   {object{"is_successful": false}, []string{failedLoad}, []string{h.failed}, false},
		"limit":                      {object{"limit": 3}, []string{failedLoad, failedGet, goodLoad}, []string{h.failed, h.good}, true},
		"limit of all":               {object{"limit": 4}, []string{failedLoad, failedGet, goodLoad, goodGet}, []string{h.failed, h.good}, false},
		"limit of more":              {object{"limit": 5}, []string{failedLoad, failedGet, goodLoad, goodGet}, []string{h.failed, h.good}, false},
		"limit to one":               {object{"limit": 1}, []string{failedLoad}, []string{h.failed}, true},
		"task and success":           {object{"task_uuid": h.load, "is_successful": true}, []string{goodLoad}, []string{h.good}, false},
		"run and task":               {object{"pipeline_run_uuid": h.failed, "task_uuid": h.extract}, []string{failedGet}, []string{h.failed}, false},
		"run and failure":            {object{"pipeline_run_uuid": h.good, "is_successful": false}, nil, nil, false},
		"task and limit":             {object{"task_uuid": h.extract, "limit": 1}, []string{failedGet}, []string{h.failed}, true},
		"failure and limit":          {object{"is_successful": false, "limit": 1}, []string{failedLoad}, []string{h.failed}, false},
		"all of them":                {object{"pipeline_run_uuid": h.good, "task_uuid": h.load, "is_successful": true, "limit": 1}, []string{goodLoad}, []string{h.good}, false},
		"whole runs from one window": {object{"from": "2024-06-01 08:00:01"}, []string{failedLoad, failedGet, goodLoad, goodGet}, []string{h.failed, h.good}, false},
		"nothing in the window":      {object{"from": "2024-06-02", "to": "2024-06-03"}, nil, nil, false},
		"unknown pipeline":           {object{"pipeline_uuid": ylemtest.NewUUID()}, nil, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			state := h.logs(t, test.filter)
			rows := []string{}
			for _, row := range state.list(t, "logs") {
				rows = append(rows, names[fmt.Sprint(row["pipeline_run_uuid"], row["task_uuid"])])
			}
			if !slices.Equal(rows, test.rows) {
				t.Errorf("rows:\n got %q\nwant %q", rows, test.rows)
			}
			runs := state.list(t, "runs")
			if got, want := asJSON(t, column(runs, "pipeline_run_uuid")), asJSON(t, append([]string{}, test.runs...)); got != want {
				t.Errorf("runs:\n got %s\nwant %s", got, want)
			}
			state.expect(t, object{"truncated": test.truncated})
			for _, run := range runs {
				if test.truncated {
					break // documented: what comes after the last row is not counted
				}
				switch run["pipeline_run_uuid"] {
				case h.failed:
					run.expect(t, object{"task_count": 2, "duration": 500, "is_successful": false, "failed_task_uuids": []string{h.load}})
				case h.good:
					run.expect(t, object{"task_count": 2, "duration": 1500, "is_successful": true, "failed_task_uuids": []string{}})
				}
			}
		})
	}
}

func TestPipelineLogsWithoutOutput(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	with, without := h.logs(t, object{"include_output": true}), h.logs(t, object{"include_output": false})
	for i, row := range without.list(t, "logs") {
		row.expect(t, object{"output": nil, "output_base64": nil})
		row.expect(t, with.list(t, "logs")[i].with(object{"output": nil, "output_base64": nil})) // errors are still there
	}
	without.expect(t, object{"runs": with["runs"], "include_output": false})
	with.expect(t, object{"logs": h.logs(t, nil)["logs"]})
}

func TestPipelineLogsOutputs(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	for name, test := range map[string]struct {
		row          ylemtest.Row
		text, base64 any
		errors       []object
	}{
		"empty":                   {ylemtest.Row{IsSuccessful: true}, "", nil, []object{}},
		"null":                    {ylemtest.Row{IsSuccessful: true, Output: []byte("null")}, "null", nil, []object{}},
		"text of several lines":   {ylemtest.Row{IsSuccessful: true, Output: []byte("a\n\tb\r\n")}, "a\n\tb\r\n", nil, []object{}},
		"text that looks base64":  {ylemtest.Row{IsSuccessful: true, Output: []byte("aGVsbG8=")}, "aGVsbG8=", nil, []object{}},
		"NUL":                     {ylemtest.Row{IsSuccessful: true, Output: []byte("a\x00b")}, nil, "YQBi", []object{}},
		"Latin-1":                 {ylemtest.Row{IsSuccessful: true, Output: []byte("gr\xf6\xdfe")}, nil, "Z3L232U=", []object{}},
		"failure in words":        {ylemtest.Row{Output: []byte("out of memory")}, "out of memory", nil, []object{}},
		"failure in bytes":        {ylemtest.Row{Output: []byte{0xff}}, nil, "/w==", []object{}},
		"failure without a word":  {ylemtest.Row{}, "", nil, []object{}},
		"success in error's form": {ylemtest.Row{IsSuccessful: true, Output: []byte(`[{"Code":1,"Severity":"x","Message":"y"}]`)}, `[{"Code":1,"Severity":"x","Message":"y"}]`, nil, []object{}},
		"two errors": {
			ylemtest.Row{Output: []byte(`[{"Code":200,"Severity":"error","Message":"a"},{"Code":7,"Severity":"warning","Message":"b"}]`)},
			`[{"Code":200,"Severity":"error","Message":"a"},{"Code":7,"Severity":"warning","Message":"b"}]`, nil,
			[]object{{"code": 200, "severity": "error", "message": "a"}, {"code": 7, "severity": "warning", "message": "b"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.row.PipelineUUID, test.row.ExecutedAt = ylemtest.NewUUID(), past
			s.AddRows(test.row)
			state := s.connect(t, nil).mustRead(t, "ylem_pipeline_logs",
				object{"pipeline_uuid": test.row.PipelineUUID, "from": "2024-06-01", "to": "2024-06-02"})
			state.list(t, "logs")[0].expect(t, object{"output": test.text, "output_base64": test.base64, "errors": test.errors})
		})
	}
}

func TestPipelineLogsMetrics(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Type: "aggregate", Metric: 3.25}}}).UUID
	s.AddRun(pipeline, past)
	s.AddRows(ylemtest.Row{PipelineUUID: pipeline, IsSuccessful: true, MetricValue: 1e21, ExecutedAt: past.Add(time.Hour)})
	state := s.connect(t, nil).mustRead(t, "ylem_pipeline_logs", object{"pipeline_uuid": pipeline, "from": "2024-06-01", "to": "2024-06-02"})
	if got, want := asJSON(t, column(state.list(t, "logs"), "metric_value")), "[1e+21,3.25]"; got != want {
		t.Errorf("metric_value: %s, want %s", got, want)
	}
}

// A for-each reports the same task several times; the run names it once.
func TestPipelineLogsRepeatedTasks(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	each := ylemtest.NewUUID()
	pipeline := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
		{UUID: each, Repeat: 3, Duration: 3 * time.Second, Errors: []ylemtest.TaskError{{Message: "no such row"}}},
		{Duration: time.Second},
	}}).UUID
	s.AddRun(pipeline, past)
	state := s.connect(t, nil).mustRead(t, "ylem_pipeline_logs", object{"pipeline_uuid": pipeline, "from": "2024-06-01", "to": "2024-06-02"})
	runs := state.list(t, "runs")
	if len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	runs[0].expect(t, object{"task_count": 4, "duration": 4000, "failed_task_uuids": []string{each}, "is_successful": false})
}

// Ylem's order of rows with equal times differs from answer to answer: no plan may show that as a change.
func TestPipelineLogsDoNotDependOnTheOrderOfEqualTimes(t *testing.T) {
	t.Parallel()
	run, task, other := ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID()
	row := ylemtest.Row{PipelineRunUUID: run, TaskUUID: task, IsSuccessful: true, ExecutedAt: past}
	for name, differ := range map[string]func(*ylemtest.Row){
		"run":         func(r *ylemtest.Row) { r.PipelineRunUUID = other },
		"task":        func(r *ylemtest.Row) { r.TaskUUID = other },
		"output":      func(r *ylemtest.Row) { r.Output = []byte("x") },
		"duration":    func(r *ylemtest.Row) { r.Duration = 9 },
		"metric":      func(r *ylemtest.Row) { r.MetricValue = 9 },
		"success":     func(r *ylemtest.Row) { r.IsSuccessful = false },
		"binary data": func(r *ylemtest.Row) { r.Output = []byte{0xff} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			second := row
			differ(&second)
			var logs [2]string
			for i, rows := range [][]ylemtest.Row{{row, second}, {second, row}} {
				s := newSandbox(t, withNow())
				pipeline := ylemtest.NewUUID()
				for _, r := range rows {
					r.PipelineUUID = pipeline
					s.AddRows(r)
				}
				state := s.connect(t, nil).mustRead(t, "ylem_pipeline_logs", object{"pipeline_uuid": pipeline, "from": "2024-06-01", "to": "2024-06-02"})
				logs[i] = asJSON(t, []any{state["logs"], state["runs"]})
			}
			if logs[0] != logs[1] {
				t.Errorf("two orders, two states:\n%s\n%s", logs[0], logs[1])
			}
		})
	}
}

func TestPipelineLogsOfManyRows(t *testing.T) {
	t.Parallel()
	const rows = 2_000
	s := newSandbox(t, withNow())
	pipeline, task := ylemtest.NewUUID(), ylemtest.NewUUID()
	list := make([]ylemtest.Row, rows)
	for i := range list {
		list[i] = ylemtest.Row{
			PipelineUUID: pipeline, IsSuccessful: i%10 != 0, Duration: 1, Output: []byte(strings.Repeat("x", 100)),
			ExecutedAt: past.Add(time.Duration(i) * time.Second),
		}
		if i%5 == 0 {
			list[i].TaskUUID = task
		}
	}
	s.AddRows(list...)
	p := s.connect(t, nil)
	window := object{"pipeline_uuid": pipeline, "from": "2024-06-01", "to": "2024-06-06"}
	for name, test := range map[string]struct {
		filter object
		rows   int
	}{
		"all":     {nil, rows},
		"a fifth": {object{"task_uuid": task, "include_output": false}, rows / 5},
		"a tenth": {object{"is_successful": false}, rows / 10},
		"newest":  {object{"limit": 100}, 100},
	} {
		t.Run(name, func(t *testing.T) {
			s.ResetRequests()
			logs := p.mustRead(t, "ylem_pipeline_logs", window.with(test.filter)).list(t, "logs")
			if len(logs) != test.rows {
				t.Errorf("%d rows, want %d", len(logs), test.rows)
			}
			newestFirst := slices.IsSortedFunc(logs, func(a, b object) int {
				return cmp.Compare(fmt.Sprint(b["executed_at"]), fmt.Sprint(a["executed_at"]))
			})
			if !newestFirst {
				t.Error("not newest first")
			}
			if n := s.count(ylemtest.RouteLogs); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Reading ends with the last row that is wanted: what comes after it, here an answer that breaks off, is not seen.
func TestPipelineLogsStopAtTheLimit(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	body := fmt.Sprintf(`[{"pipeline_run_uuid":%[1]q,"task_uuid":%[2]q,"is_successful":true,"executed_at":"2024-06-01T08:00:02Z"},`+
		`{"pipeline_run_uuid":%[1]q,"task_uuid":%[2]q,"is_successful":true,"executed_at":"2024-06-01T08:00:01Z"},!`, h.good, h.load)
	h.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: 2, Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
	h.logs(t, object{"limit": 1}).expect(t, object{"truncated": true})
	_, diags := h.connect(t, nil).read(t, "ylem_pipeline_logs", h.window(object{"limit": 2}))
	diags.expectError(t, "pipeline_uuid", "cannot be understood", h.pipeline)
}

// Terraform cannot handle states that are much larger. Reading ends with the first row too many: what comes after it, here an
// answer that breaks off, is not seen.
func TestPipelineLogsOfTooManyRows(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	row := fmt.Sprintf(`{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":true,"executed_at":"2024-06-01T08:00:02Z"},`, h.good, h.load)
	h.Inject(ylemtest.Fault{
		Route: ylemtest.RouteLogs, Times: -1, Status: 200, Header: http.Header{"Content-Type": {"application/json"}},
		Body: "[" + strings.Repeat(row, 25_001) + "!",
	})
	_, diags := h.connect(t, nil).read(t, "ylem_pipeline_logs", h.window(nil))
	diags.expectError(t, "pipeline_uuid", "The log is too large", h.pipeline, "more than 25000 rows", "limit", "filter", "shorten the window")
	if strings.Contains(diags.String(), "include_output") { // it would not help
		t.Error(diags)
	}
}

func TestRowsThatALogMayHave(t *testing.T) {
	t.Parallel()
	add := func(c *logCollector, rows int) (added int) {
		for added < rows && c.add(ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", Outcome: ylem.Succeeded}) {
			added++
		}
		return added
	}
	for name, test := range map[string]struct {
		model     pipelineLogsModel
		added     int
		kept      int
		truncated bool
		tooLarge  error
	}{
		"all":           {pipelineLogsModel{}, maxRows, maxRows, false, errTooManyRows},
		"limit":         {pipelineLogsModel{Limit: types.Int64Value(maxRows)}, maxRows, maxRows, true, nil},
		"filtered away": {pipelineLogsModel{IsSuccessful: types.BoolValue(false)}, 4 * maxRows, 0, false, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newLogCollector(test.model)
			if n := add(c, 4*maxRows); n != test.added || len(c.rows) != test.kept || c.truncated != test.truncated || !errors.Is(c.tooLarge, test.tooLarge) {
				t.Errorf("after %d rows, %d are kept, truncated: %t, %v", n, len(c.rows), c.truncated, c.tooLarge)
			}
		})
	}
}

// A run is one run, however its UUID is written.
func TestPipelineLogsFoldTheCaseOfUUIDs(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	row := `{"pipeline_run_uuid":%q,"task_uuid":%q,"is_successful":false,"duration":1,"executed_at":"2024-06-01T08:00:02Z"}`
	body := fmt.Sprintf("["+row+","+row+"]", strings.ToUpper(h.good), h.load, h.good, strings.ToUpper(h.load))
	h.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: 2, Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: body})
	for _, filter := range []object{nil, {"pipeline_run_uuid": strings.ToUpper(h.good), "task_uuid": strings.ToUpper(h.load)}} {
		state := h.logs(t, filter)
		runs, logs := state.list(t, "runs"), state.list(t, "logs")
		if len(runs) != 1 || len(logs) != 2 {
			t.Fatalf("%d runs and %d rows", len(runs), len(logs))
		}
		runs[0].expect(t, object{"pipeline_run_uuid": h.good, "task_count": 2, "duration": 2, "failed_task_uuids": []string{h.load}})
		for _, row := range logs { // a configuration can find a run's rows
			row.expect(t, object{"pipeline_run_uuid": h.good, "task_uuid": h.load})
		}
	}
}

// A row that does not say whether its task succeeded is neither a success nor a failure.
func TestPipelineLogsOfUnknownOutcome(t *testing.T) {
	t.Parallel()
	const unknown, yes, no = ylem.OutcomeUnknown, ylem.Succeeded, ylem.Failed
	for name, test := range map[string]struct {
		outcomes []ylem.Outcome
		filter   types.Bool
		rows     []any
		run      any // is_successful of the run
		failed   int
	}{
		"unknown alone":             {[]ylem.Outcome{unknown}, types.BoolNull(), []any{nil}, nil, 0},
		"with a success":            {[]ylem.Outcome{unknown, yes}, types.BoolNull(), []any{true, nil}, nil, 0},
		"with a failure":            {[]ylem.Outcome{unknown, no, yes}, types.BoolNull(), []any{true, false, nil}, false, 1},
		"successes only":            {[]ylem.Outcome{unknown, yes}, types.BoolValue(true), []any{true}, nil, 0},
		"failures only":             {[]ylem.Outcome{unknown, no}, types.BoolValue(false), []any{false}, false, 1},
		"all known, for comparison": {[]ylem.Outcome{yes, yes}, types.BoolNull(), []any{true, true}, true, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newLogCollector(pipelineLogsModel{IsSuccessful: test.filter})
			for i, outcome := range test.outcomes {
				output := "W3siTWVzc2FnZSI6ImJyb2tlbiJ9XQ==" // an error, as failed tasks report it
				c.add(ylem.LogRow{PipelineRunUUID: "r", TaskUUID: fmt.Sprint(i), ExecutedAt: past.Add(time.Duration(i) * time.Second), Output: output, Outcome: outcome})
			}
			rows := []any{}
			for _, row := range c.logs() {
				rows = append(rows, fromValue(t, row["is_successful"]))
				failed := fromValue(t, row["is_successful"]) == false
				if errors := fromValue(t, row["errors"]).([]any); (len(errors) == 1) != failed {
					t.Errorf("failed: %t, with errors %v", failed, errors)
				}
			}
			if got, want := asJSON(t, rows), asJSON(t, test.rows); got != want {
				t.Errorf("rows %s, want %s", got, want)
			}
			run := c.keptRuns()[0]
			if got := fromValue(t, run["is_successful"]); got != test.run {
				t.Errorf("is_successful of the run is %v, want %v", got, test.run)
			}
			if failed := fromValue(t, run["failed_task_uuids"]).([]any); len(failed) != test.failed {
				t.Errorf("failed tasks: %v", failed)
			}
		})
	}
}

// What is held of a log is bounded in bytes as well: rows, runs of which no row is kept, and failed tasks.
func TestWhatALogHoldsIsCounted(t *testing.T) {
	t.Parallel()
	const megabyte, many = 1 << 20, 2 * ylem.MaxHeldLog / (1 << 20)
	long := strings.Repeat("x", megabyte+many) // parts of it share its memory
	const yes, no = ylem.Succeeded, ylem.Failed
	with := func(row ylem.LogRow, outcome ylem.Outcome) ylem.LogRow {
		row.Outcome = outcome
		return row
	}
	for name, test := range map[string]struct {
		model   pipelineLogsModel
		row     func(n int) ylem.LogRow
		outcome ylem.Outcome
		bounded bool
		advice  string
	}{
		"outputs": {
			pipelineLogsModel{}, func(int) ylem.LogRow { return ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", Output: long} }, yes, true, "include_output = false",
		},
		"outputs that are left out": {
			pipelineLogsModel{IncludeOutput: types.BoolValue(false)},
			func(int) ylem.LogRow { return ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", Output: long} }, yes, false, "",
		},
		"errors": {
			pipelineLogsModel{IncludeOutput: types.BoolValue(false)},
			func(int) ylem.LogRow { return ylem.LogRow{PipelineRunUUID: "r", TaskUUID: "t", Output: long} }, no, true, "",
		},
		"runs": {
			pipelineLogsModel{IsSuccessful: types.BoolValue(false)},
			func(n int) ylem.LogRow { return ylem.LogRow{PipelineRunUUID: long[:megabyte+n], TaskUUID: "t"} }, yes, true, "include_output = false",
		},
		"failed tasks": {
			pipelineLogsModel{IsSuccessful: types.BoolValue(true)},
			func(n int) ylem.LogRow { return ylem.LogRow{PipelineRunUUID: "r", TaskUUID: long[:megabyte+n]} }, no, true, "include_output = false",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, n := newLogCollector(test.model), 0
			for n < many && c.add(with(test.row(n), test.outcome)) {
				n++
			}
			if bounded := n <= ylem.MaxHeldLog/megabyte && errors.Is(c.tooLarge, ylem.ErrLogTooLarge); bounded != test.bounded || !bounded && n < many {
				t.Errorf("%d megabytes are held: %v", n, c.tooLarge)
			}
			if advice := c.adviceOnOutput(); !strings.Contains(advice, test.advice) || test.advice == "" && advice != "" {
				t.Errorf("advice: %q", advice)
			}
		})
	}
}
