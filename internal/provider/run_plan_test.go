package provider

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What a plan says before anything is done, and what an import refuses.

// A run goes on without its resource: whoever destroys or replaces it learns that from the plan.
func TestAccPlanToLeaveARun(t *testing.T) {
	t.Parallel()
	const continues = "The run continues in Ylem"
	_, final, tasks := twoTasks()
	i := newFollowed(t, tasks, "")
	i.mustRun(t, 0, "apply", "-auto-approve")
	run := i.Runs(i.pipeline)[0].UUID
	other := i.AddPipeline(ylemtest.Pipeline{}).UUID

	expect := func(doing string, warns bool, arguments ...string) {
		t.Helper()
		plan := i.mustRun(t, 0, append([]string{"plan", "-no-color"}, arguments...)...)
		if n := len(loosely(continues).FindAllString(plan, -1)); n > 1 || (n == 1) != warns {
			t.Errorf("%d warnings: %s", n, plan)
		}
		if warns && (!loosely(doing+" does not stop it").MatchString(plan) || !strings.Contains(plan, run)) {
			t.Errorf("does not say what becomes of run %s: %s", run, plan)
		}
	}
	expect("", false)
	expect("Destroying its resource", true, "-destroy")
	for name, arguments := range map[string]string{"triggers": "triggers = { a = 1 }", "input": `input = "x"`, "version": "input_wo = \"x\"\ninput_wo_version = 1"} {
		t.Log(name)
		i.set(t, arguments)
		expect("Replacing it", true)
	}
	i.write(t, "main.tf", requirements+i.sandbox.run(other, ""))
	expect("Replacing it", true)
	i.write(t, "main.tf", requirements+i.provider(""))
	expect("Destroying its resource", true)

	// Once it has ended, there is nothing to say.
	i.set(t, exactly(final))
	i.applyWhile(t, func() { i.clock.Advance(2 * time.Hour) })
	expect("", false, "-destroy")
	i.set(t, exactly(final)+"\ntriggers = { a = 1 }")
	expect("", false)
}

// An identity in upper case names the same run.
func TestAccIdentityInUpperCase(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	needs(t, identityImport)
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	run := s.AddRun(p, time.Now().Add(-30*time.Hour))
	tf := newTerraform(t, s.run(p, "")+fmt.Sprintf("import {\n  to = %s\n  identity = {\n    pipeline_uuid = %q\n    run_uuid = %q\n  }\n}\n",
		runAddress, strings.ToUpper(p), strings.ToUpper(run.UUID)))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	if values, _ := tf.runState(t); values["id"] != run.UUID || values["pipeline_uuid"] != p {
		t.Errorf("imported %v of %v", values["id"], values["pipeline_uuid"])
	}
	if action := tf.plan(t); action != "no-op" {
		t.Errorf("the next plan is to %s", action)
	}
}

// importRun imports a run by what Terraform hands over.
func (p *protocol) importRun(t *testing.T, id string, identity object) (object, diagnostics) {
	t.Helper()
	const name = "ylem_pipeline_run"
	req := &tfprotov6.ImportResourceStateRequest{TypeName: name, ID: id}
	if identity != nil {
		typ := tftypes.Object{AttributeTypes: map[string]tftypes.Type{"pipeline_uuid": tftypes.String, "run_uuid": tftypes.String}}
		req.Identity = &tfprotov6.ResourceIdentityData{IdentityData: toDynamic(t, typ, identity)}
	}
	resp, err := p.server.ImportResourceState(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if len(resp.ImportedResources) == 0 {
		return nil, resp.Diagnostics
	}
	return fromDynamic(t, p.schema.ResourceSchemas[name].ValueType(), resp.ImportedResources[0].State), resp.Diagnostics
}

func TestImportByIdentity(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipeline := s.AddPipeline(ylemtest.Pipeline{}).UUID
	run := s.AddRun(pipeline, time.Now().Add(-time.Hour)).UUID
	p := s.connect(t, nil)
	for name, test := range map[string]struct {
		identity  object
		attribute string
	}{
		"pipeline": {object{"pipeline_uuid": "my-pipeline", "run_uuid": run}, "pipeline_uuid"},
		"run":      {object{"pipeline_uuid": pipeline, "run_uuid": run[1:]}, "run_uuid"},
		"nothing":  {object{"pipeline_uuid": pipeline, "run_uuid": ""}, "run_uuid"},
	} {
		t.Run(name, func(t *testing.T) {
			_, diags := p.importRun(t, "", test.identity)
			diags.expectError(t, test.attribute, "Invalid import identity", fmt.Sprintf("%s %q is not ", test.attribute, test.identity[test.attribute]))
			if strings.Contains(diags.String(), "names no run") {
				t.Error(diags)
			}
		})
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	state, diags := p.importRun(t, "", object{"pipeline_uuid": strings.ToUpper(pipeline), "run_uuid": strings.ToUpper(run)})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	state.expect(t, object{"pipeline_uuid": pipeline, "id": run})
}
