package provider

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// guide returns the files of a guide's example.
func guide(t *testing.T, name string) map[string]string {
	t.Helper()
	return readExample(t, filepath.Join(examples, "guides", name))
}

// addAiling makes a pipeline of every UUID in a text, whose tasks have all of these UUIDs too, as addExamplePipelines
// does. But each run takes 61 seconds, and fails: one did an hour ago.
func (s *sandbox) addAiling(text string) {
	var p ylemtest.Pipeline
	for _, uuid := range anyUUID.FindAllString(text, -1) {
		p.Tasks = append(p.Tasks, ylemtest.Task{UUID: uuid, Errors: []ylemtest.TaskError{{Message: "broken"}}})
	}
	for _, task := range p.Tasks {
		p.UUID = task.UUID
		s.AddPipeline(p)
		s.AddRows(ylemtest.Row{PipelineUUID: p.UUID, TaskUUID: task.UUID, Duration: 61_000, ExecutedAt: time.Now().Add(-time.Hour)})
	}
}

// A gate that lets everything through is no gate: here all of them close. (TestExamplesApply shows that they open.)
func TestGatesClose(t *testing.T) {
	t.Parallel()
	const gates = "guides/gate-an-apply-on-pipeline-health"
	for name, test := range map[string]struct {
		files   []string
		ran     bool // else nothing ever did
		command string
		code    int
		says    string
	}{
		"check, failed":         {[]string{gates + "/check.tf"}, true, "plan", 0, "or is older than 26 hours"},
		"check, nothing ran":    {[]string{gates + "/check.tf"}, false, "plan", 0, "or is older than 26 hours"},
		"precondition, failed":  {[]string{gates + "/precondition.tf"}, true, "plan", 1, "or a run failed"},
		"precondition, none":    {[]string{gates + "/precondition.tf"}, false, "plan", 1, "did not run in the last 24 hours"},
		"postcondition, failed": {[]string{gates + "/postcondition.tf"}, true, "plan", 1, "the query never succeeded"},
		"postcondition, none":   {[]string{gates + "/postcondition.tf"}, false, "plan", 1, "the query never succeeded"},
		"run":                   {[]string{gates + "/run.tf"}, true, "apply", 1, "The run failed"},
		"statistics, failed":    {pageOf("ylem_pipeline_stats"), true, "plan", 0, "nothing succeeded"},
		"statistics, none":      {pageOf("ylem_pipeline_stats"), false, "plan", 0, "nothing succeeded"},
		"last run, failed":      {pageOf("ylem_pipeline_last_run"), true, "plan", 0, "The orders are not up to date"},
		"last run, none":        {pageOf("ylem_pipeline_last_run"), false, "plan", 0, "The orders are not up to date"},
		"task's last run, none": {pageOf("ylem_task_last_run"), false, "plan", 0, "The last query failed"},
		"task's last run, slow": {pageOf("ylem_task_last_run"), true, "plan", 0, "The last query failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var text string
			for _, file := range test.files {
				text += readExample(t, filepath.Join(examples, filepath.Dir(file)))[filepath.Base(file)]
			}
			s := newSandbox(t)
			if test.ran {
				s.addAiling(text)
			}
			tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
			stdout, stderr, code := tf.run(t, test.command, "-no-color")
			if code != test.code || !strings.Contains(strings.Join(strings.Fields(stdout+stderr), " "), test.says) {
				t.Errorf("exit code %d, want %d and %q:\n%s%s", code, test.code, test.says, stdout, stderr)
			}
			if strings.Contains(stdout, "terraform_data.release: Creation complete") {
				t.Errorf("the release did not wait for the migration:\n%s", stdout)
			}
		})
	}
}

// pageOf are the first example of a data source's page and its check.
func pageOf(dataSource string) []string {
	return []string{"data-sources/" + dataSource + "/data-source.tf", "data-sources/" + dataSource + "/data-source_check.tf"}
}

func TestFleetIsSummedUp(t *testing.T) {
	t.Parallel()
	files := guide(t, "watch-a-fleet-of-pipelines")
	text := files["fleet.tf"] + files["check.tf"]
	s := newSandbox(t)
	pipelines := anyUUID.FindAllString(text, -1)
	hourAgo := time.Now().Add(-time.Hour)
	s.AddRows(
		ylemtest.Row{PipelineUUID: pipelines[0], IsSuccessful: true, Duration: 1500, ExecutedAt: hourAgo},
		ylemtest.Row{PipelineUUID: pipelines[1], ExecutedAt: hourAgo},
	)
	tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
	tf.mustRun(t, 0, "apply", "-no-color")
	got := strings.Join(strings.Fields(tf.mustRun(t, 0, "output", "-json", "fleet")), " ")
	if want := `{"customers":"failed tasks: 1","orders":"runs: 1, each 1.5 s on average","report":"never ran"}`; got != want {
		t.Errorf("the fleet is %s, want %s", got, want)
	}
	before := s.count(ylemtest.RouteStats)
	out := tf.mustRun(t, 0, "plan", "-no-color", "-refresh=false")
	if n := s.count(ylemtest.RouteStats) - before; n != len(pipelines) {
		t.Errorf("a plan without a refresh sends %d requests, want %d", n, len(pipelines))
	}
	if !strings.Contains(out, "Needs attention: customers, report.") {
		t.Errorf("the check does not name them:\n%s", out)
	}
}

// Whatever each of the guide's resources reacts to starts one run of its pipeline.
func TestChangesStartRuns(t *testing.T) {
	t.Parallel()
	files := guide(t, "react-to-infrastructure-changes")
	text := files["triggers.tf"] + files["replace-triggered-by.tf"]
	s := newSandbox(t)
	s.addExamplePipelines(text)
	tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
	apply := func(changed string, want int) {
		t.Helper()
		tf.mustRun(t, 0, "apply")
		if n := s.count(ylemtest.RouteRun); n != want {
			t.Errorf("%s: %d runs, want %d", changed, n, want)
		}
	}
	tf.write(t, "schema.sql", files["schema.sql"])
	apply("everything is new", 2)
	apply("nothing", 2)
	tf.write(t, "schema.sql", "-- version 2")
	apply("the schema", 3)
	text = strings.Replace(text, "db.internal", "db2.internal", 1)
	tf.write(t, "main.tf", requirements+s.config(text))
	apply("the database", 4)
	text = strings.Replace(text, "reports, version 2", "reports, version 3", 1)
	tf.write(t, "main.tf", requirements+s.config(text))
	apply("the bucket", 5)
}

// The guide's window for the log of a run holds all of its rows, also if the clocks of the tasks are behind.
func TestGuideReadsTheLogOfARun(t *testing.T) {
	t.Parallel()
	files := guide(t, "wait-for-a-run")
	text := strings.Replace(files["wait.tf"], "completion = {", "completion = {\n    poll_interval = \"100ms\"", 1) + files["outputs.tf"] + "output \"rows\" {\n  value = length(data.ylem_pipeline_logs.import.logs)\n}\n"
	uuids := anyUUID.FindAllString(files["wait.tf"], -1)
	s := newSandbox(t)
	query := ylemtest.Task{UUID: "449c3c47-427e-465e-b1d2-0bf257b714e4", Output: []byte(`[{"rows":7}]`), ClockBehind: 3 * time.Second}
	s.AddPipeline(ylemtest.Pipeline{UUID: uuids[0], Tasks: []ylemtest.Task{
		query,
		{UUID: uuids[1], Type: "api_call", Duration: 10 * time.Millisecond, After: []string{query.UUID}, ClockBehind: 3 * time.Second},
		{UUID: uuids[2], Type: "notification", Duration: 20 * time.Millisecond, After: []string{query.UUID}, ClockBehind: 3 * time.Second},
	}})
	tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
	tf.mustRun(t, 0, "apply")
	for output, want := range map[string]string{"rows": "3", "rows_read": `[[{"rows":7}]]`} {
		if got := strings.Join(strings.Fields(tf.mustRun(t, 0, "output", "-json", output)), ""); got != want {
			t.Errorf("%s is %s, want %s", output, got, want)
		}
	}
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
}

// After a for-each, the guide's configuration does not take the first row of the last task for the end.
func TestGuideWaitsForEveryItem(t *testing.T) {
	t.Parallel()
	text := strings.Replace(guide(t, "wait-for-a-run")["for-each.tf"], `"2m"`, "\"2s\"\n    poll_interval = \"100ms\"", 1)
	uuids := anyUUID.FindAllString(text, -1)
	s := newSandbox(t)
	const forEach = "449c3c47-427e-465e-b1d2-0bf257b714e4"
	s.AddPipeline(ylemtest.Pipeline{UUID: uuids[0], Tasks: []ylemtest.Task{
		{UUID: forEach, Type: "for_each", Items: 3},
		{
			UUID: uuids[1], Duration: 300 * time.Millisecond, After: []string{forEach},
			Errors: []ylemtest.TaskError{{Message: "the third item is broken"}}, FailOnPass: 3,
		},
	}})
	tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
	_, stderr, code := tf.run(t, "apply", "-no-color")
	if code != 1 || !strings.Contains(strings.Join(strings.Fields(stderr), " "), "the third item is broken") {
		t.Errorf("exit code %d, want 1 and the failure of the third item:\n%s", code, stderr)
	}
}

// What the guide says of running again with a key and on purpose.
func TestGuideRunsOnceForAKey(t *testing.T) {
	t.Parallel()
	text := guide(t, "never-run-twice")["date.tf"]
	s := newSandbox(t)
	s.AddPipeline(ylemtest.Pipeline{UUID: anyUUID.FindString(text), Tasks: []ylemtest.Task{{Type: "external_trigger"}}})
	tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
	apply := func(what string, runs int, arguments ...string) {
		t.Helper()
		tf.mustRun(t, 0, append([]string{"apply"}, arguments...)...)
		if n := s.count(ylemtest.RouteRun); n != runs {
			t.Errorf("%s: %d runs, want %d", what, n, runs)
		}
	}
	apply("new", 1)
	apply("replaced", 1, "-replace=ylem_pipeline_run.load")
	tf.mustRun(t, 0, "destroy", "-auto-approve")
	apply("destroyed and applied", 1)
	apply("another day", 2, "-var=day=2024-02-01")
	if input := string(s.Runs("")[1].Input); !strings.HasPrefix(input, `{"_idempotency_key":"2024-02-01/`) || !strings.HasSuffix(input, `","day":"2024-02-01"}`) {
		t.Errorf("the input is %s", input)
	}
}

// backfillCommand is run by this test only.
const backfillCommand = "guides/backfill-day-by-day/apply.sh"

// A backfill of 60 days that is killed, applied again, interrupted and applied again runs each day once, at most four at a
// time.
func TestAccGuideBackfills(t *testing.T) {
	t.Parallel()
	files := guide(t, "backfill-day-by-day")
	uuids := anyUUID.FindAllString(files["backfill.tf"], -1)
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	const trigger = "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10"
	const taskTakes = time.Minute
	s.AddPipeline(ylemtest.Pipeline{UUID: uuids[0], Tasks: []ylemtest.Task{
		{UUID: trigger, Type: "external_trigger"}, {UUID: uuids[1], Duration: taskTakes, After: []string{trigger}},
	}})
	tf := newTerraform(t, s.config(anyPause.ReplaceAllString(files["backfill.tf"], `$1"100ms"`)))
	command := append(strings.Fields(strings.TrimPrefix(files[filepath.Base(backfillCommand)], "terraform ")), "-auto-approve", "-no-color")

	// running is how many runs have only reported their trigger.
	running := func() (n int) {
		for _, run := range s.Runs(uuids[0]) {
			if len(s.Rows(run.UUID)) == 1 {
				n++
			}
		}
		return n
	}
	// applyUntil starts an apply, and lets time pass until this number of days has been started and the last of them are running.
	applyUntil := func(days int) *background {
		t.Helper()
		b := tf.start(t, command...)
		seen := len(s.Runs(uuids[0]))
		b.eventually(t, "the days are running", func() bool {
			n := running()
			if n > 4 {
				t.Errorf("%d days are running at once", n)
			}
			started := len(s.Runs(uuids[0]))
			if started >= days {
				return n > 0 || started == 60 // the last one may have been started just before time passed
			}
			if started > seen {
				seen = started
				clock.Advance(2 * taskTakes)
			}
			return false
		})
		return b
	}

	b := applyUntil(20)
	b.signalProvider(t, os.Kill)
	b.Kill()
	_, _ = b.wait(t)
	_ = os.Remove(filepath.Join(tf.dir, ".terraform.tfstate.lock.info"))

	clock.Advance(2 * taskTakes)
	b = applyUntil(40)
	if err := b.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, interrupted := b.wait(t)

	clock.Advance(2 * taskTakes)
	b = applyUntil(60)
	clock.Advance(2 * taskTakes)
	code, completed := b.wait(t)
	if code != 0 {
		t.Fatalf("exit code %d\n%s", code, completed)
	}
	// Terraform creates the days in any order, so either apply may come to them.
	if !loosely("A run with this idempotency key was adopted").MatchString(interrupted + completed) {
		t.Errorf("what was running when Terraform was killed was not found:\n%s%s", interrupted, completed)
	}

	days := map[string]int{}
	for _, run := range s.Runs(uuids[0]) {
		var input struct{ Day string }
		if err := json.Unmarshal(run.Input, &input); err != nil {
			t.Fatal(err)
		}
		days[input.Day]++
	}
	for day := range 60 {
		name := time.Date(2024, 1, 1+day, 0, 0, 0, 0, time.UTC).Format(time.DateOnly)
		if days[name] != 1 {
			t.Errorf("%s ran %d times", name, days[name])
		}
	}
	if n := len(s.Runs(uuids[0])); n != 60 {
		t.Errorf("%d runs", n)
	}

	requests := len(s.Requests())
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	if n := len(s.Requests()) - requests; n != 0 {
		t.Errorf("a plan of what is complete sends %d requests", n)
	}
	if plan := tf.mustRun(t, 2, "plan", "-detailed-exitcode", "-no-color", "-var=number_of_days=61"); !strings.Contains(plan, "Plan: 1 to add, 0 to change, 0 to destroy.") {
		t.Errorf("with one day more:\n%s", plan)
	}
}

// A day that fails holds up no other, and it alone runs again.
func TestAccGuideBackfillRunsFailedDaysAgain(t *testing.T) {
	t.Parallel()
	text := guide(t, "backfill-day-by-day")["backfill.tf"]
	uuids := anyUUID.FindAllString(text, -1)
	s := newSandbox(t)
	load := func(errors ...ylemtest.TaskError) {
		const trigger = "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10"
		s.AddPipeline(ylemtest.Pipeline{UUID: uuids[0], Tasks: []ylemtest.Task{
			{UUID: trigger, Type: "external_trigger"}, {UUID: uuids[1], Errors: errors, After: []string{trigger}},
		}})
	}
	tf := newTerraform(t, s.config(anyPause.ReplaceAllString(text, `$1"100ms"`)), "TF_CLI_ARGS_apply=-auto-approve -parallelism=1")
	apply := func(days string, code, runs int) {
		t.Helper()
		tf.mustRun(t, code, "apply", "-var=number_of_days="+days)
		if n := len(s.Runs(uuids[0])); n != runs {
			t.Errorf("%s days: %d runs, want %d", days, n, runs)
		}
	}
	load()
	apply("2", 0, 2)
	load(ylemtest.TaskError{Message: "broken"})
	apply("5", 1, 5)
	load()
	apply("5", 0, 8)
	apply("6", 0, 9)
	apply("3", 0, 9)
}
