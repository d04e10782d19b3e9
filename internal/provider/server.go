package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// NewServer returns the provider as Terraform talks to it; version appears in its user agent.
func NewServer(version string) func() tfprotov6.ProviderServer {
	return func() tfprotov6.ProviderServer { return newServer(&ylemProvider{version: version}) }
}

func newServer(p *ylemProvider) tfprotov6.ProviderServer {
	framework := providerserver.NewProtocol6(p)()
	return server{framework, framework.(tfprotov6.ActionServer)}
}

// server is the framework's, but for what the framework (1.19) cannot.
type server struct {
	tfprotov6.ProviderServer
	tfprotov6.ActionServer
}

// GetProviderSchema tells Terraform that input_wo of the action is write-only. The framework would refuse every value
// then, because a request to validate an action does not tell whether the client knows write-only attributes. A client
// that knows actions (Terraform 1.14) does (1.11).
func (s server) GetProviderSchema(ctx context.Context, req *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	resp, err := s.ProviderServer.GetProviderSchema(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, action := range resp.ActionSchemas {
		for _, attribute := range action.Schema.Block.Attributes {
			if attribute.Name == "input_wo" {
				attribute.WriteOnly = true
			}
		}
	}
	return resp, nil
}
