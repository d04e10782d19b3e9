package provider

import (
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const tasksDataSource = "ylem_pipeline_tasks"

// noTasks is what is read if no run is counted.
var noTasks = object{
	"run_count": 0, "is_uniform": false, "final_task_uuids": nil, "tasks": []any{}, "longest_silence": nil, "suggested_quiet_period": nil,
}

func TestTasksAreRead(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHistory(t, dialect)
			p := h.connect(t, nil)
			// Of the two runs in the last 30 days, one failed.
			state := p.mustRead(t, tasksDataSource, object{"pipeline_uuid": h.pipeline})
			state.expect(t, object{
				"run_count": 1, "is_uniform": true, "longest_silence": 1500, "suggested_quiet_period": "30s", "lookback": nil, "max_runs": nil,
			})
			tasks := map[any]object{}
			for _, task := range state.list(t, "tasks") {
				tasks[task["task_uuid"]] = task
			}
			final, _ := state["final_task_uuids"].([]any)
			if len(tasks) != 2 || len(final) != 2 || tasks[final[0]] == nil || tasks[final[1]] == nil {
				t.Errorf("tasks %v, final_task_uuids %v", tasks, final)
			}
			tasks[h.extract].expect(t, object{"task_type": "query", "runs": 1, "rows_per_run": 1, "average_duration": 1000, "p95_duration": 1000, "max_duration": 1000})
			tasks[h.load].expect(t, object{"task_type": "api_call", "average_duration": 500})

			for what, arguments := range map[string]object{
				"a window with no run": {"lookback": "1h"},
				"only a failed run":    {"from": "2024-06-05"},
				"another pipeline":     {"pipeline_uuid": ylemtest.NewUUID()},
			} {
				t.Log(what)
				p.mustRead(t, tasksDataSource, object{"pipeline_uuid": h.pipeline}.with(arguments)).expect(t, noTasks.with(arguments))
			}
		})
	}
}

func TestTasksOfTheLast30Days(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline, task := ylemtest.NewUUID(), ylemtest.NewUUID()
	for _, days := range []int{1, 29, 31, 60} {
		s.AddRows(ylemtest.Row{PipelineUUID: pipeline, TaskUUID: task, IsSuccessful: true, ExecutedAt: now.AddDate(0, 0, -days)})
	}
	p := s.connect(t, nil)
	for _, test := range []struct {
		arguments object
		runs      int
	}{
		{nil, 2},
		{object{"lookback": "48h"}, 1},
		{object{"from": "2024-01-01"}, 4},
		{object{"from": "2024-01-01", "max_runs": 3}, 3},
		{object{"to": "2024-05-01"}, 1},
	} {
		p.mustRead(t, tasksDataSource, object{"pipeline_uuid": pipeline}.with(test.arguments)).expect(t, object{"run_count": test.runs}.with(test.arguments))
	}
}

func TestTasksThatCannotBeAskedFor(t *testing.T) {
	t.Parallel()
	p := newSandbox(t).connect(t, nil)
	for _, test := range []struct {
		arguments object
		attribute string
		says      string
	}{
		{object{"from": "2024-06-01", "lookback": "24h"}, "from", "at most one of from and lookback"},
		{object{"from": "2024-06-02", "to": "2024-06-01"}, "from", "ends before it begins"},
		{object{"max_runs": 0}, "max_runs", "between 1 and 1000"},
		{object{"max_runs": 1001}, "max_runs", "between 1 and 1000"},
	} {
		_, diags := p.read(t, tasksDataSource, object{"pipeline_uuid": ylemtest.NewUUID()}.with(test.arguments))
		diags.expectError(t, test.attribute, test.says)
	}
}

// A run with a row that cannot be read may have tasks that the others lack.
func TestTasksOfAnUnreadableRun(t *testing.T) {
	t.Parallel()
	h := newHistory(t, ylemtest.OpenSource)
	run := ylemtest.NewUUID()
	h.AddRows(ylemtest.Row{PipelineUUID: h.pipeline, PipelineRunUUID: run, ExecutedAt: past.Add(time.Hour), JSON: map[string]string{"duration": "1.5"}})
	state, diags := h.connect(t, nil).read(t, tasksDataSource, object{"pipeline_uuid": h.pipeline})
	diags.expectWarning(t, "", "Some runs cannot be read", "is_uniform is false", run)
	state.expect(t, object{"run_count": 1, "is_uniform": false, "final_task_uuids": nil})
}

// A run that waits for the tasks of those before it ends exactly when all of them have reported; a period of silence would
// take an hour.
func TestWaitForTheTasksOfEarlierRuns(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, ylemtest.WithDialect(dialect))
			query, left, right := ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID()
			pipeline := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
				{UUID: query},
				{UUID: left, Duration: 300 * time.Millisecond, After: []string{query}},
				{UUID: right, Duration: 600 * time.Millisecond, After: []string{query}},
			}}).UUID
			config := strings.ReplaceAll(`
data "ylem_pipeline_tasks" "x" {
  pipeline_uuid = "PIPELINE"
}
resource "ylem_pipeline_run" "x" {
  pipeline_uuid       = "PIPELINE"
  wait_for_completion = true
  completion = {
    final_task_uuids = data.ylem_pipeline_tasks.x.final_task_uuids
    quiet_period     = "1h"
    poll_interval    = "100ms"
  }
  timeouts {
    create = "2h"
  }
}
output "tasks" {
  value = join(" ", sort([for task in ylem_pipeline_run.x.task_runs : task.task_uuid]))
}
output "status" {
  value = ylem_pipeline_run.x.status
}
output "final" {
  value = try(join(" ", sort(data.ylem_pipeline_tasks.x.final_task_uuids)), "none")
}
`, "PIPELINE", pipeline)
			for i := range 3 {
				s.AddRun(pipeline, time.Now().AddDate(0, 0, -1-i))
			}
			tf := newTerraform(t, s.config(config), "TF_CLI_ARGS_apply=-auto-approve")
			tf.mustRun(t, 0, "apply")
			tasks, final := tf.mustRun(t, 0, "output", "-raw", "tasks"), tf.mustRun(t, 0, "output", "-raw", "final")
			if tasks != final || len(strings.Fields(tasks)) != 3 {
				t.Errorf("the run's tasks are %s, the pipeline's %s", tasks, final)
			}
			tf.mustRun(t, 0, "plan", "-detailed-exitcode")

			// When the tasks are no longer the same, the run that ended stays as it is.
			s.AddRows(ylemtest.Row{PipelineUUID: pipeline, TaskUUID: ylemtest.NewUUID(), IsSuccessful: true, ExecutedAt: time.Now()})
			tf.mustRun(t, 2, "plan", "-detailed-exitcode")
			tf.mustRun(t, 0, "apply")
			if final, status := tf.mustRun(t, 0, "output", "-raw", "final"), tf.mustRun(t, 0, "output", "-raw", "status"); final != "none" || status != "succeeded" {
				t.Errorf("final tasks %s, the run %s", final, status)
			}
			tf.mustRun(t, 0, "plan", "-detailed-exitcode")
			if n := s.count(ylemtest.RouteRun); n != 1 {
				t.Errorf("%d runs, want 1", n)
			}
		})
	}
}
