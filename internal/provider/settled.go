package provider

import (
	"bytes"
	"context"
	"strings"
	"sync"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
)

// A run whose end is known is settled: a refresh changes nothing of it, and neither does a plan whose configuration has
// not changed. To find that out, the framework takes five milliseconds of the processor for each run. What follows finds
// it out from the state as Terraform sent it, and leaves everything else to the framework. A test compares the answers.

// runTypes are the types of a run's state and identity.
var runTypes = sync.OnceValue(func() (types struct{ state, identity tftypes.Type }) {
	ctx, r := context.Background(), new(pipelineRunResource)
	var schema resource.SchemaResponse
	r.Schema(ctx, resource.SchemaRequest{}, &schema)
	types.state = schema.Schema.Type().TerraformType(ctx)
	var identity resource.IdentitySchemaResponse
	r.IdentitySchema(ctx, resource.IdentitySchemaRequest{}, &identity)
	types.identity = identity.IdentitySchema.Type().TerraformType(ctx)
	return types
})

// refreshSettled answers a refresh of a settled run; nil: the framework is to answer.
func refreshSettled(req *tfprotov6.ReadResourceRequest) *tfprotov6.ReadResourceResponse {
	state, status := runAttributes(req.TypeName, req.CurrentState)
	if !status.Final() {
		return nil
	}
	resp := &tfprotov6.ReadResourceResponse{NewState: req.CurrentState, Private: req.Private, NewIdentity: req.CurrentIdentity}
	if resp.NewIdentity == nil { // the state is of a Terraform that knew none
		identity, err := tfprotov6.NewDynamicValue(runTypes().identity, tftypes.NewValue(runTypes().identity, map[string]tftypes.Value{
			"pipeline_uuid": stringValue(strings.ToLower(textOf(state["pipeline_uuid"]))),
			"run_uuid":      stringValue(strings.ToLower(textOf(state["id"]))),
		}))
		if err != nil {
			return nil
		}
		resp.NewIdentity = &tfprotov6.ResourceIdentityData{IdentityData: &identity}
	}
	return resp
}

// planSettled answers a plan for a run that succeeded and whose configuration has not changed; nil: the framework is to
// answer.
func planSettled(req *tfprotov6.PlanResourceChangeRequest) *tfprotov6.PlanResourceChangeResponse {
	if req.PriorState == nil || req.ProposedNewState == nil || !bytes.Equal(req.PriorState.MsgPack, req.ProposedNewState.MsgPack) {
		return nil
	}
	state, status := runAttributes(req.TypeName, req.PriorState)
	if status != ylem.StatusSucceeded {
		return nil
	}
	// What is left out of the configuration is proposed as it was, but planned as its default.
	config, _ := runAttributes(req.TypeName, req.Config)
	if config == nil || !keepsDefaults(config, state, runDefaults) {
		return nil
	}
	if config, state := attributesOf(config["completion"]), attributesOf(state["completion"]); !keepsDefaults(config, state, completionDefaults) {
		return nil
	}
	return &tfprotov6.PlanResourceChangeResponse{PlannedState: req.PriorState, PlannedPrivate: req.PriorPrivate, PlannedIdentity: req.PriorIdentity}
}

// The defaults of the schema.
var (
	runDefaults = map[string]tftypes.Value{
		"wait_for_completion": boolValue(false), "on_failure": stringValue(orError), "on_timeout": stringValue(orError),
	}
	completionDefaults = map[string]tftypes.Value{
		"quiet_period": stringValue(defaultQuietPeriod), "poll_interval": stringValue(defaultPollInterval),
	}
)

// keepsDefaults reports whether what the configuration leaves out is the default already.
func keepsDefaults(config, state, defaults map[string]tftypes.Value) bool {
	for name, value := range defaults {
		if configured, ok := config[name]; ok && configured.IsNull() && !state[name].Equal(value) {
			return false
		}
	}
	return true
}

// runAttributes returns the attributes of a run and its status; none where it is something else.
func runAttributes(typeName string, encoded *tfprotov6.DynamicValue) (map[string]tftypes.Value, ylem.Status) {
	if typeName != "ylem_pipeline_run" || encoded == nil {
		return nil, ""
	}
	value, err := encoded.Unmarshal(runTypes().state)
	if err != nil {
		return nil, ""
	}
	attributes := attributesOf(value)
	return attributes, ylem.Status(textOf(attributes["status"]))
}
