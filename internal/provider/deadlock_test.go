package provider

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// Pipelines that have never run make the real server's database deadlock when only two of them are started at once. With
// the defaults, each of them is started once and none is reported.
func TestAccFirstRunsDeadlock(t *testing.T) {
	t.Parallel()
	const runs = 40
	s := newSandbox(t, ylemtest.WithDeadlocks(0))
	s.SetLatency(100 * time.Millisecond) // so that requests meet
	var uuids []string
	for range runs {
		uuids = append(uuids, s.AddPipeline(ylemtest.Pipeline{}).UUID)
	}
	newTerraform(t, s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  for_each      = toset(["%s"])
  pipeline_uuid = each.key
}
`, strings.Join(uuids, `", "`)))).mustRun(t, 0, "apply", "-auto-approve")
	for _, uuid := range uuids {
		if n := len(s.Runs(uuid)); n != 1 {
			t.Errorf("%d runs of pipeline %s", n, uuid)
		}
	}
	deadlocks := s.Deadlocks()
	if deadlocks == 0 {
		t.Error("there was no deadlock: the test proves nothing")
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: runs + deadlocks})()
}

func TestDeadlocksWithoutEnd(t *testing.T) {
	t.Parallel()
	for retries, requests := range map[int]int{0: 1, 2: 3} {
		s := newSandbox(t)
		s.Inject(ylemtest.DeadlockFault(-1))
		arguments := s.ran()
		state, diags := s.connect(t, object{"max_retries": retries}).create(t, arguments)
		diags.expectError(t, "pipeline_uuid", "database rolled the run back", "deadlock", "max_concurrent_runs", "max_retries",
			"No run of pipeline "+arguments["pipeline_uuid"].(string)+" was started", "500 Internal Server Error")
		if state != nil || strings.Contains(diags.String(), "may have been started") {
			t.Errorf("%v%s", state, diags)
		}
		s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: requests})()
	}
}

// A server that cannot store an input answers as if its database had a deadlock. An input that is known only when the action is
// invoked is checked then.
func TestLongInputIsNoDeadlock(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.ran()
	p := s.connect(t, nil)
	for _, name := range []string{"input", "input_wo"} {
		config := toDynamic(t, p.schema.ActionSchemas[actionName].Schema.ValueType(), pipeline.with(object{name: strings.Repeat("x", 65536)}))
		stream, err := p.server.(tfprotov6.ActionServer).InvokeAction(t.Context(), &tfprotov6.InvokeActionRequest{ActionType: actionName, Config: config})
		if err != nil {
			t.Fatal(err)
		}
		for event := range stream.Events {
			if completed, ok := event.Type.(tfprotov6.CompletedInvokeActionEventType); ok {
				diagnostics(completed.Diagnostics).expectError(t, name, "Input too long", "65536 bytes", "65,535 bytes")
			}
		}
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 0})()
}
