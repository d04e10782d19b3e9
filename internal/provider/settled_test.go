package provider

import (
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What is answered without the framework is what the framework answers; and it is answered so where it should be.
func TestSettledRuns(t *testing.T) {
	t.Parallel()
	p := newProtocol(t)
	framework := providerserver.NewProtocol6(&ylemProvider{version: "test"})()
	const name = "ylem_pipeline_run"
	typ := p.schema.ResourceSchemas[name].ValueType()
	config := object{"pipeline_uuid": pipelineSubject.example, "input": "æstatus", "triggers": object{"status": "failed"}}
	state := config.with(object{
		"id": "0E204465-C35B-46AE-861D-C2EA130720C3", "status": "succeeded", "is_successful": true, "wait_for_completion": false, "on_failure": "error", "on_timeout": "error",
		"triggered_at": "2024-06-05T08:00:00Z", "finished_at": "2024-06-05T08:00:01Z", "duration": 7, "task_runs": []object{{
			"task_uuid": taskSubject.example, "task_type": "query", "state": "succeeded", "is_successful": true, "duration": 7, "executed_at": "2024-06-05T08:00:01Z", "errors": []object{},
		}},
	})
	completion := object{"quiet_period": "1m", "poll_interval": defaultPollInterval}
	for test, c := range map[string]struct {
		config, state   object // what is added
		refreshes, plan bool   // without the framework
	}{
		"nothing else":                   {nil, nil, true, true},
		"all arguments":                  {object{"wait_for_completion": true, "on_failure": "warn", "on_timeout": "warn"}, nil, true, true},
		"other defaults, given":          {object{"completion": completion}, nil, true, true},
		"a default, left out":            {object{"completion": object{}}, object{"completion": object{"quiet_period": "30s", "poll_interval": "5s"}}, true, true},
		"a quiet period no longer given": {object{"completion": object{}}, object{"completion": completion}, true, false},
		"waiting no longer asked for":    {nil, object{"wait_for_completion": true}, true, false},
		"a warning no longer asked for":  {nil, object{"on_failure": "warn"}, true, false},
		"the same of a timeout":          {nil, object{"on_timeout": "warn"}, true, false},
		"input_wo":                       {object{"input": nil, "input_wo": "secret", "input_wo_version": 1}, object{"input": nil, "input_wo": nil}, true, true},
		"another input":                  {object{"input": "other"}, object{"input": "æstatus"}, true, false},
		"an input not known yet":         {object{"input": unknown{}}, object{"input": "æstatus"}, true, false},
		"no triggers any more":           {object{"triggers": nil}, object{"triggers": object{"a": "b"}}, true, false},
		"failed":                         {nil, object{"status": "failed", "is_successful": false}, true, false},
		"failed, to be replaced":         {object{"wait_for_completion": true}, object{"status": "failed", "is_successful": false}, true, false},
		"running":                        {nil, object{"status": "running", "is_successful": nil}, false, false},
		"pending":                        {nil, object{"status": "pending", "is_successful": nil, "task_runs": []object{}}, false, false},
	} {
		t.Run(test, func(t *testing.T) {
			t.Parallel()
			config := config.with(c.config)
			state := state.with(c.config).with(c.state)
			// What terraform proposes: the configuration, and where it gives nothing for what is computed, the state.
			proposed := state.with(c.config)
			if _, ok := c.config["input_wo"]; ok {
				proposed["input_wo"] = nil
			}
			if c.config["completion"] != nil && c.state["completion"] != nil {
				proposed["completion"] = c.state["completion"]
			}
			refresh := &tfprotov6.ReadResourceRequest{TypeName: name, CurrentState: toDynamic(t, typ, state)}
			plan := &tfprotov6.PlanResourceChangeRequest{
				TypeName: name, PriorState: refresh.CurrentState, ProposedNewState: toDynamic(t, typ, proposed), Config: toDynamic(t, typ, config),
			}
			refreshed, planned := refreshSettled(refresh), planSettled(plan)
			if (refreshed != nil) != c.refreshes || (planned != nil) != c.plan {
				t.Errorf("refresh without the framework: %t, want %t; plan: %t, want %t", refreshed != nil, c.refreshes, planned != nil, c.plan)
			}
			if refreshed != nil {
				want, err := framework.ReadResource(t.Context(), refresh)
				if err != nil {
					t.Fatal(err)
				}
				sameValue(t, typ, want.NewState, refreshed.NewState)
				sameValue(t, runTypes().identity, want.NewIdentity.IdentityData, refreshed.NewIdentity.IdentityData)
				if len(want.Diagnostics)+len(refreshed.Diagnostics) > 0 || want.Deferred != nil {
					t.Errorf("the framework says %s", diagnostics(want.Diagnostics))
				}
			}
			if planned != nil {
				want, err := framework.PlanResourceChange(t.Context(), plan)
				if err != nil {
					t.Fatal(err)
				}
				sameValue(t, typ, want.PlannedState, planned.PlannedState)
				if len(want.Diagnostics)+len(want.RequiresReplace)+len(planned.RequiresReplace) > 0 {
					t.Errorf("the framework replaces for %s and says %s", want.RequiresReplace, diagnostics(want.Diagnostics))
				}
			}
		})
	}
}

func sameValue(t *testing.T, typ tftypes.Type, want, got *tfprotov6.DynamicValue) {
	t.Helper()
	first, err := want.Unmarshal(typ)
	if err != nil {
		t.Fatal(err)
	}
	second, err := got.Unmarshal(typ)
	if err != nil {
		t.Fatal(err)
	}
	if !first.Equal(second) {
		t.Errorf("got\n%s, want\n%s", second, first)
	}
}

// The defaults that plans are checked against are those of the schema.
func TestSettledDefaults(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	state, diags := s.connect(t, nil).create(t, object{"pipeline_uuid": s.AddPipeline(ylemtest.Pipeline{}).UUID, "completion": object{}})
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	for _, test := range []struct {
		got  object
		want map[string]tftypes.Value
	}{{state, runDefaults}, {state["completion"].(object), completionDefaults}} {
		for name, value := range test.want {
			if got := toValue(t, value.Type(), test.got[name]); !got.Equal(value) {
				t.Errorf("%s is %s by default, and checked for %s", name, got, value)
			}
		}
	}
}
