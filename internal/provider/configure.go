package provider

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-framework/types"
	"github.com/hashicorp/terraform-plugin-go/tftypes"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/request"
)

const (
	defaultRequestTimeout    = time.Minute
	defaultMaxRetries        = 4
	defaultMaxConcurrentRuns = 4
)

// The environment variables that Ylem's own clients read.
const (
	envURL          = "YLEM_API_URL"
	envClientID     = "YLEM_API_CLIENT_ID"
	envClientSecret = "YLEM_API_CLIENT_SECRET"
)

type providerModel struct {
	APIURL            types.String `tfsdk:"api_url"`
	ClientID          types.String `tfsdk:"client_id"`
	ClientSecret      types.String `tfsdk:"client_secret"`
	Scopes            types.Set    `tfsdk:"scopes"`
	RequestTimeout    duration     `tfsdk:"request_timeout"`
	MaxRetries        types.Int64  `tfsdk:"max_retries"`
	MaxConcurrentRuns types.Int64  `tfsdk:"max_concurrent_runs"`
	Headers           types.Map    `tfsdk:"headers"`
	CACertPEM         types.String `tfsdk:"ca_cert_pem"`
	ClientCertPEM     types.String `tfsdk:"client_cert_pem"`
	ClientKeyPEM      types.String `tfsdk:"client_key_pem"`
	Insecure          types.Bool   `tfsdk:"insecure"`
}

// api is what Configure hands to the resource, its list, the data sources and the action.
type api struct {
	client   *ylem.Client // nil until the provider is configured with values that are all known
	follower *follow.Follower
	scopes   []string // as configured; nil: not set, so that a token has all scopes of the OAuth client
	claims   *claims
	warned   *sync.Map // what a refresh has warned of, so that many runs do not repeat it
	unknown  []string  // the attributes of the provider that are not known yet
}

// now is the time by Ylem's clock, as far as it is known without a request.
func (a api) now() time.Time {
	if a.client == nil {
		return time.Now()
	}
	return a.client.LastKnownNow()
}

// apiFrom returns what Configure left. Terraform also validates without configuring: then there is nothing.
func apiFrom(data any, diags *diag.Diagnostics) api {
	if data == nil {
		return api{}
	}
	a, ok := data.(api)
	if !ok {
		diags.AddError("Unexpected provider data", fmt.Sprintf("Got %T. This is a bug in the provider: please report it.", data))
	}
	return a
}

// dataSourceBase is embedded in all data sources.
type dataSourceBase struct{ api api }

func (d *dataSourceBase) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	d.api = apiFrom(req.ProviderData, &resp.Diagnostics)
}

// ready reports whether requests can be sent, and says why where they cannot.
func (a api) ready(diags *diag.Diagnostics) bool {
	if a.client != nil {
		return true
	}
	diags.AddError("The provider's configuration is not known yet", fmt.Sprintf(
		"No request can be sent to Ylem, because these arguments of the provider \"ylem\" are only known after apply: %s.\n\n"+
			"Apply what they depend on first (terraform apply -target=…), or set them to values that are known while planning.",
		strings.Join(a.unknown, ", ")))
	return false
}

// Configure checks the configuration and builds the client. It sends nothing, so that a plan which reads nothing
// works without a connection.
func (p *ylemProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}

	var a api
	a.unknown = unknownAttributes(req.Config)
	if len(a.unknown) > 0 {
		if req.ClientCapabilities.DeferralAllowed {
			resp.Deferred = &provider.Deferred{Reason: provider.DeferredReasonProviderConfigUnknown}
		}
	} else {
		cfg := m.clientConfig(ctx, &resp.Diagnostics)
		if resp.Diagnostics.HasError() {
			return
		}
		cfg.UserAgent = p.userAgent(req.TerraformVersion)
		cfg.RetryWait = p.retryWait
		cfg.Dial = p.dial
		cfg.Logger = newLogger()
		var err error
		if a.client, err = ylem.New(cfg); err != nil {
			resp.Diagnostics.AddError("The provider's configuration cannot work", err.Error())
			return
		}
		a.follower, a.scopes, a.claims, a.warned = follow.New(a.client), cfg.Scopes, new(claims), new(sync.Map)
	}
	resp.ResourceData = a
	resp.DataSourceData = a
	resp.ActionData = a
	resp.ListResourceData = a
}

func (p *ylemProvider) userAgent(terraformVersion string) string {
	agent := fmt.Sprintf("terraform-provider-ylem/%s Terraform/%s", p.version, terraformVersion)
	// One line: net/http refuses headers of several.
	return strings.Join(append([]string{agent}, strings.Fields(os.Getenv("TF_APPEND_USER_AGENT"))...), " ")
}

// unknownAttributes names the attributes whose values are not known yet, wholly or in part. None of them may be replaced by
// a default: the default host would be sent another host's secret.
func unknownAttributes(config tfsdk.Config) []string {
	var attributes map[string]tftypes.Value
	_ = config.Raw.As(&attributes) // a provider's configuration is an object
	maps.DeleteFunc(attributes, func(_ string, value tftypes.Value) bool { return value.IsFullyKnown() })
	return slices.Sorted(maps.Keys(attributes))
}

func (m *providerModel) clientConfig(ctx context.Context, diags *diag.Diagnostics) request.Config {
	cfg := request.Config{
		BaseURL:           cmp.Or(m.APIURL.ValueString(), os.Getenv(envURL)),
		ClientID:          credential("client_id", "ID", m.ClientID, envClientID, diags),
		ClientSecret:      credential("client_secret", "secret", m.ClientSecret, envClientSecret, diags),
		RequestTimeout:    m.RequestTimeout.or(defaultRequestTimeout, path.Root("request_timeout"), diags),
		MaxRetries:        defaultMaxRetries,
		MaxConcurrentRuns: defaultMaxConcurrentRuns,
	}
	// The attribute was checked by its validator; the environment is not.
	if u, err := request.ParseBaseURL(cfg.BaseURL); err != nil {
		diags.AddAttributeError(path.Root("api_url"), "Invalid address of Ylem",
			fmt.Sprintf("The environment variable %s cannot be used: %s. Write it as https://ylem.example.com.", envURL, err))
	} else {
		if u.Scheme == "http" && !isLoopback(u) {
			diags.AddAttributeWarning(path.Root("api_url"), "Ylem is reached without encryption", fmt.Sprintf(
				"The client secret and the tokens are sent to %s in plain text. Use https unless you trust the network in between.", u.Host))
		}
		checkProxy(u, diags)
	}
	if !m.MaxRetries.IsNull() {
		cfg.MaxRetries = int(m.MaxRetries.ValueInt64())
	}
	if !m.MaxConcurrentRuns.IsNull() {
		cfg.MaxConcurrentRuns = m.MaxConcurrentRuns.ValueInt64()
	}
	if len(m.Scopes.Elements()) > 0 { // none is as good as not set
		diags.Append(m.Scopes.ElementsAs(ctx, &cfg.Scopes, false)...)
	}
	diags.Append(m.Headers.ElementsAs(ctx, &cfg.Headers, false)...)
	cfg.TLS = m.tlsConfig(diags)
	return cfg
}

// credential is an attribute's value, or that of its environment variable. Neither is ever shown.
func credential(attribute, noun string, value types.String, variable string, diags *diag.Diagnostics) string {
	v, source := value.ValueString(), fmt.Sprintf("It comes from the configuration: trimspace() removes white space, as in\n\n  %s = trimspace(file(\"…\"))", attribute)
	if v == "" {
		v, source = os.Getenv(variable), fmt.Sprintf("It comes from the environment variable %s: check the command or the file that sets it. "+
			"An env file must have neither Windows line ends nor spaces around its values.", variable)
	}
	switch {
	case v == "":
		diags.AddAttributeError(path.Root(attribute), "Missing "+attribute, fmt.Sprintf(
			"The provider needs the %s of a Ylem OAuth client. Set it in the configuration:\n\n"+
				"  provider \"ylem\" {\n    %s = …\n  }\n\nor in the environment variable %s. An empty value counts as unset.",
			noun, attribute, variable))
	case v != strings.TrimFunc(v, isBlank):
		diags.AddAttributeError(path.Root(attribute), "White space around a credential", fmt.Sprintf(
			"%s, which is not shown, begins or ends with white space, most likely the line end of a file. Ylem would refuse it. %s", attribute, source))
	}
	return v
}

// isBlank reports whether a character at an end of a credential is invisible: white space, or a byte order mark.
func isBlank(r rune) bool { return unicode.IsSpace(r) || r == '\ufeff' }

// checkProxy warns of an environment variable that was to name a proxy but does not: net/http silently ignores it, or takes
// a part of it for the proxy's host.
func checkProxy(base *url.URL, diags *diag.Diagnostics) {
	if isLoopback(base) {
		return // never through a proxy
	}
	name := strings.ToUpper(base.Scheme) + "_PROXY"
	value := os.Getenv(name)
	if value == "" {
		name = strings.ToLower(name)
		value = os.Getenv(name)
	}
	if value == "" {
		return
	}
	proxy, err := url.Parse(value)
	if !strings.Contains(value, "://") { // as net/http reads it
		proxy, err = url.Parse("http://" + value)
	}
	if err != nil || proxy.Hostname() == "" || !slices.Contains([]string{"http", "https", "socks5", "socks5h"}, proxy.Scheme) {
		diags.AddWarning("Invalid proxy address", fmt.Sprintf(
			"The environment variable %s does not hold the address of a proxy, such as http://proxy.example.com:3128. (Its value is not shown, because it may "+
				"hold a password.) Unless NO_PROXY excludes %s, requests to Ylem go there directly, or fail.", name, base.Hostname()))
	}
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
