package provider

import (
	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

// NewServer returns the provider as Terraform talks to it; version appears in its user agent.
func NewServer(version string) func() tfprotov6.ProviderServer {
	return func() tfprotov6.ProviderServer {
		s := newServer(&ylemProvider{version: version})
		s.termination = newTermination(notifySIGTERM, exitTerminated)
		return s
	}
}

// NewServerWith returns the provider with connections that dial opens, for tests. It leaves the signals of its process alone.
func NewServerWith(version string, dial request.DialContext) tfprotov6.ProviderServer {
	return newServer(&ylemProvider{version: version, dial: dial})
}

// newServer returns a provider that leaves the signals of its process alone.
func newServer(p *ylemProvider) server {
	framework := providerserver.NewProtocol6(p)()
	return server{
		ProviderServer:     framework,
		ActionServer:       framework.(tfprotov6.ActionServer),
		ListResourceServer: framework.(tfprotov6.ListResourceServer),
		invocations:        new(invocations),
	}
}

// server wraps the framework's server and adds what version 1.19 lacks, one file for each feature.
type server struct {
	tfprotov6.ProviderServer
	tfprotov6.ActionServer
	tfprotov6.ListResourceServer

	termination *termination // nil: signals keep their default meaning
	invocations *invocations
}
