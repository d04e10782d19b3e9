package provider

import (
	"context"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/tfsdk"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// lastRun is the data source to read where any will do: it has one argument only.
const lastRun = "ylem_pipeline_last_run"

// ran adds a pipeline that has run.
func (s *sandbox) ran() (arguments object) {
	p := s.AddPipeline(ylemtest.Pipeline{})
	s.AddRows(ylemtest.Row{PipelineUUID: p.UUID, IsSuccessful: true, ExecutedAt: past})
	return object{"pipeline_uuid": p.UUID}
}

// sentForm is the form of the one token request that the sandbox saw.
func (s *sandbox) sentForm(t *testing.T) url.Values {
	t.Helper()
	requests := s.Requests(ylemtest.RouteToken)
	if len(requests) != 1 {
		t.Fatalf("%d token requests", len(requests))
	}
	form, err := url.ParseQuery(string(requests[0].Body))
	if err != nil {
		t.Fatal(err)
	}
	return form
}

func TestEnvironmentFillsWhatTheConfigurationLeavesOut(t *testing.T) {
	s := newSandbox(t)
	other := newSandbox(t)
	t.Setenv(envURL, s.URL)
	t.Setenv(envClientID, s.client.ID)
	t.Setenv(envClientSecret, s.client.Secret)

	for name, arguments := range map[string]object{
		"unset":        {},
		"empty string": {"api_url": "", "client_id": "", "client_secret": ""},
		"same values":  s.arguments(),
	} {
		t.Run(name, func(t *testing.T) {
			s.ResetRequests()
			p := newProtocol(t)
			if diags := p.configure(t, arguments); len(diags) > 0 {
				t.Fatal(diags)
			}
			p.mustRead(t, lastRun, s.ran())
			if id := s.sentForm(t).Get("client_id"); id != s.client.ID {
				t.Errorf("client_id %q", id)
			}
		})
	}

	t.Run("attributes beat it", func(t *testing.T) {
		s.ResetRequests()
		p := newProtocol(t)
		if diags := p.configure(t, other.arguments()); len(diags) > 0 {
			t.Fatal(diags)
		}
		p.mustRead(t, lastRun, other.ran())
		if id := other.sentForm(t).Get("client_id"); id != other.client.ID {
			t.Errorf("client_id %q", id)
		}
		if n := len(s.Requests()); n != 0 {
			t.Errorf("%d requests to the environment's host", n)
		}
	})
}

func TestMissingCredentialsNameBothWaysToSetThem(t *testing.T) {
	for name, test := range map[string]struct {
		arguments   object
		environment string
		missing     []string
	}{
		"both":                    {object{}, "", []string{"client_id", "client_secret"}},
		"ID":                      {object{"client_secret": "secret"}, "", []string{"client_id"}},
		"secret":                  {object{"client_id": "id"}, "", []string{"client_secret"}},
		"empty secret":            {object{"client_id": "id", "client_secret": ""}, "", []string{"client_secret"}},
		"empty in the variable":   {object{"client_id": "id"}, envClientSecret, []string{"client_secret"}},
		"both empty and unset ID": {object{"client_id": "", "client_secret": ""}, envClientID, []string{"client_id", "client_secret"}},
	} {
		t.Run(name, func(t *testing.T) {
			if test.environment != "" {
				t.Setenv(test.environment, "")
			}
			diags := newProtocol(t).configure(t, test.arguments)
			if len(diags) != len(test.missing) {
				t.Fatal(diags)
			}
			for i, attribute := range test.missing {
				diags[i:i+1].expectError(t, attribute, "Missing "+attribute, attribute+" = …", "YLEM_API_"+strings.ToUpper(attribute), "counts as unset")
			}
		})
	}
}

// The line end of a file is no part of a credential. Ylem would only say that the client is wrong.
func TestWhiteSpaceAroundCredentials(t *testing.T) {
	for _, attribute := range []string{"client_id", "client_secret"} {
		for name, value := range map[string]string{
			"line end": "hunter2\n", "Windows line end": "hunter2\r\n", "space before": " hunter2", "tab": "hunter2\t", "no-break space": "hunter2\u00a0",
			"byte order mark": "\ufeffhunter2", "nothing else": "\n",
		} {
			t.Run(attribute+", "+name, func(t *testing.T) {
				expect := func(diags diagnostics, says ...string) {
					t.Helper()
					diags.expectError(t, attribute, append(says, "White space", attribute)...)
					if strings.Contains(diags.String(), "hunter2") {
						t.Errorf("shows the value:%s", diags)
					}
				}
				expect(newProtocol(t).configure(t, credentials.with(object{attribute: value})), "trimspace(")

				variable := map[string]string{"client_id": envClientID, "client_secret": envClientSecret}[attribute]
				t.Setenv(variable, value)
				expect(newProtocol(t).configure(t, credentials.with(object{attribute: nil})), variable, "env file")
			})
		}
	}
}

// net/http ignores what it cannot parse, and sends requests without the proxy.
func TestInvalidProxyAddress(t *testing.T) {
	const https, http = "https://ylem.example.com", "http://ylem.example.com"
	for name, test := range map[string]struct {
		variable, value, url string
		wrong                bool
	}{
		"port in letters":           {"HTTPS_PROXY", "http://me:hunter2@proxy.example.com:port", https, true},
		"port in letters, bare":     {"HTTPS_PROXY", "proxy.example.com:port", https, true},
		"space":                     {"https_proxy", "http://me:hunter2@proxy example.com", https, true},
		"line end":                  {"HTTPS_PROXY", "http://me:hunter2@proxy.example.com\n", https, true},
		"unescaped password":        {"HTTPS_PROXY", "http://me:hunter2%@proxy.example.com:3128", https, true},
		"another scheme":            {"HTTPS_PROXY", "ftp://proxy.example.com", https, true},
		"no host":                   {"HTTPS_PROXY", "http://:3128", https, true},
		"of plain http":             {"HTTP_PROXY", "http://proxy.example.com:port", http, true},
		"of plain http, lower case": {"http_proxy", "http://proxy.example.com:port", http, true},

		"of the other scheme": {"HTTP_PROXY", "http://proxy.example.com:port", https, false},
		"of this machine":     {"HTTP_PROXY", "http://proxy.example.com:port", "http://127.0.0.1:7339", false},
		"good":                {"HTTPS_PROXY", "http://me:hunter2@proxy.example.com:3128", https, false},
		"good, bare":          {"HTTPS_PROXY", "proxy.example.com:3128", https, false},
		"good, host alone":    {"HTTPS_PROXY", "proxy", https, false},
		"good, SOCKS":         {"https_proxy", "socks5://proxy.example.com:1080", https, false},
		"empty":               {"HTTPS_PROXY", "", https, false},
	} {
		t.Run(name, func(t *testing.T) {
			for _, variable := range []string{"HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"} {
				t.Setenv(variable, "")
			}
			t.Setenv(test.variable, test.value)
			diags := newProtocol(t).configure(t, credentials.with(object{"api_url": test.url}))
			diags = slices.DeleteFunc(diags, func(d *tfprotov6.Diagnostic) bool { return strings.Contains(d.Summary, "without encryption") })
			if test.wrong {
				diags.expectWarning(t, "", "Invalid proxy address", test.variable+" ", "ylem.example.com")
			} else if len(diags) > 0 {
				t.Error(diags)
			}
			if strings.Contains(diags.String(), "hunter2") {
				t.Errorf("shows the password:%s", diags)
			}
		})
	}
}

// The resource compares them with what waiting needs.
func TestConfiguredScopesAreHandedOn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scopes any
		want   []string
	}{
		"unset":     {nil, nil},
		"none":      {[]string{}, nil},
		"two":       {[]string{"pipelines:run", "stats:read"}, []string{"pipelines:run", "stats:read"}},
		"not known": {unknown{}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := &ylemProvider{version: "test"}
			var schema provider.SchemaResponse
			p.Schema(t.Context(), provider.SchemaRequest{}, &schema)
			var resp provider.ConfigureResponse
			p.Configure(t.Context(), provider.ConfigureRequest{Config: tfsdk.Config{
				Schema: schema.Schema,
				Raw:    toValue(t, schema.Schema.Type().TerraformType(t.Context()), credentials.with(object{"scopes": test.scopes})),
			}}, &resp)
			for _, data := range []any{resp.ResourceData, resp.ActionData, resp.DataSourceData} {
				if got := data.(api).scopes; !slices.Equal(slices.Sorted(slices.Values(got)), test.want) || (got == nil) != (test.want == nil) {
					t.Errorf("scopes %q, want %q", got, test.want)
				}
			}
		})
	}
}

// What is escaped in the path stays one segment.
func TestEscapedPathOfTheAddress(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	asked := make(chan string, 10)
	server := httptest.NewServer(&httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		asked <- r.In.URL.EscapedPath()
		r.Out.URL, _ = url.Parse(s.URL + strings.TrimPrefix(r.In.URL.EscapedPath(), "/team%2Fa/ylem"))
	}})
	t.Cleanup(server.Close)
	s.connect(t, object{"api_url": server.URL + "/team%2Fa/ylem/v1/"}).mustRead(t, lastRun, s.ran())
	close(asked)
	for path := range asked {
		if !strings.HasPrefix(path, "/team%2Fa/ylem/v1/") {
			t.Errorf("asked for %s", path)
		}
	}
}

func TestAddressInTheEnvironmentIsValidated(t *testing.T) {
	t.Setenv(envURL, "ylem.example.com")
	newProtocol(t).configure(t, object{"client_id": "id", "client_secret": "secret"}).
		expectError(t, "api_url", envURL, "must begin with https:// or http://")
}

func TestPlainHTTPToAnotherMachineWarns(t *testing.T) {
	credentials := object{"client_id": "id", "client_secret": "secret"}
	says := []string{"without encryption", "ylem.example.com:7339", "https"}
	newProtocol(t).configure(t, credentials.with(object{"api_url": "http://ylem.example.com:7339"})).expectWarning(t, "api_url", says...)

	t.Setenv(envURL, "http://ylem.example.com:7339")
	newProtocol(t).configure(t, credentials).expectWarning(t, "api_url", says...)
}

func TestBaseURLFormsReachTheSameAddress(t *testing.T) {
	t.Parallel()
	for _, prefix := range []string{"", "/tools/ylem"} {
		for _, suffix := range []string{"", "/", "//", "/v1", "/v1/"} {
			t.Run(prefix+suffix, func(t *testing.T) {
				t.Parallel()
				s := newSandbox(t, ylemtest.WithPathPrefix(prefix))
				s.connect(t, object{"api_url": s.URL + suffix}).mustRead(t, lastRun, s.ran())
				if n := s.count(ylemtest.RouteOther); n != 0 {
					t.Errorf("%d requests without a route", n)
				}
			})
		}
	}
}

func TestConfigureSendsNothing(t *testing.T) {
	s := newSandbox(t)
	s.connect(t, nil)
	acceptance(t, resource.TestStep{
		Config:             s.config(fmt.Sprintf("resource \"ylem_pipeline_run\" \"test\" { pipeline_uuid = %q }", ylemtest.NewUUID())),
		PlanOnly:           true,
		ExpectNonEmptyPlan: true,
	})
	if requests, connections := len(s.Requests()), s.Connections(); requests != 0 || connections != 0 {
		t.Errorf("a plan that reads nothing: %d requests on %d connections", requests, connections)
	}
}

func TestDataSourcesShareOneToken(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.connect(t, nil)
	const n = 50
	concurrently(n, func(int) {
		if _, diags := p.read(t, lastRun, s.ran()); len(diags) > 0 {
			t.Error(diags)
		}
	})
	if tokens, reads := s.count(ylemtest.RouteToken), s.count(ylemtest.RouteLastRun); tokens != 1 || reads != n {
		t.Errorf("%d token requests and %d reads, want 1 and %d", tokens, reads, n)
	}
}

// The credentials do not change while terraform runs, so neither does Ylem's answer to them.
func TestRefusedCredentialsAreAskedAboutOnce(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	arguments := s.ran()
	p := s.connect(t, object{"client_secret": "wrong-secret"})
	concurrently(20, func(int) {
		_, diags := p.read(t, lastRun, arguments)
		diags.expectError(t, "", "Ylem refused the client's secret")
	})
	if tokens, reads := s.count(ylemtest.RouteToken), s.count(ylemtest.RouteLastRun); tokens != 1 || reads != 0 {
		t.Errorf("%d token requests and %d reads, want 1 and 0", tokens, reads)
	}
}

func TestAliasesDoNotShareTokens(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	arguments := s.ran()
	reader := s.AddClient(ylemtest.Client{Scopes: []string{"stats:read"}})
	s.connect(t, nil).mustRead(t, lastRun, arguments)
	s.connect(t, object{"client_id": reader.ID, "client_secret": reader.Secret}).mustRead(t, lastRun, arguments)
	reads := s.Requests(ylemtest.RouteLastRun)
	if len(reads) != 2 || reads[0].Header.Get("Authorization") == reads[1].Header.Get("Authorization") {
		t.Errorf("the same token for two clients")
	}
}

func TestScopesAreSentJoinedByCommas(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		scopes any
		want   []string
	}{
		"unset": {nil, []string{""}},
		"none":  {[]string{}, []string{""}},
		"one":   {[]string{"stats:read"}, []string{"stats:read"}},
		"two":   {[]string{"stats:read", "pipelines:run"}, []string{"stats:read,pipelines:run", "pipelines:run,stats:read"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			s.connect(t, object{"scopes": test.scopes}).mustRead(t, lastRun, s.ran())
			form := s.sentForm(t)
			got := form.Get("scope")
			if got != test.want[0] && got != test.want[len(test.want)-1] {
				t.Errorf("scope %q, want one of %q", got, test.want)
			}
			if _, sent := form["scope"]; sent && got == "" {
				t.Error("an empty scope was sent")
			}
		})
	}
}

func TestSecretsOfAnyCharactersArrive(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	client := s.AddClient(ylemtest.Client{Secret: "+ / & = % space é ? # \" \\"})
	s.connect(t, object{"client_id": client.ID, "client_secret": client.Secret}).mustRead(t, lastRun, s.ran())
	if basic := s.Requests(ylemtest.RouteToken)[0].Header.Get("Authorization"); basic != "" {
		t.Errorf("Ylem ignores HTTP Basic, yet sent: %q", basic)
	}
}

func TestEveryRequestCarriesUserAgentAndHeaders(t *testing.T) {
	t.Setenv("TF_APPEND_USER_AGENT", "  platform-team/7 ")
	s := newSandbox(t)
	arguments := s.ran()
	p := s.connect(t, object{"headers": object{"CF-Access-Client-Id": "door", "x-team": "größe"}})
	p.mustRead(t, lastRun, arguments)
	if _, diags := p.create(t, arguments); len(diags) > 0 {
		t.Fatal(diags)
	}

	requests := s.Requests()
	if len(requests) != 3 {
		t.Fatalf("%d requests", len(requests))
	}
	for _, r := range requests {
		for name, want := range map[string]string{
			"User-Agent":          "terraform-provider-ylem/test Terraform/1.11.4 platform-team/7",
			"Cf-Access-Client-Id": "door",
			"X-Team":              "größe",
		} {
			if got := r.Header[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%s: %s: %q, want %q", r.Route, name, got, want)
			}
		}
	}
}

func TestUserAgentNamesProviderAndTerraform(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	s.connect(t, nil).mustRead(t, lastRun, s.ran())
	for _, r := range s.Requests() {
		if got, want := r.Header.Get("User-Agent"), "terraform-provider-ylem/test Terraform/1.11.4"; got != want {
			t.Errorf("%s: %q, want %q", r.Route, got, want)
		}
	}
}

// The hosted service is the default, and requests honor the proxy of the environment: the built provider is
// shown a proxy that refuses everything, and asks it for that host.
func TestDefaultAddressAndProxy(t *testing.T) {
	t.Parallel()
	proxy := newProxy(t)
	tf := newTerraform(t, `
provider "ylem" { max_retries = 0 }
data "ylem_pipeline_last_run" "test" { pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c" }
`, "HTTPS_PROXY="+proxy.url, "YLEM_API_CLIENT_ID=id", "YLEM_API_CLIENT_SECRET=secret")
	_, stderr, code := tf.run(t, "plan", "-no-color")
	if code != 1 || !strings.Contains(stderr, "https://api.datamin.io/v1/oauth/token") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if hosts := proxy.asked(); len(hosts) != 1 || hosts[0] != "api.datamin.io:443" {
		t.Errorf("asked for %q", hosts)
	}
}

// The texts that Terraform shows hold the name of the attribute also in the real program.
func TestInvalidArgumentsInTerraform(t *testing.T) {
	acceptance(t, resource.TestStep{
		Config: `
provider "ylem" {
  api_url = "ylem.example.com"
}
data "ylem_pipeline_last_run" "test" { pipeline_uuid = "b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c" }
`,
		PlanOnly:    true,
		ExpectError: regexp.MustCompile(`(?s)Invalid address of Ylem.*api_url = "ylem.example.com".*must begin with https://`),
	})
}

// A configuration that cannot be complete yet is deferred where Terraform can do that.
func TestUnknownConfigurationIsDeferredWhereTerraformCan(t *testing.T) {
	t.Parallel()
	p := newProtocol(t)
	resp, err := p.server.ConfigureProvider(context.Background(), &tfprotov6.ConfigureProviderRequest{
		Config:             toDynamic(t, p.schema.Provider.ValueType(), object{"client_id": unknown{}}),
		ClientCapabilities: &tfprotov6.ConfigureProviderClientCapabilities{DeferralAllowed: true},
	})
	if err != nil || len(resp.Diagnostics) > 0 {
		t.Fatal(err, diagnostics(resp.Diagnostics))
	}
	read, err := p.server.ReadDataSource(context.Background(), &tfprotov6.ReadDataSourceRequest{
		TypeName:           "ylem_pipeline_last_run",
		Config:             toDynamic(t, p.dataType(t, "ylem_pipeline_last_run"), object{"pipeline_uuid": ylemtest.NewUUID()}),
		ClientCapabilities: &tfprotov6.ReadDataSourceClientCapabilities{DeferralAllowed: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	if read.Deferred == nil || read.Deferred.Reason != tfprotov6.DeferredReasonProviderConfigUnknown {
		t.Errorf("not deferred: %+v%s", read.Deferred, diagnostics(read.Diagnostics))
	}
}
