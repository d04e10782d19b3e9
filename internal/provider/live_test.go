package provider

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/compare"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	terraformstate "github.com/hashicorp/terraform-plugin-testing/terraform"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// These tests need no faults, so that a real Ylem passes them as well: make testlive runs them against the one that the
// environment names, and make test against the sandbox.

const (
	envTestPipeline = "YLEM_TEST_PIPELINE_UUID"
	envTestTask     = "YLEM_TEST_TASK_UUID"
)

// live is the real Ylem that the tests are to run against; url is empty where that is the sandbox.
var live struct {
	url, clientID, clientSecret string
	pipeline, task              string
}

// readLive reads the environment before TestMain empties it.
func readLive() {
	if live.pipeline = os.Getenv(envTestPipeline); live.pipeline == "" {
		return
	}
	live.task = os.Getenv(envTestTask)
	live.url, live.clientID, live.clientSecret = os.Getenv(envURL), os.Getenv(envClientID), os.Getenv(envClientSecret)
}

// newLive is a configuration of the provider for the Ylem to test against, and a pipeline and a task there that have run.
// The task is empty where there is none to test with.
func newLive(t *testing.T) (config func(more string) string, pipeline, task string) {
	t.Helper()
	if live.pipeline == "" {
		s := newSandbox(t)
		trigger, last := ylemtest.NewUUID(), ylemtest.NewUUID()
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
			{UUID: trigger, Type: "external_trigger"}, {UUID: last, Duration: 20 * time.Millisecond, After: []string{trigger}},
		}})
		s.AddRun(p.UUID, time.Now().Add(-time.Hour))
		return s.config, p.UUID, trigger
	}
	return func(more string) string {
		return fmt.Sprintf("provider \"ylem\" {\n  api_url = %q\n  client_id = %q\n  client_secret = %q\n}\n%s", live.url, live.clientID, live.clientSecret, more)
	}, live.pipeline, live.task
}

func TestLiveRun(t *testing.T) {
	config, pipeline, _ := newLive(t)
	run := func(arguments string) string {
		return config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  pipeline_uuid = %[1]q
  input         = jsonencode({ from = "terraform-provider-ylem" })
  %[2]s
}
data "ylem_pipeline_logs" "test" {
  pipeline_uuid     = %[1]q
  pipeline_run_uuid = ylem_pipeline_run.test.id
  from              = ylem_pipeline_run.test.triggered_at
}
`, pipeline, arguments))
	}
	waited := "wait_for_completion = true\non_failure = \"warn\"\ncompletion = { quiet_period = \"5s\", poll_interval = \"1s\" }"
	id := statecheck.CompareValue(compare.ValuesSame())
	acceptance(
		t,
		resource.TestStep{
			Config:           run(waited),
			ConfigPlanChecks: planned(firstRun),
			ConfigStateChecks: []statecheck.StateCheck{
				has("status", knownvalue.StringRegexp(regexp.MustCompile("^(succeeded|failed)$"))), has("triggered_at", knownvalue.NotNull()), has("finished_at", knownvalue.NotNull()),
				statecheck.ExpectKnownValue("data.ylem_pipeline_logs.test", tfjsonpath.New("runs"), knownvalue.ListSizeExact(1)),
				id.AddStateValue(runAddress, tfjsonpath.New("id")),
			},
		},
		resource.TestStep{ // nothing to do, and no other run
			Config:            run(waited),
			ConfigPlanChecks:  planned(nothing),
			ConfigStateChecks: []statecheck.StateCheck{id.AddStateValue(runAddress, tfjsonpath.New("id"))},
		},
		resource.TestStep{ // another one
			Config:           run(waited + "\ntriggers = { again = 1 }"),
			ConfigPlanChecks: planned(newRun),
		},
		resource.TestStep{
			ResourceName: runAddress, ImportState: true,
			ImportStateIdFunc: func(state *terraformstate.State) (string, error) {
				return pipeline + "/" + state.RootModule().Resources[runAddress].Primary.ID, nil
			},
		},
	)
}

func TestLiveReads(t *testing.T) {
	config, pipeline, task := newLive(t)
	reads := fmt.Sprintf(`
data "ylem_pipeline_logs" "test" {
  pipeline_uuid = %[1]q
  lookback      = "24h"
  limit         = 5
}
data "ylem_pipeline_stats" "test" {
  pipeline_uuid = %[1]q
  lookback      = "24h"
}
data "ylem_pipeline_aggregated_stats" "test" {
  pipeline_uuid     = %[1]q
  date_from         = "2024-01-01"
  period            = "year"
  number_of_periods = 50
}
data "ylem_pipeline_last_run" "test" {
  pipeline_uuid = %[1]q
}
`, pipeline)
	checks := []statecheck.StateCheck{
		statecheck.ExpectKnownValue("data.ylem_pipeline_logs.test", tfjsonpath.New("truncated"), knownvalue.NotNull()),
		statecheck.ExpectKnownValue("data.ylem_pipeline_stats.test", tfjsonpath.New("num_of_failures"), knownvalue.NotNull()),
		statecheck.ExpectKnownValue("data.ylem_pipeline_aggregated_stats.test", tfjsonpath.New("stats"), knownvalue.NotNull()),
	}
	if task == "" {
		t.Logf("%s is not set: no task is read", envTestTask)
	} else {
		reads += fmt.Sprintf(`
data "ylem_task_stats" "test" {
  task_uuid = %[1]q
  lookback  = "24h"
}
data "ylem_task_aggregated_stats" "test" {
  task_uuid         = %[1]q
  date_from         = "2024-01-01"
  period            = "year"
  number_of_periods = 50
}
data "ylem_task_last_run" "test" {
  task_uuid = %[1]q
}
`, task)
		checks = append(checks, statecheck.ExpectKnownValue("data.ylem_task_stats.test", tfjsonpath.New("num_of_failures"), knownvalue.NotNull()))
	}
	acceptance(t, resource.TestStep{Config: config(reads), ConfigStateChecks: checks})
}

func TestLiveRefusals(t *testing.T) {
	config, pipeline, _ := newLive(t)
	run := func(uuid string) string {
		return fmt.Sprintf("resource \"ylem_pipeline_run\" \"test\" {\n  pipeline_uuid = %q\n}\n", uuid)
	}
	provider := func(argument, value string) string {
		return regexp.MustCompile(`(?m)^  `+argument+`\s+= .*$`).ReplaceAllString(config(run(pipeline)), "  "+argument+" = "+value)
	}
	acceptance(
		t,
		resource.TestStep{Config: config(run(ylemtest.NewUUID())), ExpectError: regexp.MustCompile(`Ylem finds no pipeline to run`)},
		resource.TestStep{Config: provider("client_secret", `"wrong"`), ExpectError: regexp.MustCompile(`Ylem refused the client's secret`)},
		resource.TestStep{Config: provider("client_id", fmt.Sprintf("%q", ylemtest.NewUUID())), ExpectError: regexp.MustCompile(`Ylem gave no access token`)},
		resource.TestStep{
			Config:      provider("client_id", fmt.Sprintf("%q\n  scopes = [\"no:such\"]", "x")),
			ExpectError: regexp.MustCompile(`Ylem (refused the scopes|gave no access token)`),
		},
	)
}
