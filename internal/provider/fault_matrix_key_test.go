package provider

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// With a key, whatever becomes of the request that starts a run, the next apply ends with one run: the one that was started,
// or a first one. (Faults on the way to Ylem start nothing.)
func TestAccFaultMatrixWithAKey(t *testing.T) {
	t.Parallel()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	var config strings.Builder
	config.WriteString(s.provider("max_retries = 2\nmax_concurrent_runs = 100\nrequest_timeout = \"5s\""))
	pipelines := map[string]string{}
	for i, f := range faultMatrix() {
		if f.way != "" && f.way != "brief" {
			continue
		}
		// The fault comes before or after the start, whose trigger reports in time to be found at once, or only for the next apply.
		for _, kind := range []string{"before", "after", "late"} {
			name, after := fmt.Sprintf("fault_%02d_%s", i, kind), kind != "before"
			trigger := ylemtest.Task{Type: "external_trigger"}
			if kind == "late" {
				trigger.ReportDelay = time.Minute
			}
			p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{trigger}}).UUID
			pipelines[name] = p
			if f.change != nil {
				s.UpdatePipeline(p, f.change)
			}
			for _, fault := range f.faults {
				fault.Route, fault.PipelineUUID = ylemtest.RouteRun, p
				fault.After = fault.After || after && f.says == maybeStarted
				s.Inject(fault)
			}
			fmt.Fprintf(&config, "resource \"ylem_pipeline_run\" %q {\n  pipeline_uuid = %q\n  idempotency_key = %[1]q\n  timeouts { create = \"3s\" }\n}\n", name, p)
		}
	}
	tf := newTerraform(t, config.String())
	tf.mustRun(t, 1, "apply", "-auto-approve", "-parallelism=100")
	started := map[string]string{}
	for name, p := range pipelines {
		for _, run := range s.Runs(p) {
			started[name] = run.UUID
		}
	}
	s.ClearFaults()
	clock.Advance(time.Hour)
	for _, p := range pipelines {
		s.UpdatePipeline(p, func(p *ylemtest.Pipeline) { p.Paused, p.Template = false, false })
	}
	tf.mustRun(t, 0, "apply", "-auto-approve", "-parallelism=100")
	ids := idsByResource(t, tf.mustRun(t, 0, "show", "-json"))
	for name, p := range pipelines {
		runs := s.Runs(p)
		if len(runs) != 1 || ids[name] != runs[0].UUID || started[name] != "" && started[name] != runs[0].UUID {
			t.Errorf("%s: %d runs, %s in the state", name, len(runs), ids[name])
		}
	}
}
