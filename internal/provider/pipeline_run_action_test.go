package provider

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const actionName = "ylem_pipeline_run"

// invoke validates, plans and invokes the action, as terraform 1.14 does. messages is what it says meanwhile.
func (p *protocol) invoke(ctx context.Context, t *testing.T, arguments object) (messages []string, diags diagnostics) {
	t.Helper()
	server := p.server.(tfprotov6.ActionServer)
	config := toDynamic(t, p.schema.ActionSchemas[actionName].Schema.ValueType(), arguments)
	validated, err := server.ValidateActionConfig(ctx, &tfprotov6.ValidateActionConfigRequest{ActionType: actionName, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(validated.Diagnostics); diags.failed() {
		return nil, diags
	}
	planned, err := server.PlanAction(ctx, &tfprotov6.PlanActionRequest{ActionType: actionName, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(planned.Diagnostics); diags.failed() {
		return nil, diags
	}
	stream, err := server.InvokeAction(ctx, &tfprotov6.InvokeActionRequest{ActionType: actionName, Config: config})
	if err != nil {
		t.Fatal(err)
	}
	completed := false
	for event := range stream.Events {
		switch event := event.Type.(type) {
		case tfprotov6.ProgressInvokeActionEventType:
			messages = append(messages, event.Message)
		case tfprotov6.CompletedInvokeActionEventType:
			completed, diags = true, event.Diagnostics
		}
	}
	if !completed {
		t.Error("the invocation did not complete")
	}
	return messages, diags
}

// expectProgress fails the test unless the messages contain these parts, in this order and no others.
func expectProgress(t *testing.T, messages []string, parts ...string) {
	t.Helper()
	if len(messages) != len(parts) {
		t.Errorf("messages %q, want %d messages", messages, len(parts))
		return
	}
	for i, part := range parts {
		if !strings.Contains(messages[i], part) {
			t.Errorf("message %d is %q, want %q", i, messages[i], part)
		}
	}
}

func TestActionStartsARun(t *testing.T) {
	t.Parallel()
	for name, dialect := range map[string]ylemtest.Dialect{"open source": ylemtest.OpenSource, "reference": ylemtest.Reference} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, ylemtest.WithDialect(dialect))
			p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
			messages, diags := s.connect(t, nil).invoke(t.Context(), t, object{"pipeline_uuid": p, "input_wo": `{"a":1}`})
			if len(diags) > 0 {
				t.Error(diags)
			}
			runs := s.Runs(p)
			if len(runs) != 1 || string(runs[0].Input) != `{"a":1}` {
				t.Fatalf("runs %v", runs)
			}
			expectProgress(t, messages, "Started run "+runs[0].UUID+" of pipeline "+p)
			if n := s.count(ylemtest.RouteLogs); n != 0 {
				t.Errorf("%d requests for a log that is not needed", n)
			}
		})
	}
}

func TestActionWaits(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	last := ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Duration: 20 * time.Millisecond}, {UUID: last, Duration: 40 * time.Millisecond}}}).UUID
	completion := object{"final_task_uuids": []any{last}, "poll_interval": "100ms"}
	messages, diags := s.connect(t, nil).invoke(t.Context(), t, object{"pipeline_uuid": p, "wait_for_completion": true, "completion": completion})
	if len(diags) > 0 {
		t.Error(diags)
	}
	if n := len(s.Runs(p)); n != 1 {
		t.Errorf("%d runs", n)
	}
	// The first task is seen alone or not.
	if len(messages) == 2 {
		messages = append(messages[:1], ": running after", messages[1])
	}
	expectProgress(t, messages, "Started run", ": running after", ": succeeded after")
}

func TestActionSaysHowWaitingEnded(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	failing := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Type: "query", Errors: []ylemtest.TaskError{{Code: 7, Message: "boom"}}}}}).UUID
	endless := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
	connection := s.connect(t, nil)
	wait := func(pipeline string, more object) object {
		return object{"pipeline_uuid": pipeline, "wait_for_completion": true, "completion": object{"poll_interval": "100ms", "quiet_period": "100ms"}, "timeout": "1m"}.with(more)
	}

	_, diags := connection.invoke(t.Context(), t, wait(failing, nil))
	diags.expect(t, tfprotov6.DiagnosticSeverityError, "", "The run failed", failing, "(query): error 7: boom", "invoke the action again")
	messages, diags := connection.invoke(t.Context(), t, wait(failing, object{"on_failure": "warn"}))
	diags.expect(t, tfprotov6.DiagnosticSeverityWarning, "", "The run failed")
	// Terraform 1.16 drops the warnings of a triggered action, but not its progress.
	expectProgress(t, messages, "Started run", ": failed after", "Warning: The run failed: Run ")

	briefly := object{"timeout": "200ms"}
	_, diags = connection.invoke(t.Context(), t, wait(endless, briefly))
	diags.expect(t, tfprotov6.DiagnosticSeverityError, "", "The run outlasted the timeout", "within 200ms", "starts another run")
	messages, diags = connection.invoke(t.Context(), t, wait(endless, briefly.with(object{"on_timeout": "warn"})))
	diags.expect(t, tfprotov6.DiagnosticSeverityWarning, "", "The run outlasted the timeout")
	expectProgress(t, messages, "Started run", "Warning: The run outlasted the timeout: Run ")

	// In a sandbox of its own: a request of an earlier wait may still arrive in that one.
	own := newSandbox(t)
	pipeline := own.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		defer cancel()
		if !happens(func() bool { return own.count(ylemtest.RouteLogs) > 0 }) {
			t.Error("the run is not polled")
		}
	}()
	_, diags = own.connect(t, nil).invoke(ctx, t, wait(pipeline, object{"timeout": "1h"}))
	// No state keeps the run for a later apply.
	diags.expect(t, tfprotov6.DiagnosticSeverityError, "", "Stopped waiting for the run", own.Runs(pipeline)[0].UUID, "check this one in Ylem")
}

func TestActionRefusesBadArguments(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	connection := s.connect(t, nil)
	p := ylemtest.NewUUID()
	for name, test := range map[string]struct {
		arguments object
		part      string
	}{
		"pipeline":     {object{"pipeline_uuid": "nonsense"}, "Invalid UUID"},
		"both inputs":  {object{"pipeline_uuid": p, "input": "a", "input_wo": "b"}, "input_wo"},
		"input":        {object{"pipeline_uuid": p, "input": strings.Repeat("x", 65536)}, "65,535 bytes"},
		"secret input": {object{"pipeline_uuid": p, "input_wo": strings.Repeat("x", 65536)}, "65,535 bytes"},
		"timeout":      {object{"pipeline_uuid": p, "timeout": "soon"}, "Invalid duration"},
		"on_failure":   {object{"pipeline_uuid": p, "on_failure": "ignore"}, "error"},
		"on_timeout":   {object{"pipeline_uuid": p, "on_timeout": "ignore"}, "error"},
		"final tasks":  {object{"pipeline_uuid": p, "completion": object{"final_task_uuids": []any{"x"}}}, "Invalid UUID"},
		"no tasks":     {object{"pipeline_uuid": p, "completion": object{"final_task_uuids": []any{}}}, "at least 1"},
		"quiet period": {object{"pipeline_uuid": p, "completion": object{"quiet_period": "0s"}}, "not more than zero"},
		"poll":         {object{"pipeline_uuid": p, "completion": object{"poll_interval": "-1s"}}, "not more than zero"},
		"polls":        {object{"pipeline_uuid": p, "completion": object{"poll_interval": "1ns"}}, "less than 100ms"},
		"quiet":        {object{"pipeline_uuid": p, "wait_for_completion": true, "timeout": "3s"}, "outlasts the timeout"},
		"null task":    {object{"pipeline_uuid": p, "completion": object{"final_task_uuids": []any{nil}}}, "null"},
	} {
		if _, diags := connection.invoke(t.Context(), t, test.arguments); !diags.failed() || !strings.Contains(diags.String(), test.part) {
			t.Errorf("%s: does not say %q: %s", name, test.part, diags)
		}
	}
	if all := s.Requests(); len(all) != 0 {
		t.Errorf("%d requests", len(all))
	}
}

func TestActionWithAnUnknownInputStartsNothing(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	connection := s.connect(t, nil)
	for _, name := range []string{"input", "input_wo"} {
		_, diags := connection.invoke(t.Context(), t, object{"pipeline_uuid": p, name: unknown{}})
		diags.expectError(t, "", "not known yet", "No run was started")
	}
	if n := len(s.Runs(p)); n != 0 {
		t.Errorf("%d runs", n)
	}
}

func TestActionSpeaksWhileNothingHappens(t *testing.T) {
	t.Parallel()
	if longest := newPipelineRunAction().(*pipelineRunAction).heartbeat; longest != 15*time.Second {
		t.Errorf("silent for %s", longest)
	}
	s := newSandbox(t)
	client, err := ylem.New(request.Config{BaseURL: s.URL, ClientID: s.client.ID, ClientSecret: s.client.Secret})
	if err != nil {
		t.Fatal(err)
	}
	a := &pipelineRunAction{api: api{client: client, follower: follow.New(client)}, heartbeat: 15 * time.Millisecond}
	var schema action.SchemaResponse
	a.Schema(t.Context(), action.SchemaRequest{}, &schema)
	arguments := object{
		"pipeline_uuid": s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID, "wait_for_completion": true,
		"completion": object{"poll_interval": "1h"}, // it is not the polls that speak
	}
	ctx, cancel := context.WithCancel(t.Context())
	var messages []string
	resp := action.InvokeResponse{SendProgress: func(event action.InvokeProgressEvent) {
		if messages = append(messages, event.Message); len(messages) == 4 {
			cancel()
		}
	}}
	a.Invoke(ctx, action.InvokeRequest{Config: tfsdk.Config{
		Schema: schema.Schema, Raw: toValue(t, schema.Schema.Type().TerraformType(ctx), arguments),
	}}, &resp)
	// It may speak once more before it notices that it is interrupted.
	expectProgress(t, messages[:min(len(messages), 4)], "Started run", ": pending after", ": pending after", ": pending after")
}

func TestAccActionThroughTerraform(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{}}}).UUID
	failing := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
	secret := s.AddPipeline(ylemtest.Pipeline{}).UUID
	config := func(trigger string) string {
		return s.config(fmt.Sprintf(`
action "ylem_pipeline_run" "refresh" {
  config {
    pipeline_uuid       = %q
    input               = jsonencode({ trigger = %q })
    wait_for_completion = true
    completion          = { final_task_uuids = [%q], poll_interval = "100ms" }
  }
}
variable "token" {
  type      = string
  ephemeral = true
}
action "ylem_pipeline_run" "secret" {
  config {
    pipeline_uuid = %[5]q
    input_wo      = jsonencode({ token = var.token })
  }
}
variable "password" {
  type      = string
  sensitive = true
}
action "ylem_pipeline_run" "sensitive" {
  config {
    pipeline_uuid = %[5]q
    input_wo      = jsonencode({ password = var.password })
  }
}
resource "terraform_data" "secret" {
  input = %[2]q
  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.ylem_pipeline_run.secret]
    }
  }
}
action "ylem_pipeline_run" "failing" {
  config {
    pipeline_uuid       = %[4]q
    wait_for_completion = true
    completion          = { poll_interval = "100ms" }
  }
}
action "ylem_pipeline_run" "accepted" {
  config {
    pipeline_uuid       = %[4]q
    wait_for_completion = true
    completion          = { poll_interval = "100ms" }
    on_failure          = "warn"
  }
}
resource "terraform_data" "accepted" {
  input = %[2]q
  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.ylem_pipeline_run.accepted]
    }
  }
}
resource "terraform_data" "table" {
  input = %[2]q
  lifecycle {
    action_trigger {
      events  = [after_create, after_update]
      actions = [action.ylem_pipeline_run.refresh]
    }
  }
}
`, p, trigger, s.tasks(p)[0], failing, secret))
	}
	tf := newTerraform(t, config("one"), "TF_VAR_token=an ephemeral secret", "TF_VAR_password=a sensitive secret")
	needs(t, actions)
	expectRuns := func(inputs ...string) {
		t.Helper()
		var got []string
		for _, run := range s.Runs(p) {
			got = append(got, string(run.Input))
		}
		if fmt.Sprint(got) != fmt.Sprint(inputs) {
			t.Errorf("runs with %q, want %q", got, inputs)
		}
	}

	tf.mustRun(t, 0, "plan", "-out=plan")
	if plan := tf.mustRun(t, 0, "show", "-json", "plan"); strings.Contains(plan, "an ephemeral secret") {
		t.Errorf("the plan holds the secret input:\n%s", plan)
	}
	output := tf.mustRun(t, 0, "apply", "plan")
	if runs := s.Runs(secret); len(runs) != 1 || string(runs[0].Input) != `{"token":"an ephemeral secret"}` {
		t.Errorf("runs with a secret input: %v", runs)
	}
	expectRuns(`{"trigger":"one"}`)
	for _, want := range []string{"Started run " + s.Runs(p)[0].UUID, "succeeded after", "The run failed", "boom"} { // the last two as a warning
		if !loosely(want).MatchString(output) {
			t.Errorf("no %q in\n%s", want, output)
		}
	}
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	expectRuns(`{"trigger":"one"}`)
	tf.write(t, "main.tf", requirements+config("two"))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	expectRuns(`{"trigger":"one"}`, `{"trigger":"two"}`)
	tf.mustRun(t, 0, "apply", "-auto-approve", "-invoke=action.ylem_pipeline_run.refresh")
	expectRuns(`{"trigger":"one"}`, `{"trigger":"two"}`, `{"trigger":"two"}`)

	// What -invoke delivers depends on Terraform: the documentation of input_wo says so.
	invoked := `{"token":"an ephemeral secret"}`
	if fromTerraform(t, 16) {
		invoked = ""
	}
	tf.mustRun(t, 0, "apply", "-auto-approve", "-invoke=action.ylem_pipeline_run.secret")
	tf.mustRun(t, 0, "apply", "-auto-approve", "-invoke=action.ylem_pipeline_run.sensitive")
	if runs := s.Runs(secret); len(runs) != 3 || string(runs[1].Input) != invoked || string(runs[2].Input) != `{"password":"a sensitive secret"}` {
		t.Errorf("the secrets that arrive are not those of the documentation: %v", runs)
	}

	_, stderr, code := tf.run(t, "apply", "-auto-approve", "-invoke=action.ylem_pipeline_run.failing")
	if code != 1 || !loosely("The run failed").MatchString(stderr) || !loosely("boom").MatchString(stderr) {
		t.Errorf("exit code %d:\n%s", code, stderr)
	}
}
