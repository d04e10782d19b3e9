// Command empty is a provider whose only resource has the schema of ylem_pipeline_run and does no work: what it takes is
// what Terraform and the framework take, whoever provides the resource.
package main

import (
	"context"
	"fmt"
	"os"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/identityschema"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	ylem "github.com/ylem-co/terraform-provider-ylem/internal/provider"
)

const typeName = "ylem_pipeline_run"

func main() {
	if err := serve(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func serve(ctx context.Context) error {
	// As the measured provider: see limitLogs in its main.go.
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_PROVIDER_YLEM"} {
		if err := os.Setenv(name, "OFF"); err != nil {
			return err
		}
	}
	measured := ylem.NewServer("empty")()
	schemas, err := measured.GetProviderSchema(ctx, &tfprotov6.GetProviderSchemaRequest{})
	if err != nil {
		return err
	}
	identities, err := measured.GetResourceIdentitySchemas(ctx, &tfprotov6.GetResourceIdentitySchemasRequest{})
	if err != nil {
		return err
	}
	idle, err := newIdleResource(schemas.ResourceSchemas[typeName], identities.IdentitySchemas[typeName])
	if err != nil {
		return err
	}
	return tf6server.Serve("registry.terraform.io/ylem-co/ylem", func() tfprotov6.ProviderServer {
		return server{providerserver.NewProtocol6(&emptyProvider{idle: idle})(), schemas.Provider}
	})
}

// server is the framework's, but accepts the configuration of the measured provider.
type server struct {
	tfprotov6.ProviderServer
	provider *tfprotov6.Schema
}

func (s server) GetProviderSchema(ctx context.Context, req *tfprotov6.GetProviderSchemaRequest) (*tfprotov6.GetProviderSchemaResponse, error) {
	resp, err := s.ProviderServer.GetProviderSchema(ctx, req)
	if err == nil {
		resp.Provider = s.provider
	}
	return resp, err
}

func (s server) ValidateProviderConfig(_ context.Context, req *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	return &tfprotov6.ValidateProviderConfigResponse{PreparedConfig: req.Config}, nil
}

func (s server) ConfigureProvider(context.Context, *tfprotov6.ConfigureProviderRequest) (*tfprotov6.ConfigureProviderResponse, error) {
	return &tfprotov6.ConfigureProviderResponse{}, nil
}

type emptyProvider struct{ idle *idleResource }

func (p *emptyProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "ylem"
}

func (p *emptyProvider) Schema(context.Context, provider.SchemaRequest, *provider.SchemaResponse) {}

func (p *emptyProvider) Configure(context.Context, provider.ConfigureRequest, *provider.ConfigureResponse) {
}

func (p *emptyProvider) DataSources(context.Context) []func() datasource.DataSource { return nil }

func (p *emptyProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{func() resource.Resource { return p.idle }}
}

// idleResource keeps whatever state it is given.
type idleResource struct {
	schema   schema.Schema
	identity identityschema.Schema
}

var _ resource.ResourceWithIdentity = (*idleResource)(nil)

func (r *idleResource) Metadata(_ context.Context, _ resource.MetadataRequest, resp *resource.MetadataResponse) {
	resp.TypeName = typeName
}

func (r *idleResource) Schema(_ context.Context, _ resource.SchemaRequest, resp *resource.SchemaResponse) {
	resp.Schema = r.schema
}

func (r *idleResource) IdentitySchema(_ context.Context, _ resource.IdentitySchemaRequest, resp *resource.IdentitySchemaResponse) {
	resp.IdentitySchema = r.identity
}

func (r *idleResource) Create(_ context.Context, _ resource.CreateRequest, resp *resource.CreateResponse) {
	resp.Diagnostics.AddError("The empty provider creates nothing", "It is only for plans.")
}

// Read sets only the identity, without which the framework refuses the answer.
func (r *idleResource) Read(ctx context.Context, req resource.ReadRequest, resp *resource.ReadResponse) {
	for attribute, identity := range map[string]string{"pipeline_uuid": "pipeline_uuid", "id": "run_uuid"} {
		var value types.String
		resp.Diagnostics.Append(req.State.GetAttribute(ctx, path.Root(attribute), &value)...)
		resp.Diagnostics.Append(resp.Identity.SetAttribute(ctx, path.Root(identity), value)...)
	}
}

func (r *idleResource) Update(_ context.Context, _ resource.UpdateRequest, resp *resource.UpdateResponse) {
	resp.Diagnostics.AddError("The empty provider updates nothing", "It is only for plans.")
}

func (r *idleResource) Delete(context.Context, resource.DeleteRequest, *resource.DeleteResponse) {}

// newIdleResource gives the resource the schemas that the measured provider shows Terraform.
func newIdleResource(s *tfprotov6.Schema, identity *tfprotov6.ResourceIdentitySchema) (*idleResource, error) {
	attributes, err := convertAll(s.Block.Attributes)
	if err != nil {
		return nil, err
	}
	r := &idleResource{schema: schema.Schema{Version: s.Version, Attributes: attributes, Blocks: map[string]schema.Block{}}}
	for _, block := range s.Block.BlockTypes {
		if block.Nesting != tfprotov6.SchemaNestedBlockNestingModeSingle {
			return nil, fmt.Errorf("block %s: no conversion for its nesting", block.TypeName)
		}
		attributes, err := convertAll(block.Block.Attributes)
		if err != nil {
			return nil, err
		}
		r.schema.Blocks[block.TypeName] = schema.SingleNestedBlock{Attributes: attributes}
	}
	r.identity = identityschema.Schema{Version: identity.Version, Attributes: map[string]identityschema.Attribute{}}
	for _, a := range identity.IdentityAttributes {
		r.identity.Attributes[a.Name] = identityschema.StringAttribute{RequiredForImport: a.RequiredForImport, OptionalForImport: a.OptionalForImport}
	}
	return r, nil
}

func convertAll(list []*tfprotov6.SchemaAttribute) (map[string]schema.Attribute, error) {
	converted := map[string]schema.Attribute{}
	for _, a := range list {
		var err error
		if converted[a.Name], err = convert(a); err != nil {
			return nil, err
		}
	}
	return converted, nil
}

func convert(a *tfprotov6.SchemaAttribute) (schema.Attribute, error) {
	if a.NestedType != nil {
		attributes, err := convertAll(a.NestedType.Attributes)
		nested := schema.NestedAttributeObject{Attributes: attributes}
		switch {
		case err != nil:
			return nil, err
		case a.NestedType.Nesting == tfprotov6.SchemaObjectNestingModeSingle:
			return schema.SingleNestedAttribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed, Attributes: attributes}, nil
		case a.NestedType.Nesting == tfprotov6.SchemaObjectNestingModeList:
			return schema.ListNestedAttribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed, NestedObject: nested}, nil
		}
		return nil, fmt.Errorf("attribute %s: no conversion for its nesting", a.Name)
	}
	switch t := a.Type.(type) {
	case tftypes.Set:
		element, err := simpleType(t.ElementType)
		return schema.SetAttribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed, ElementType: element}, err
	case tftypes.Map:
		element, err := simpleType(t.ElementType)
		return schema.MapAttribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, ElementType: element}, err
	}
	switch {
	case a.Type.Is(tftypes.String):
		return schema.StringAttribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed, Sensitive: a.Sensitive, WriteOnly: a.WriteOnly}, nil
	case a.Type.Is(tftypes.Bool):
		return schema.BoolAttribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed}, nil
	case a.Type.Is(tftypes.Number):
		return schema.Int64Attribute{Required: a.Required, Optional: a.Optional, Computed: a.Computed}, nil
	}
	return nil, fmt.Errorf("attribute %s: no conversion for %s", a.Name, a.Type)
}

func simpleType(t tftypes.Type) (attr.Type, error) {
	if t.Is(tftypes.String) {
		return types.StringType, nil
	}
	return nil, fmt.Errorf("no conversion for elements of %s", t)
}
