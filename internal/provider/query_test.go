package provider

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/querycheck"
	"github.com/hashicorp/terraform-plugin-testing/querycheck/queryfilter"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"
	"github.com/hashicorp/terraform-plugin-testing/tfversion"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// terraform query, and what it generates, with the real terraform.

func TestAccQuery(t *testing.T) {
	needs(t, queries) // also leaves out OpenTofu
	h := newHistory(t, ylemtest.OpenSource)
	pipeline, run := knownvalue.StringExact(h.pipeline), knownvalue.StringExact
	identity := func(uuid string) map[string]knownvalue.Check {
		return map[string]knownvalue.Check{"pipeline_uuid": pipeline, "run_uuid": run(uuid)}
	}
	query := func(name, arguments, config string) string {
		return fmt.Sprintf("list \"ylem_pipeline_run\" %q {\n  provider = ylem\n  %s\n  config {\n    pipeline_uuid = %q\n    %s\n  }\n}\n", name, arguments, h.pipeline, config)
	}
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		TerraformVersionChecks:   []tfversion.TerraformVersionCheck{tfversion.SkipBelow(tfversion.Version1_14_0)},
		Steps: []resource.TestStep{
			{Config: h.config("data \"ylem_pipeline_stats\" \"any\" {\n  pipeline_uuid = \"" + h.pipeline + "\"\n  lookback = \"1h\"\n}\n")}, // what a query needs first
			{
				Query: true,
				Config: query("today", "", "") + query("all", "include_resource = true", "from = \"2024-06-01\"") +
					query("first", "limit = 1", "from = \"2024-06-01\"") + query("none", "", "status = \"running\""),
				QueryResultChecks: []querycheck.QueryResultCheck{
					querycheck.ExpectLength("ylem_pipeline_run.today", 1),
					querycheck.ExpectLength("ylem_pipeline_run.all", 2),
					querycheck.ExpectLength("ylem_pipeline_run.first", 1),
					querycheck.ExpectIdentity("ylem_pipeline_run.first", identity(h.failed)),
					querycheck.ExpectIdentity("ylem_pipeline_run.all", identity(h.good)),
					querycheck.ExpectResourceDisplayName("ylem_pipeline_run.all", queryfilter.ByResourceIdentity(identity(h.good)), knownvalue.StringExact("2024-06-01 08:00:00 succeeded, 2 tasks")),
					querycheck.ExpectResourceKnownValues("ylem_pipeline_run.all", queryfilter.ByResourceIdentity(identity(h.failed)), []querycheck.KnownValueCheck{
						{Path: tfjsonpath.New("status"), KnownValue: knownvalue.StringExact("failed")},
						{Path: tfjsonpath.New("task_runs").AtSliceIndex(1).AtMapKey("errors").AtSliceIndex(0).AtMapKey("message"), KnownValue: knownvalue.StringExact(loadError)},
					}),
				},
			},
		},
	})
}

func TestAccQueryWithAnUnknownConfiguration(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	tf := newTerraform(t, fmt.Sprintf(`
resource "terraform_data" "secret" { input = %q }
provider "ylem" { client_secret = terraform_data.secret.output }
`, s.client.Secret), envURL+"="+s.URL, envClientID+"="+s.client.ID)
	needs(t, queries)
	tf.write(t, "find.tfquery.hcl", fmt.Sprintf("list \"ylem_pipeline_run\" \"found\" {\n  provider = ylem\n  config {\n    pipeline_uuid = %q\n  }\n}\n", ylemtest.NewUUID()))
	_, stderr, code := tf.run(t, "query")
	if code != 1 || !loosely("only known after apply: client_secret").MatchString(stderr) || len(s.Requests()) != 0 {
		t.Errorf("exit code %d, %d requests\n%s", code, len(s.Requests()), stderr)
	}
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.mustRun(t, 0, "query")
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLogs: 1})()
}

// A long log is listed with all of its runs, and one that cannot be read is named.
func TestAccQueryOfALongLog(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline, broken := ylemtest.NewUUID(), ylemtest.NewUUID()
	rows := make([]ylemtest.Row, 10_000)
	for i := range rows {
		rows[i] = ylemtest.Row{PipelineUUID: pipeline, IsSuccessful: true, ExecutedAt: time.Now().Add(-time.Duration(i) * time.Second)}
	}
	s.AddRows(rows...)
	s.AddRows(ylemtest.Row{PipelineUUID: pipeline, PipelineRunUUID: broken, ExecutedAt: time.Now(), JSON: map[string]string{"duration": "1.5"}})
	tf := newTerraform(t, s.config(""))
	needs(t, queries)
	tf.write(t, "find.tfquery.hcl", fmt.Sprintf("list \"ylem_pipeline_run\" \"found\" {\n  provider = ylem\n  limit = 20000\n  config {\n    pipeline_uuid = %q\n  }\n}\n", pipeline))
	output := tf.mustRun(t, 0, "query", "-no-color")
	if n := strings.Count(output, "run_uuid="); n != len(rows) {
		t.Errorf("%d runs are listed", n)
	}
	if !loosely("Some runs cannot be read").MatchString(output) || !strings.Contains(output, broken) {
		t.Errorf("the run that cannot be read is not named: %.2000s", output)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteLogs: 1})()
}

// The generated configuration imports what was listed: the plan is clean, and nothing is started, now or later.
func TestAccGeneratedConfigurationStartsNothing(t *testing.T) {
	t.Parallel()
	for name, dialect := range dialects {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, ylemtest.WithDialect(dialect))
			tf := newTerraform(t, s.config(""))
			needs(t, queries)
			good, bad := s.triggered(ylemtest.Task{}), s.triggered(ylemtest.Task{Errors: []ylemtest.TaskError{{Message: "boom"}}})
			for range 2 {
				s.AddRun(good, time.Now().Add(-time.Hour))
			}
			s.AddRun(bad, time.Now().Add(-30*24*time.Hour))
			s.AddRows(ylemtest.Row{ // with a key, and an input that looks like a template
				PipelineUUID: good, TaskType: "external_trigger", IsSuccessful: true, ExecutedAt: time.Now().Add(-time.Minute),
				Output: []byte(`{"_idempotency_key":"${k}/0123456789ab","a":"%{ if x }"}`),
			})
			tf.write(t, "find.tfquery.hcl", fmt.Sprintf(`
list "ylem_pipeline_run" "found" {
  for_each = toset([%q, %q])
  provider = ylem
  config {
    pipeline_uuid = each.key
    lookback      = "1000h"
  }
}
`, strings.ToUpper(good), bad))
			tf.mustRun(t, 0, "query", "-generate-config-out=found.tf")
			if n := strings.Count(readFile(t, tf, "found.tf"), "import {"); n != 4 {
				t.Errorf("%d imports are generated, want 4", n)
			}
			if plan := tf.mustRun(t, 0, "plan", "-no-color"); !strings.Contains(plan, "Plan: 4 to import, 0 to add, 0 to change, 0 to destroy.") {
				t.Errorf("the plan is not clean:\n%s", plan)
			}
			tf.mustRun(t, 0, "apply", "-auto-approve")
			tf.mustRun(t, 0, "plan", "-detailed-exitcode")
			tf.mustRun(t, 0, "apply", "-auto-approve")
			s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 0})()
		})
	}
}

func readFile(t *testing.T, tf *terraform, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(tf.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// recoverCommands are run by this test only.
const recoverCommands = "guides/never-run-twice/recover/recover.sh"

// What the guide says of a killed apply without a key.
func TestAccGuideRecoversALostRun(t *testing.T) {
	t.Parallel()
	files := guide(t, "never-run-twice/recover")
	uuids := anyUUID.FindAllString(files["load.tf"], -1)
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	const trigger = "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10"
	s.AddPipeline(ylemtest.Pipeline{UUID: uuids[1], Tasks: []ylemtest.Task{
		{UUID: trigger, Type: "external_trigger"}, {UUID: uuids[0], Duration: time.Hour, After: []string{trigger}},
	}})
	s.AddRun(uuids[1], clock.Now().Add(-2*time.Hour)) // an earlier one
	load := strings.Replace(files["load.tf"], "completion = {", "completion = {\n    poll_interval = \"100ms\"", 1)
	tf := newTerraform(t, s.config(load))
	b := tf.start(t, "apply", "-auto-approve")
	b.eventually(t, "the run has begun", func() bool {
		return len(s.Runs(uuids[1])) == 1 && len(s.Rows(s.Runs(uuids[1])[0].UUID)) == 1 && s.count(ylemtest.RouteLogs) > 2
	})
	b.signalProvider(t, os.Kill)
	_, _ = b.wait(t)
	_, _ = tf.cli.Run(t.Context(), "state", "rm", "ylem_pipeline_run.load") // should a later terraform store it

	run := s.Runs(uuids[1])[0].UUID
	tf.write(t, "recover.tf", strings.Replace(files["recover.tf"], "2024-01-31T02:00:00Z", clock.Now().Add(-30*time.Minute).UTC().Format(time.RFC3339), 1))
	tf.write(t, "find.tfquery.hcl", files["find.tfquery.hcl"])
	for line := range strings.Lines(files["recover.sh"]) {
		command := strings.Fields(strings.TrimPrefix(line, "terraform "))
		switch command[0] {
		case "query":
			if fromTerraform(t, 14) {
				if output := tf.mustRun(t, 0, command...); strings.Count(output, "run_uuid=") != 1 || !strings.Contains(output, "run_uuid="+run) || !strings.Contains(output, "running, 1 task") {
					t.Errorf("the query does not show the run:\n%s", output)
				}
			}
		default:
			clock.Advance(2 * time.Hour)
			tf.mustRun(t, 0, slices.Concat(command, []string{"-auto-approve"})...)
		}
	}
	if runs := s.Runs(uuids[1]); len(runs) != 1 {
		t.Fatalf("%d runs", len(runs))
	}
	if err := os.Remove(filepath.Join(tf.dir, "recover.tf")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(tf.dir, "find.tfquery.hcl")); err != nil {
		t.Fatal(err)
	}
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	state := tf.mustRun(t, 0, "state", "show", "-no-color", "ylem_pipeline_run.load")
	for _, attribute := range []string{fmt.Sprintf("id                  = %q", run), `status              = "succeeded"`} {
		if !strings.Contains(state, attribute) {
			t.Errorf("the state does not have %s:\n%s", attribute, state)
		}
	}
}

// Where it is not clear which run was lost, the guide's import block guesses nothing.
func TestAccGuideRecoversNoOtherRun(t *testing.T) {
	t.Parallel()
	files := guide(t, "never-run-twice/recover")
	for name, ago := range map[string][]time.Duration{"none": {2 * time.Hour}, "two": {time.Minute, 2 * time.Minute}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			pipeline := anyUUID.FindAllString(files["load.tf"], -1)[1]
			s.AddPipeline(ylemtest.Pipeline{UUID: pipeline})
			for _, ago := range ago {
				s.AddRun(pipeline, time.Now().Add(-ago))
			}
			tf := newTerraform(t, s.config(files["load.tf"]))
			tf.write(t, "recover.tf", strings.Replace(files["recover.tf"], "2024-01-31T02:00:00Z", time.Now().Add(-time.Hour).UTC().Format(time.RFC3339), 1))
			if _, stderr, code := tf.run(t, "apply", "-auto-approve"); code != 1 || !strings.Contains(stderr, "recover.tf") {
				t.Errorf("exit code %d\n%s", code, stderr)
			}
			s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 0})()
		})
	}
}

// Every query of examples/ can be run, and asks for what it shows.
func TestExampleQueries(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	needs(t, queries)
	files := exampleFiles(t, filepath.Join(examples, "list-resources"), ".hcl")
	if len(files) < 3 {
		t.Errorf("only %q", files)
	}
	for _, name := range files {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(filepath.Join(examples, name))
			if err != nil {
				t.Fatal(err)
			}
			s := newSandbox(t)
			pipeline := anyUUID.FindString(string(text))
			s.AddPipeline(ylemtest.Pipeline{UUID: pipeline, Tasks: []ylemtest.Task{{Type: "external_trigger"}, {Errors: []ylemtest.TaskError{{Message: "boom"}}}}})
			s.AddRun(pipeline, time.Now().Add(-time.Hour))
			s.AddRows(ylemtest.Row{
				PipelineUUID: pipeline, TaskType: "external_trigger", ExecutedAt: time.Now().Add(-time.Hour), Output: []byte(`{"_idempotency_key":"release-1.4.2/0123456789ab"}`),
			})
			tf := newTerraform(t, s.config(""))
			tf.write(t, "example.tfquery.hcl", string(text))
			if output := tf.mustRun(t, 0, "query"); !strings.Contains(output, "run_uuid=") {
				t.Errorf("nothing is found:\n%s", output)
			}
		})
	}
}
