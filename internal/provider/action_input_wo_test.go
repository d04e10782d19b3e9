package provider

import (
	"context"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/action/schema"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// actionType is the shape of the action's configuration.
func (p *protocol) actionType() tftypes.Type {
	return p.schema.ActionSchemas[actionName].Schema.ValueType()
}

func TestActionInputIsWriteOnly(t *testing.T) {
	t.Parallel()
	for _, attribute := range newProtocol(t).schema.ActionSchemas[actionName].Schema.Block.Attributes {
		if attribute.WriteOnly != (attribute.Name == "input_wo") {
			t.Errorf("%s: write-only: %t", attribute.Name, attribute.WriteOnly)
		}
	}
}

// When this test fails, action_input_wo.go can go.
func TestFrameworkRefusesWriteOnlyInActions(t *testing.T) {
	t.Parallel()
	p := &protocol{server: providerserver.NewProtocol6(writeOnlyProvider{&ylemProvider{version: "test"}})()}
	var err error
	if p.schema, err = p.server.GetProviderSchema(t.Context(), &tfprotov6.GetProviderSchemaRequest{}); err != nil {
		t.Fatal(err)
	}
	resp, err := p.server.(tfprotov6.ActionServer).ValidateActionConfig(t.Context(), &tfprotov6.ValidateActionConfigRequest{
		ActionType: actionName, Config: toDynamic(t, p.actionType(), object{"input_wo": "a secret"}),
	})
	if err != nil {
		t.Fatal(err)
	}
	if diags := diagnostics(resp.Diagnostics); !diags.failed() {
		t.Error("the framework accepts write-only arguments of actions: mark input_wo in its schema, and remove action_input_wo.go")
	}
}

// writeOnlyProvider has an action whose only argument the framework's own schema marks as write-only.
type writeOnlyProvider struct{ *ylemProvider }

func (writeOnlyProvider) Actions(context.Context) []func() action.Action {
	return []func() action.Action{func() action.Action { return writeOnlyAction{} }}
}

type writeOnlyAction struct{}

func (writeOnlyAction) Metadata(_ context.Context, _ action.MetadataRequest, resp *action.MetadataResponse) {
	resp.TypeName = actionName
}

func (writeOnlyAction) Schema(_ context.Context, _ action.SchemaRequest, resp *action.SchemaResponse) {
	resp.Schema = schema.Schema{Attributes: map[string]schema.Attribute{"input_wo": schema.StringAttribute{Optional: true, WriteOnly: true}}}
}

func (writeOnlyAction) Invoke(context.Context, action.InvokeRequest, *action.InvokeResponse) {}
