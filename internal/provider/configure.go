package provider

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/attr"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
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
	RequestTimeout    types.String `tfsdk:"request_timeout"`
	MaxRetries        types.Int64  `tfsdk:"max_retries"`
	MaxConcurrentRuns types.Int64  `tfsdk:"max_concurrent_runs"`
	Headers           types.Map    `tfsdk:"headers"`
	CACertPEM         types.String `tfsdk:"ca_cert_pem"`
	ClientCertPEM     types.String `tfsdk:"client_cert_pem"`
	ClientKeyPEM      types.String `tfsdk:"client_key_pem"`
	Insecure          types.Bool   `tfsdk:"insecure"`
}

// api is what Configure hands to the resource, the data sources and the action.
type api struct {
	client  *ylem.Client // nil until the provider is configured with values that are all known
	unknown []string     // the attributes of the provider that are not known yet
}

// apiFrom takes over what Configure left. Terraform also validates without configuring: then there is nothing.
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

// reader is what all data sources are.
type reader struct{ api api }

func (r *reader) Configure(_ context.Context, req datasource.ConfigureRequest, resp *datasource.ConfigureResponse) {
	r.api = apiFrom(req.ProviderData, &resp.Diagnostics)
}

// ready reports whether requests can be sent, and says why where they cannot.
func (a api) ready(diags *diag.Diagnostics) bool {
	if a.client != nil {
		return true
	}
	diags.AddError("The provider's configuration is not known yet", fmt.Sprintf(
		"Reading from Ylem needs these arguments of the provider \"ylem\", and their values are only known after apply: %s.\n\n"+
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
	a.unknown = m.unknown()
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
		cfg.Logger = newLogger()
		var err error
		if a.client, err = ylem.New(cfg); err != nil {
			resp.Diagnostics.AddError("The provider's configuration cannot work", err.Error())
			return
		}
	}
	resp.ResourceData = a
	resp.DataSourceData = a
	resp.ActionData = a
}

func (p *ylemProvider) userAgent(terraformVersion string) string {
	agent := fmt.Sprintf("terraform-provider-ylem/%s Terraform/%s", p.version, terraformVersion)
	// One line: net/http refuses headers of several.
	return strings.Join(append([]string{agent}, strings.Fields(os.Getenv("TF_APPEND_USER_AGENT"))...), " ")
}

// unknown names the attributes whose values are not known yet. None of them may be replaced by a default: the
// default host would be sent another host's secret.
func (m *providerModel) unknown() []string {
	values := []struct {
		name  string
		value attr.Value
	}{
		{"api_url", m.APIURL},
		{"client_id", m.ClientID},
		{"client_secret", m.ClientSecret},
		{"scopes", m.Scopes},
		{"request_timeout", m.RequestTimeout},
		{"max_retries", m.MaxRetries},
		{"max_concurrent_runs", m.MaxConcurrentRuns},
		{"headers", m.Headers},
		{"ca_cert_pem", m.CACertPEM},
		{"client_cert_pem", m.ClientCertPEM},
		{"client_key_pem", m.ClientKeyPEM},
		{"insecure", m.Insecure},
	}
	var names []string
	for _, v := range values {
		unknown := v.value.IsUnknown()
		switch elements := v.value.(type) {
		case types.Set:
			unknown = unknown || anyUnknown(elements.Elements())
		case types.Map:
			unknown = unknown || anyUnknown(slices.Collect(maps.Values(elements.Elements())))
		}
		if unknown {
			names = append(names, v.name)
		}
	}
	return names
}

func anyUnknown(values []attr.Value) bool {
	for _, v := range values {
		if v.IsUnknown() {
			return true
		}
	}
	return false
}

func (m *providerModel) clientConfig(ctx context.Context, diags *diag.Diagnostics) ylem.Config {
	cfg := ylem.Config{
		BaseURL:           cmp.Or(m.APIURL.ValueString(), os.Getenv(envURL)),
		ClientID:          cmp.Or(m.ClientID.ValueString(), os.Getenv(envClientID)),
		ClientSecret:      cmp.Or(m.ClientSecret.ValueString(), os.Getenv(envClientSecret)),
		RequestTimeout:    defaultRequestTimeout,
		MaxRetries:        defaultMaxRetries,
		MaxConcurrentRuns: defaultMaxConcurrentRuns,
	}
	missing := func(attribute, variable string) {
		diags.AddAttributeError(path.Root(attribute), "Missing "+attribute, fmt.Sprintf(
			"The provider needs the %s of a Ylem OAuth client. Set it in the configuration:\n\n"+
				"  provider \"ylem\" {\n    %s = …\n  }\n\nor in the environment variable %s. An empty value counts as unset.",
			map[string]string{"client_id": "ID", "client_secret": "secret"}[attribute], attribute, variable))
	}
	if cfg.ClientID == "" {
		missing("client_id", envClientID)
	}
	if cfg.ClientSecret == "" {
		missing("client_secret", envClientSecret)
	}
	// The attribute was checked by its validator; the environment is not.
	if u, err := ylem.ParseBaseURL(cfg.BaseURL); err != nil {
		diags.AddAttributeError(path.Root("api_url"), "Invalid address of Ylem",
			fmt.Sprintf("The environment variable %s cannot be used: %s. Write it as https://ylem.example.com.", envURL, err))
	} else if u.Scheme == "http" && !isLoopback(u) {
		diags.AddAttributeWarning(path.Root("api_url"), "Ylem is reached without encryption", fmt.Sprintf(
			"The client secret and the tokens are sent to %s in plain text. Use https unless you trust the network in between.", u.Host))
	}

	if v := m.RequestTimeout.ValueString(); v != "" {
		cfg.RequestTimeout, _ = time.ParseDuration(v) // checked by its validator
	}
	if !m.MaxRetries.IsNull() {
		cfg.MaxRetries = int(m.MaxRetries.ValueInt64())
	}
	if !m.MaxConcurrentRuns.IsNull() {
		cfg.MaxConcurrentRuns = m.MaxConcurrentRuns.ValueInt64()
	}
	diags.Append(m.Scopes.ElementsAs(ctx, &cfg.Scopes, false)...)
	diags.Append(m.Headers.ElementsAs(ctx, &cfg.Headers, false)...)
	cfg.TLS = m.tlsConfig(diags)
	return cfg
}

func (m *providerModel) tlsConfig(diags *diag.Diagnostics) *tls.Config {
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: m.Insecure.ValueBool()}
	if pem := m.CACertPEM.ValueString(); pem != "" {
		pool, err := x509.SystemCertPool()
		if err != nil {
			pool = x509.NewCertPool()
		}
		if !pool.AppendCertsFromPEM([]byte(pem)) {
			diags.AddAttributeError(path.Root("ca_cert_pem"), "Invalid certificate",
				"The value holds no PEM certificate. It begins with -----BEGIN CERTIFICATE-----; read a file with file(\"ca.pem\").")
		}
		cfg.RootCAs = pool
	}
	if cert, key := m.ClientCertPEM.ValueString(), m.ClientKeyPEM.ValueString(); cert != "" || key != "" {
		pair, err := keyPair(cert, key)
		if err != nil {
			diags.AddAttributeError(path.Root("client_cert_pem"), "Invalid client certificate", fmt.Sprintf(
				"client_cert_pem and client_key_pem must be a certificate and its private key, both PEM: %s.", err))
		}
		cfg.Certificates = []tls.Certificate{pair}
	}
	return cfg
}

func keyPair(cert, key string) (tls.Certificate, error) {
	if cert == "" || key == "" {
		return tls.Certificate{}, errors.New("one of them is empty")
	}
	return tls.X509KeyPair([]byte(cert), []byte(key))
}

func isLoopback(u *url.URL) bool {
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
