package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// GetProviderSchema marks the action's input_wo as write-only. The framework has that mark for actions
// (hashicorp/terraform-plugin-framework#1233), but then refuses every value: a request to validate an action does not say
// whether the client knows write-only attributes. Every client that knows actions (Terraform 1.14) does (1.11).
//
// This file can go when TestFrameworkRefusesWriteOnlyInActions fails.
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
