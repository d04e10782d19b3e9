package provider

import (
	"context"
	"sync/atomic"
	"time"

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

// ReadDataSource fills in the lists that are too large for the framework.
func (s server) ReadDataSource(ctx context.Context, req *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	ctx, large := withLargeState(ctx)
	resp, err := call(ctx, req, s.ProviderServer.ReadDataSource)
	if err != nil || large.lists == nil {
		return resp, err
	}
	return resp, large.fill(resp.State)
}

// The other calls that are made for every resource or data source, as often as there are such.

func (s server) ValidateDataResourceConfig(ctx context.Context, req *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	return call(ctx, req, s.ProviderServer.ValidateDataResourceConfig)
}

func (s server) ValidateResourceConfig(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	return call(ctx, req, s.ProviderServer.ValidateResourceConfig)
}

func (s server) UpgradeResourceState(ctx context.Context, req *tfprotov6.UpgradeResourceStateRequest) (*tfprotov6.UpgradeResourceStateResponse, error) {
	return call(ctx, req, s.ProviderServer.UpgradeResourceState)
}

func (s server) ReadResource(ctx context.Context, req *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	if resp := refreshSettled(req); resp != nil {
		return resp, nil
	}
	return call(ctx, req, s.ProviderServer.ReadResource)
}

func (s server) PlanResourceChange(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	if resp := planSettled(req); resp != nil {
		return resp, nil
	}
	return call(ctx, req, s.ProviderServer.PlanResourceChange)
}

func (s server) ApplyResourceChange(ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	return call(ctx, req, s.ProviderServer.ApplyResourceChange)
}

// call calls the framework with a context that is empty once the call has ended. The framework (1.19) keeps the contexts
// of all calls, to cancel them when the provider is stopped, and with each of them ten kilobytes of loggers and
// connections: 50 MB for a plan with 1,000 resources, which the garbage collector then went through again and again.
func call[Request, Response any](ctx context.Context, req Request, framework func(context.Context, Request) (Response, error)) (Response, error) {
	kept := new(keptContext)
	kept.current.Store(&ctx)
	defer func() {
		ended := context.Background()
		kept.current.Store(&ended)
	}()
	return framework(kept, req)
}

// keptContext is another context, for a while.
type keptContext struct {
	current atomic.Pointer[context.Context]
}

func (k *keptContext) Deadline() (time.Time, bool) { return (*k.current.Load()).Deadline() }
func (k *keptContext) Done() <-chan struct{}       { return (*k.current.Load()).Done() }
func (k *keptContext) Err() error                  { return (*k.current.Load()).Err() }
func (k *keptContext) Value(key any) any           { return (*k.current.Load()).Value(key) }
