package provider

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// returning is a pipeline that ends at once, with a text, with bytes and with an output for each of three items.
type returning struct {
	*sandbox
	pipeline                   string
	text, bytes, items, absent string // tasks; the last one never reports
}

func newReturning(t *testing.T) *returning {
	t.Helper()
	r := &returning{newSandbox(t), ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID(), ylemtest.NewUUID()}
	r.AddPipeline(ylemtest.Pipeline{UUID: r.pipeline, Tasks: []ylemtest.Task{
		{UUID: r.text, Output: []byte(`[{"rows":7}]`)},
		{UUID: r.bytes, Output: []byte{0xff, 0}},
		{UUID: r.items, Output: []byte("each"), Repeat: 3},
		{UUID: r.absent, Unended: true},
	}})
	return r
}

// waits is the argument for a wait that ends with the first poll.
func (r *returning) waits(outputs ...string) string {
	return fmt.Sprintf("wait_for_completion = true\ncompletion = { final_task_uuids = [%q, %q, %q], poll_interval = \"100ms\" }\n%s",
		r.text, r.bytes, r.items, outputsOf(outputs...))
}

// outputsOf is the argument that asks for the outputs of tasks.
func outputsOf(tasks ...string) string {
	if len(tasks) == 0 {
		return ""
	}
	return `output_task_uuids = ["` + strings.Join(tasks, `", "`) + `"]`
}

func hasOutputs(outputs map[string]knownvalue.Check) statecheck.StateCheck {
	return statecheck.ExpectKnownValue(runAddress, tfjsonpath.New("outputs"), knownvalue.MapExact(outputs))
}

// The outputs come with the log that the wait reads anyway. Other ones are read once; a run is never started.
func TestAccOutputsAreKept(t *testing.T) {
	r := newReturning(t)
	upper, null := strings.ToUpper(r.text), knownvalue.Null()
	reads := func(n int) func() {
		return func() {
			r.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1, ylemtest.RouteLogs: n})()
		}
	}
	var steps []resource.TestStep
	for _, step := range []resource.TestStep{
		r.step(t, r.run(r.pipeline, r.waits(upper, r.bytes, r.items, r.absent)), firstRun, 1, hasOutputs(map[string]knownvalue.Check{
			upper: text(`[{"rows":7}]`), r.bytes: null, r.items: text("each"), r.absent: null,
		})),
		r.step(t, r.run(r.pipeline, r.waits(upper, r.bytes, r.items, r.absent)), nothing, 1),
		r.step(t, r.run(r.pipeline, r.waits(r.text)), inPlace, 1, hasOutputs(map[string]knownvalue.Check{r.text: text(`[{"rows":7}]`)})),
		r.step(t, r.run(r.pipeline, r.waits()), inPlace, 1, has("outputs", null)),
		r.step(t, r.run(r.pipeline, r.waits(r.text)), inPlace, 1, hasOutputs(map[string]knownvalue.Check{r.text: text(`[{"rows":7}]`)})),
		r.step(t, r.run(r.pipeline, r.waits(r.text)+"\ntriggers = {}"), inPlace, 1, hasOutputs(map[string]knownvalue.Check{r.text: text(`[{"rows":7}]`)})),
	} {
		step.PostApplyFunc = reads([]int{1, 1, 2, 2, 3, 3}[len(steps)])
		steps = append(steps, step)
	}
	acceptance(t, steps...)
}

// Without a wait, the apply after the end reads them; and after an import, the first one.
func TestAccOutputsWithoutAWait(t *testing.T) {
	t.Parallel()
	t.Run("without a wait", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Duration: time.Millisecond, Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
		tf := newTerraform(t, s.run(p, outputsOf(s.tasks(p)[0])))
		tf.mustRun(t, 0, "apply", "-auto-approve")
		if values, _ := tf.runState(t); values["outputs"] != nil {
			t.Error(values["outputs"])
		}
		tf.mustRun(t, 0, "apply", "-auto-approve")
		values, _ := tf.runState(t)
		if text := fmt.Sprint(values["outputs"]); values["status"] != "failed" || !strings.Contains(text, "boom") {
			t.Error(values["status"], text)
		}
		tf.mustRun(t, 0, "plan", "-detailed-exitcode")
		s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1})()
	})
	t.Run("imported", func(t *testing.T) {
		t.Parallel()
		r := newReturning(t)
		run := r.AddRun(r.pipeline, time.Now().AddDate(0, 0, -3)).UUID
		tf := newTerraform(t, r.run(r.pipeline, r.waits(r.items))+fmt.Sprintf("import {\n  to = %s\n  id = \"%s/%s\"\n}\n", runAddress, r.pipeline, run))
		tf.mustRun(t, 0, "apply", "-auto-approve")
		if values, _ := tf.runState(t); fmt.Sprint(values["outputs"]) != fmt.Sprintf("map[%s:each]", r.items) {
			t.Error(values["outputs"])
		}
		tf.mustRun(t, 0, "plan", "-detailed-exitcode")
		r.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 0})()
	})
}

// Outputs that cannot be read taint nothing, and are read by the next apply.
func TestAccOutputsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	r := newReturning(t)
	tf := newTerraform(t, r.run(r.pipeline, r.waits()))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.write(t, "main.tf", requirements+r.run(r.pipeline, r.waits(r.text)))
	r.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Body: "[]"})
	if output := tf.mustRun(t, 0, "apply", "-auto-approve"); !loosely("The outputs of a run could not be read").MatchString(output) {
		t.Error(output)
	}
	r.ClearFaults()
	tf.mustRun(t, 2, "plan", "-detailed-exitcode")
	tf.mustRun(t, 0, "apply", "-auto-approve")
	if values, tainted := tf.runState(t); tainted || fmt.Sprint(values["outputs"]) != fmt.Sprintf("map[%s:[{\"rows\":7}]]", r.text) {
		t.Error(values["outputs"], tainted)
	}
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	r.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1})()
}

// Waits that share a log each get the outputs of their own run.
func TestAccOutputsOfManyRuns(t *testing.T) {
	s := newSandbox(t)
	p := s.triggered()
	acceptance(t, resource.TestStep{
		Config: s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  count               = 10
  pipeline_uuid       = %q
  input               = count.index
  wait_for_completion = true
  completion          = { final_task_uuids = [%[2]q], poll_interval = "100ms" }
  output_task_uuids   = [%[2]q]
}
output "outputs" {
  value     = [for run in ylem_pipeline_run.test : run.outputs[%[2]q]]
  sensitive = true
}
`, p, s.tasks(p)[0])),
		ConfigStateChecks: []statecheck.StateCheck{statecheck.ExpectKnownOutputValue("outputs", knownvalue.ListExact(func() (values []knownvalue.Check) {
			for i := range 10 {
				values = append(values, text(fmt.Sprint(i)))
			}
			return values
		}()))},
	})
}

// A wait that was cut short has no outputs; the one that is resumed has them.
func TestAccOutputsAfterAnInterrupt(t *testing.T) {
	t.Parallel()
	i := newInterrupted(t, "")
	task := i.tasks(i.pipeline)[0]
	i.UpdatePipeline(i.pipeline, func(p *ylemtest.Pipeline) { p.Tasks[0].Output = []byte("late") })
	i.write(t, "main.tf", requirements+i.sandbox.run(i.pipeline, waitingNow+"\n"+outputsOf(task)))
	b := i.applyUntilPolled(t)
	if err := b.Process.Signal(os.Interrupt); err != nil {
		t.Skip(err)
	}
	_, _ = b.wait(t)
	if values, _ := i.runState(t); values["id"] == nil || values["outputs"] != nil {
		t.Errorf("the state holds %v", values)
	}
	i.finish(t)
	if values, _ := i.runState(t); fmt.Sprint(values["outputs"]) != fmt.Sprintf("map[%s:late]", task) {
		t.Errorf("outputs %v", values["outputs"])
	}
}

// A run that is seen to continue has no outputs yet.
func TestAccOutputsOfARunThatContinues(t *testing.T) {
	t.Parallel()
	for _, a := range newProtocol(t).schema.ResourceSchemas["ylem_pipeline_run"].Block.Attributes {
		if a.Name == "outputs" && !a.Sensitive {
			t.Error("outputs are not sensitive")
		}
	}
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	first, last := ylemtest.NewUUID(), ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: first, Output: []byte("one")}, {UUID: last, Duration: time.Hour, After: []string{first}, Output: []byte("two")}}}).UUID
	tf := newTerraform(t, s.run(p, "wait_for_completion = true\ncompletion = { quiet_period = \"200ms\", poll_interval = \"100ms\" }\n"+outputsOf(first, last)))
	outputs := func(want string) {
		t.Helper()
		tf.mustRun(t, 0, "apply", "-auto-approve")
		values, _ := tf.runState(t)
		found, _ := values["outputs"].(map[string]any)
		got := []string{fmt.Sprint(found[first]), fmt.Sprint(found[last])}
		if text := strings.Join(got, " "); text != want {
			t.Errorf("outputs %s, want %s", text, want)
		}
	}
	outputs("one <nil>") // presumed
	clock.Advance(time.Hour + time.Second)
	outputs("one two")
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1})()
}
