package provider

import (
	"context"
	"runtime"
	"testing"
	"weak"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// What belongs to a call is free when it has ended, although the framework keeps the contexts of all calls.
func TestNothingIsKeptOfACall(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]func(context.Context, tfprotov6.ProviderServer){
		"validate a data source": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.ValidateDataResourceConfig(ctx, &tfprotov6.ValidateDataResourceConfigRequest{TypeName: lastRun})
		},
		"read a data source": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.ReadDataSource(ctx, &tfprotov6.ReadDataSourceRequest{TypeName: "none"})
		},
		"validate a resource": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.ValidateResourceConfig(ctx, &tfprotov6.ValidateResourceConfigRequest{TypeName: "none"})
		},
		"upgrade a state": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.UpgradeResourceState(ctx, &tfprotov6.UpgradeResourceStateRequest{TypeName: "none"})
		},
		"read a resource": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.ReadResource(ctx, &tfprotov6.ReadResourceRequest{TypeName: "none"})
		},
		"plan": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.PlanResourceChange(ctx, &tfprotov6.PlanResourceChangeRequest{TypeName: "none"})
		},
		"apply": func(ctx context.Context, s tfprotov6.ProviderServer) {
			_, _ = s.ApplyResourceChange(ctx, &tfprotov6.ApplyResourceChangeRequest{TypeName: "none"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			type key struct{}
			server, err := factories["ylem"]()
			if err != nil {
				t.Fatal(err)
			}
			value := new([4096]byte)
			belongs := weak.Make(value)
			call(context.WithValue(t.Context(), key{}, value), server)
			eventually(t, "what belongs to the call is free", func() bool {
				runtime.GC()
				return belongs.Value() == nil
			})
			runtime.KeepAlive(server)
		})
	}
}
