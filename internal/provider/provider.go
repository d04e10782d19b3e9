// Package provider is everything Terraform: schemas in, state out. What Ylem's API is like is known to package
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
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"
)

var _ provider.ProviderWithActions = (*ylemProvider)(nil)

type ylemProvider struct {
	version   string
	retryWait time.Duration // before a request is repeated; 0: the client's default
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
				MarkdownDescription: "Address of Ylem's API, without `/v1`, such as `https://ylem.example.com`. Unset: the environment " +
					"variable `YLEM_API_URL`, and without that the hosted service, `https://api.datamin.io`. Self-hosted Ylem " +
					"listens on port 7339: `http://localhost:7339`. Plain http to another machine causes a warning.",
				Validators: []validator.String{urlValidator{}},
			},
			"client_id": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "ID of the OAuth client, such as `6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10`. Unset: the environment variable " +
					"`YLEM_API_CLIENT_ID`. One of them is required.",
			},
			"client_secret": schema.StringAttribute{
				Optional:  true,
				Sensitive: true,
				MarkdownDescription: "Secret of the OAuth client. Unset: the environment variable `YLEM_API_CLIENT_SECRET`, which keeps it out of " +
					"the configuration. One of them is required.",
			},
			"scopes": schema.SetAttribute{
				Optional:    true,
				ElementType: types.StringType,
				MarkdownDescription: "Scopes to ask for, such as `[\"pipelines:run\", \"stats:read\"]`: the first to start runs, the second to " +
					"read anything. Unset: all that the OAuth client has, which is what most configurations want.",
				Validators: []validator.Set{
					setvalidator.NoNullValues(),
					setvalidator.ValueStringsAre(stringvalidator.RegexMatches(scopePattern,
						`must be one scope, such as "stats:read", without spaces or commas`)),
				},
			},
			"request_timeout": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "How long one attempt of a request may take, including its whole answer, as a duration such as `90s` or `2m`. " +
					"Unset: `60s`.",
				Validators: []validator.String{durationValidator{}},
			},
			"max_retries": schema.Int64Attribute{
				Optional: true,
				MarkdownDescription: "How often a request that is safe to repeat is sent again when Ylem cannot be reached or cannot answer, with pauses " +
					"that grow from half a second. At most `20`; `0` turns it off. Unset: `4`. A run request is repeated only " +
					"when it certainly started nothing, whatever this value is.",
				Validators: []validator.Int64{int64validator.Between(0, 20)},
			},
			"max_concurrent_runs": schema.Int64Attribute{
				Optional: true,
				MarkdownDescription: "How many requests that start a run may be under way at once, from `1` to `1000`. Unset: `4`. An open-source server answers 500 (a " +
					"database deadlock) when more different pipelines are started together; set `1` if it still happens.",
				Validators: []validator.Int64{int64validator.Between(1, 1000)},
			},
			"headers": schema.MapAttribute{
				Optional:    true,
				Sensitive:   true,
				ElementType: types.StringType,
				MarkdownDescription: "Additional headers for every request, for a Ylem behind an access proxy: " +
					"`{ \"CF-Access-Client-Id\" = \"…\" }`. Headers that the provider sets itself or that change what a request means are refused: " +
					"`Accept`, `Accept-Encoding`, `Authorization`, `Connection`, `Content-*`, `Expect`, `Host`, `Idempotency-Key`, `If-*`, " +
					"`Range`, `Trailer`, `Transfer-Encoding`, `Upgrade`, `X-Idempotency-Key`. Unset: none.",
				Validators: []validator.Map{
					mapvalidator.NoNullValues(),
					headerNamesValidator{},
					mapvalidator.ValueStringsAre(headerValueValidator{}),
				},
			},
			"ca_cert_pem": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Certificate of the authority that signed the server's certificate, PEM, such as `file(\"ca.pem\")`. It is " +
					"trusted in addition to the system's authorities. Unset: only those.",
			},
			"client_cert_pem": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Certificate to present to a server that asks for one, PEM, such as `file(\"client.pem\")`. Needs " +
					"`client_key_pem`. Unset: none.",
				Validators: []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("client_key_pem"))},
			},
			"client_key_pem": schema.StringAttribute{
				Optional:            true,
				Sensitive:           true,
				MarkdownDescription: "Private key of `client_cert_pem`, PEM, such as `file(\"client.key\")`. Unset: none.",
				Validators:          []validator.String{stringvalidator.AlsoRequires(path.MatchRoot("client_cert_pem"))},
			},
			"insecure": schema.BoolAttribute{
				Optional: true,
				MarkdownDescription: "`true` accepts any server certificate, so anyone who can intercept the connection can read the client secret: " +
					"for tests only. Unset: `false`.",
			},
		},
	}
}

func (p *ylemProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{newPipelineRunResource}
}

func (p *ylemProvider) Actions(context.Context) []func() action.Action {
	return []func() action.Action{newPipelineRunAction}
}

func (p *ylemProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{
		newPipelineLogsDataSource,
		newStatsDataSource(pipelineSubject), newStatsDataSource(taskSubject),
		newAggregatedStatsDataSource(pipelineSubject), newAggregatedStatsDataSource(taskSubject),
		newLastRunDataSource(pipelineSubject), newLastRunDataSource(taskSubject),
	}
}
