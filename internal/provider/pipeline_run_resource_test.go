package provider

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const runAddress = "ylem_pipeline_run.test"

// run is the configuration of a run of the pipeline with more arguments.
func (s *sandbox) run(pipelineUUID, arguments string) string {
	return s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  pipeline_uuid = %q
  %s
}
`, pipelineUUID, arguments))
}

// planned expects what terraform is going to do with the run.
func planned(action plancheck.ResourceActionType) resource.ConfigPlanChecks {
	return resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{plancheck.ExpectResourceAction(runAddress, action)}}
}

const (
	nothing  = plancheck.ResourceActionNoop
	inPlace  = plancheck.ResourceActionUpdate
	newRun   = plancheck.ResourceActionDestroyBeforeCreate
	firstRun = plancheck.ResourceActionCreate
)

// step applies a configuration, expects what is planned, and how many runs were started since the sandbox began.
// A second plan without changes is part of every step.
func (s *sandbox) step(t *testing.T, config string, action plancheck.ResourceActionType, runs int, checks ...statecheck.StateCheck) resource.TestStep {
	t.Helper()
	return resource.TestStep{
		Config:            config,
		ConfigPlanChecks:  planned(action),
		ConfigStateChecks: checks,
		PostApplyFunc:     s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: runs}),
	}
}

// has expects an attribute of the run.
func has(attribute string, value knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(runAddress, tfjsonpath.New(attribute), value)
}

func text(s string) knownvalue.Check { return knownvalue.StringExact(s) }

func TestAccPipelineRunStartsWhenAskedAndNeverElse(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
	other := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
	acceptance(
		t,
		s.step(t, s.run(p, ""), firstRun, 1, has("status", text("pending")), has("is_successful", knownvalue.Null()), has("finished_at", knownvalue.Null()),
			has("duration", knownvalue.Null()), has("task_runs", knownvalue.ListExact(nil)), has("wait_for_completion", knownvalue.Bool(false))),
		s.step(t, s.run(p, ""), nothing, 1),
		s.step(t, s.run(strings.ToUpper(p), ""), inPlace, 1, has("pipeline_uuid", text(strings.ToUpper(p)))),
		s.step(t, s.run(p, `triggers = {}`), inPlace, 1),
		s.step(t, s.run(p, ``), inPlace, 1),
		s.step(t, s.run(p, `input = ""`), inPlace, 1),
		s.step(t, s.run(p, ``), inPlace, 1),
		s.step(t, s.run(p, `triggers = { a = 1 }`), newRun, 2),
		s.step(t, s.run(p, `triggers = { a = 1 }`), nothing, 2),
		s.step(t, s.run(p, `triggers = { a = 2 }`), newRun, 3),
		s.step(t, s.run(p, `triggers = { a = 2, b = 3 }`), newRun, 4),
		s.step(t, s.run(p, ``), inPlace, 4, has("triggers", knownvalue.Null())),
		s.step(t, s.run(p, `input = "x"`), newRun, 5),
		s.step(t, s.run(p, `input = "y"`), newRun, 6),
		s.step(t, s.run(p, ``), newRun, 7),
		s.step(t, s.run(p, `input_wo = "secret one"`), nothing, 7),
		s.step(t, s.run(p, "input_wo = \"secret one\"\ninput_wo_version = 1"), newRun, 8, has("input_wo", knownvalue.Null())),
		s.step(t, s.run(p, "input_wo = \"secret two\"\ninput_wo_version = 1"), nothing, 8),
		s.step(t, s.run(p, "input_wo = \"secret two\"\ninput_wo_version = 2"), newRun, 9),
		s.step(t, s.run(p, "input_wo = \"secret two\"\ninput_wo_version = 2\ntimeouts {\n  create = \"1m\"\n}"), inPlace, 9),
		s.step(t, s.run(other, "input_wo = \"secret two\"\ninput_wo_version = 2"), newRun, 10),
	)
	if t.Failed() {
		return
	}
	var inputs []string
	for _, run := range s.Runs("") {
		inputs = append(inputs, string(run.Input))
	}
	want := []string{"", "", "", "", "x", "y", "", "secret one", "secret two", "secret two"}
	if fmt.Sprint(inputs) != fmt.Sprint(want) {
		t.Errorf("inputs %q, want %q", inputs, want)
	}
	if n := s.count(ylemtest.RouteRun); n != 10 {
		t.Errorf("%d runs after the destruction", n)
	}
}

func TestAccPipelineRunInputArrivesByteForByte(t *testing.T) {
	s := newSandbox(t)
	inputs := map[string]string{
		"json":      `{"day":"2024-01-31","list":[1,2.50,null],"nested":{"a":"<b>&amp;"}}`,
		"text":      "not JSON: {\n\ttabs, \"quotes\", 'single', back\\slash and a % sign\n",
		"empty":     "",
		"braces":    "{}",
		"non_ascii": "Ünïcødé – 日本語 – 😀",
		"large":     strings.Repeat("0123456789abcde\n", 60*1024/16),
		"limit":     strings.Repeat("x", 65535),
	}
	var config strings.Builder
	pipelines := map[string]string{}
	for name, input := range inputs {
		pipelines[name] = s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Type: "external_trigger"}}}).UUID
		fmt.Fprintf(&config, "resource \"ylem_pipeline_run\" %q {\n  pipeline_uuid = %q\n  input = %s\n}\n", name, pipelines[name], hclQuote(input))
	}
	acceptance(t, resource.TestStep{
		Config:        s.config(config.String()),
		PostApplyFunc: s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: len(inputs)}),
	})
	for name, input := range inputs {
		runs := s.Runs(pipelines[name])
		if len(runs) != 1 || string(runs[0].Input) != input {
			t.Errorf("%s: %d runs, or the input is not what was given", name, len(runs))
		}
	}
}

// hclQuote writes a string as an HCL literal.
func hclQuote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "${", "$${", "%{", "%%{").Replace(s) + `"`
}

func TestAccPipelineRunOfTheReferenceDialect(t *testing.T) {
	s := newSandbox(t, ylemtest.WithDialect(ylemtest.Reference))
	first, second := ylemtest.NewUUID(), ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: first, Unended: true}, {UUID: second, Unended: true}}}).UUID
	acceptance(t, s.step(t, s.run(p, ""), firstRun, 1, has("status", text("pending")), has("task_runs", knownvalue.ListPartial(map[int]knownvalue.Check{
		0: knownvalue.ObjectPartial(map[string]knownvalue.Check{
			"task_uuid": text(first), "state": text("pending"), "is_successful": knownvalue.Null(), "task_run_uuid": knownvalue.NotNull(),
		}),
		1: knownvalue.ObjectPartial(map[string]knownvalue.Check{"task_uuid": text(second)}),
	}))))
}

func TestAccPipelineRunDependsOnOtherResources(t *testing.T) {
	s := newSandbox(t)
	p := s.slow()
	config := func(version string, more string) string {
		return s.config(fmt.Sprintf(`
resource "terraform_data" "release" {
  input = %q
}
resource "terraform_data" "replaced" {
  triggers_replace = %[1]q
}
resource "ylem_pipeline_run" "test" { # a value that is known after apply only
  pipeline_uuid = %[2]q
  triggers      = { release = terraform_data.release.output }
}
resource "ylem_pipeline_run" "before" {
  pipeline_uuid = %[2]q
  input         = %[1]q
  lifecycle { create_before_destroy = true }
}
resource "ylem_pipeline_run" "by_trigger" {
  pipeline_uuid = %[2]q
  lifecycle { replace_triggered_by = [terraform_data.replaced] }
}
%[3]s
`, version, p, more))
	}
	acceptance(
		t,
		resource.TestStep{
			Config:        config("v1", ""),
			PostApplyFunc: s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 3}),
		},
		resource.TestStep{
			Config: config("v2", ""),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(runAddress, plancheck.ResourceActionDestroyBeforeCreate),
				plancheck.ExpectResourceAction("ylem_pipeline_run.before", plancheck.ResourceActionCreateBeforeDestroy),
				plancheck.ExpectResourceAction("ylem_pipeline_run.by_trigger", plancheck.ResourceActionDestroyBeforeCreate),
			}},
			PostApplyFunc: s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 6}),
		},
		resource.TestStep{
			Config: strings.ReplaceAll(config("v2", `
moved {
  from = ylem_pipeline_run.before
  to   = ylem_pipeline_run.renamed
}`), `"ylem_pipeline_run" "before"`, `"ylem_pipeline_run" "renamed"`),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction("ylem_pipeline_run.renamed", plancheck.ResourceActionNoop),
			}},
			PostApplyFunc: s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 6}),
		},
	)
}

func TestAccPipelineRunImport(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{})
	for name, started := range map[string]struct{ years, months, days int }{
		"today": {}, "this month": {days: -20}, "long ago": {years: -3},
	} {
		unknown := []string{"input", "triggers", "wait_for_completion"}
		if name == "today" { // its end is presumed only if the configuration says when, or after a day
			unknown = append(unknown, "status", "is_successful", "finished_at", "duration")
		}
		t.Run(name, func(t *testing.T) {
			run := s.AddRun(p.UUID, s.now().AddDate(started.years, started.months, started.days).Add(-60e9))
			acceptance(
				t,
				resource.TestStep{
					// The configuration holds what cannot be known of an imported run: it is adopted.
					Config: s.run(p.UUID, "input = \"x\"\ntriggers = { a = 1 }\nwait_for_completion = true") + fmt.Sprintf(
						"import {\n  to = %s\n  id = \"%s/%s\"\n}\n", runAddress, p.UUID, run.UUID),
					ConfigPlanChecks: planned(inPlace),
					ConfigStateChecks: []statecheck.StateCheck{
						has("id", text(run.UUID)), has("status", text("succeeded")), has("input", text("x")), has("is_successful", knownvalue.Bool(true)),
					},
				},
				resource.TestStep{
					ResourceName:            runAddress,
					ImportState:             true,
					ImportStateId:           p.UUID + "/" + strings.ToUpper(run.UUID),
					ImportStateVerify:       true,
					ImportStateVerifyIgnore: unknown,
				},
			)
		})
	}
	t.Cleanup(func() {
		if n := s.count(ylemtest.RouteRun); n != 0 {
			t.Errorf("%d runs were started", n)
		}
	})
}

func TestAccPipelineRunImportAdoptsOnlyAtFirst(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	run := s.AddRun(p, s.now().Add(-60e9))
	imported := fmt.Sprintf("import {\n  to = %s\n  id = \"%s/%s\"\n}\n", runAddress, p, run.UUID)
	acceptance(
		t,
		s.step(t, s.run(p, "")+imported, nothing, 0),
		resource.TestStep{RefreshState: true},
		s.step(t, s.run(p, ""), nothing, 0),
		s.step(t, s.run(p, "input = \"taken over\"\ntriggers = { a = 1 }"), inPlace, 0),
		s.step(t, s.run(p, "input = \"meant\"\ntriggers = { a = 1 }"), newRun, 1),
	)
}

func TestAccPipelineRunImportOfWhatIsNotThere(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	failing := func(id, message string) resource.TestStep {
		return resource.TestStep{
			Config:       requiredProvider() + s.run(p, ""), // an import as the first step leaves it out
			ResourceName: runAddress, ImportState: true, ImportStateId: id,
			ExpectError: regexp.MustCompile(strings.ReplaceAll(message, " ", `\s+`)),
		}
	}
	acceptance(
		t,
		failing("nonsense", "is not a valid import ID. Use PIPELINE_UUID/RUN_UUID"),
		failing(p, "is not a valid import ID"),
		failing(p+"/"+p+"/", "is not a valid import ID"),
		failing(p+"/"+ylemtest.NewUUID(), "The run is not in the log"),
	)
}

func TestAccPipelineRunOfAClientThatMayOnlyRun(t *testing.T) {
	s := newSandbox(t)
	s.client = s.AddClient(ylemtest.Client{Scopes: []string{"pipelines:run"}})
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	acceptance(
		t,
		s.step(t, s.run(p, ""), firstRun, 1, has("status", text("pending"))),
		s.step(t, s.run(p, ""), nothing, 1, has("status", text("pending"))),
		resource.TestStep{
			Config:      s.run(p, "triggers = { a = 1 }\nwait_for_completion = true"),
			ExpectError: regexp.MustCompile(`(?s)scope stats:read is missing.*No run of pipeline`),
		},
	)
	if n := s.count(ylemtest.RouteRun); n != 1 {
		t.Errorf("%d runs, want 1: a run whose log cannot be read must not be started", n)
	}
}

func TestAccPipelineRunRefreshOfFinishedRunsAsksNothing(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{}}}).UUID
	config := s.config(fmt.Sprintf("resource \"ylem_pipeline_run\" \"test\" {\n  count = 20\n  pipeline_uuid = %q\n"+
		"  wait_for_completion = true\n  completion = { final_task_uuids = [%q], poll_interval = \"100ms\" }\n}\n", p, s.tasks(p)[0]))
	acceptance(t, resource.TestStep{
		Config: config,
		PostApplyFunc: func() {
			s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 20})()
			s.ResetRequests()
		},
	}, resource.TestStep{
		Config: config,
		PostApplyFunc: func() {
			if all := s.Requests(); len(all) != 0 {
				t.Errorf("%d requests for runs that have finished, the first for %s", len(all), all[0].Path)
			}
		},
	})
}

func TestAccPipelineRunRefreshOfUnfinishedRunsAsksOnce(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
	config := s.config(fmt.Sprintf("resource \"ylem_pipeline_run\" \"test\" {\n  count = 20\n  pipeline_uuid = %q\n}\n", p))
	acceptance(t, resource.TestStep{
		Config: config,
		// What follows is a plan of its own.
		ConfigPlanChecks: resource.ConfigPlanChecks{PostApplyPreRefresh: []plancheck.PlanCheck{resetRequests{s}}},
	}, resource.TestStep{
		RefreshState: true,
		PostApplyFunc: func() {
			// One for each of terraform's refreshes: each is a process of its own to the provider.
			if logs, tokens := s.count(ylemtest.RouteLogs), s.count(ylemtest.RouteToken); logs != tokens || logs == 0 {
				t.Errorf("%d requests for the log from %d processes", logs, tokens)
			}
		},
	})
	if n := len(s.Runs(p)); n != 20 {
		t.Errorf("%d runs", n)
	}
}

// requiredProvider names the provider as the testing framework serves it.
func requiredProvider() string {
	return fmt.Sprintf(`
terraform {
  required_providers {
    ylem = { source = "%s/%s/ylem" }
  }
}
`, cmp.Or(os.Getenv("TF_ACC_PROVIDER_HOST"), "registry.terraform.io"), cmp.Or(os.Getenv("TF_ACC_PROVIDER_NAMESPACE"), "hashicorp"))
}
