// Package provider implements the Terraform side: schemas in, state out. What Ylem's API is like is known to package
// ylem alone.
package provider

import (
	"context"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/int64validator"
	"github.com/hashicorp/terraform-plugin-framework-validators/mapvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/setvalidator"
	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/list"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

var (
	_ provider.ProviderWithActions       = (*ylemProvider)(nil)
	_ provider.ProviderWithFunctions     = (*ylemProvider)(nil)
	_ provider.ProviderWithListResources = (*ylemProvider)(nil)
)

type ylemProvider struct {
	version   string
	retryWait time.Duration       // before a request is repeated; 0: the client's default
	dial      request.DialContext // how connections are opened; nil: over the network
}

func (p *ylemProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "ylem"
	resp.Version = p.version
}

func (p *ylemProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Starts pipelines of [Ylem](https://ylem.co), the open-source data-pipeline platform, and reads what their " +
			"runs did: logs, statistics and the last run. It works with the hosted service and with self-hosted Ylem, " +
			"and signs in as an [OAuth client](https://docs.ylem.co/api/oauth-clients).",
		Attributes: map[string]schema.Attribute{
			"api_url": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Address of Ylem's API, without `/v1`, such as `https://ylem.example.com`. Self-hosted Ylem listens on port 7339: " +
					"`http://localhost:7339`. Plain http to another machine causes a warning. Defaults to the environment variable `YLEM_API_URL`, " +
					"and without that to the hosted service, `https://api.datamin.io`.",
				Validators: []validator.String{urlValidator{}},
			},
			"client_id": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "ID of the OAuth client, such as `6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10`. One is required. Defaults to the " +
					"environment variable `YLEM_API_CLIENT_ID`.",
			},
			"client_secret": schema.StringAttribute{
				Optional:  true,
				Sensitive: true,
				MarkdownDescription: "Secret of the OAuth client. One is required. Defaults to the environment variable " +
					"`YLEM_API_CLIENT_SECRET`, which keeps it out of the configuration.",
			},
			"scopes": schema.SetAttribute{
				Optional:    true,
				ElementType: types.StringType,
				MarkdownDescription: "Scopes to ask for, such as `[\"pipelines:run\", \"stats:read\"]`: the first to start runs, the second to " +
					"read anything. Defaults to all that the OAuth client has, which is what most configurations want.",
				Validators: []validator.Set{
					setvalidator.NoNullValues(),
					setvalidator.ValueStringsAre(stringvalidator.RegexMatches(scopePattern,
						`must be one scope, such as "stats:read", without spaces or commas`)),
				},
			},
			"request_timeout": schema.StringAttribute{
				Optional:            true,
				CustomType:          durationType{},
				MarkdownDescription: "Maximum duration of one attempt of a request, including its whole answer, such as `90s` or `2m`. Defaults to `60s`.",
			},
			"max_retries": schema.Int64Attribute{
				Optional: true,
				MarkdownDescription: "Maximum number of times that a request is repeated when Ylem cannot be reached or cannot answer, with pauses that grow " +
					"from half a second. At most `20`; `0` turns it off. A run request is repeated only if it certainly started nothing, which " +
					"includes the database deadlock described at `max_concurrent_runs`. Defaults to `4`.",
				Validators: []validator.Int64{int64validator.Between(0, 20)},
			},
			"max_concurrent_runs": schema.Int64Attribute{
				Optional: true,
				MarkdownDescription: "Maximum number of run requests in flight, from `1` to `1000`. When several pipelines are started together, most of all " +
					"for the first time, the database of an open-source server can deadlock: then no run was started, and the request is repeated after a random " +
					"pause, up to `max_retries` times. If that is not enough, set `1`. Defaults to `4`.",
				Validators: []validator.Int64{int64validator.Between(1, 1000)},
			},
			"headers": schema.MapAttribute{
				Optional:    true,
				Sensitive:   true,
				ElementType: types.StringType,
				MarkdownDescription: "Additional headers for every request, for a Ylem behind an access proxy: " +
					"`{ \"CF-Access-Client-Id\" = \"…\" }`. Headers that the provider sets itself or that change what a request means are refused: " +
					"`Accept`, `Accept-Encoding`, `Authorization`, `Connection`, `Content-*`, `Expect`, `Host`, `Idempotency-Key`, `If-*`, " +
					"`Range`, `Trailer`, `Transfer-Encoding`, `Upgrade`, `X-Idempotency-Key`.",
				Validators: []validator.Map{
					mapvalidator.NoNullValues(),
					headerNamesValidator{},
					mapvalidator.ValueStringsAre(headerValueValidator{}),
				},
			},
			"ca_cert_pem": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Certificates, one or more, of the authorities that may sign the server's certificate, PEM, such as `file(\"ca.pem\")`. They " +
					"are trusted in addition to the system's.",
			},
			"client_cert_pem": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Certificate to present to a server that asks for one, PEM, such as `file(\"client.pem\")`. Needs `client_key_pem`.",
				Validators:          []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("client_key_pem"))},
			},
			"client_key_pem": schema.StringAttribute{
				Optional:            true,
				Sensitive:           true,
				MarkdownDescription: "Private key of `client_cert_pem`, PEM and not encrypted, such as `file(\"client.key\")`.",
				Validators:          []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("client_cert_pem"))},
			},
			"insecure": schema.BoolAttribute{
				Optional: true,
				MarkdownDescription: "`true` accepts any server certificate, so anyone who can intercept the connection can read the client secret: " +
					"for tests only. Defaults to `false`.",
			},
		},
	}
}

func (p *ylemProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{newPipelineRunResource}
}

func (p *ylemProvider) ListResources(context.Context) []func() list.ListResource {
	return []func() list.ListResource{newPipelineRunList}
}

func (p *ylemProvider) Actions(context.Context) []func() action.Action {
	return []func() action.Action{newPipelineRunAction}
}

func (p *ylemProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		newPipelineRunDataSource, newPipelineLogsDataSource, newPipelineTasksDataSource,
		newPipelineStatsDataSource, newTaskStatsDataSource,
		newPipelineAggregatedStatsDataSource, newTaskAggregatedStatsDataSource,
		newPipelineLastRunDataSource, newTaskLastRunDataSource,
	}
}

func (p *ylemProvider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{newPeriodsFunction}
}
