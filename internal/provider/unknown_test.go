package provider

import (
	"fmt"
	"strings"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// Credentials that another resource creates are not known while planning. Nothing may take their place then:
// the hosted service's address would be sent a private instance's secret. The built provider runs behind a
// proxy which notices every request to another host.

func TestUnknownConfigurationPlansAndAppliesARun(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	proxy := newProxy(t)
	pipeline := s.AddPipeline(ylemtest.Pipeline{}).UUID
	tf := newTerraform(t, fmt.Sprintf(`
resource "terraform_data" "client" {
  input = { url = %q, id = %q, secret = %q }
}
provider "ylem" {
  api_url       = terraform_data.client.output.url
  client_id     = terraform_data.client.output.id
  client_secret = terraform_data.client.output.secret
  headers       = { X-Client = terraform_data.client.output.id }
}
resource "ylem_pipeline_run" "test" { pipeline_uuid = %q }
data "ylem_pipeline_stats" "test" {
  pipeline_uuid = ylem_pipeline_run.test.pipeline_uuid
  lookback      = "1h"
  depends_on    = [ylem_pipeline_run.test]
}
`, s.URL, s.client.ID, s.client.Secret, pipeline), "HTTPS_PROXY="+proxy.url, "HTTP_PROXY="+proxy.url)

	tf.mustRun(t, 2, "plan", "-detailed-exitcode", "-no-color")
	if requests, hosts := len(s.Requests()), proxy.asked(); requests != 0 || len(hosts) != 0 {
		t.Errorf("planning sent %d requests, and to %q", requests, hosts)
	}
	tf.mustRun(t, 0, "apply", "-auto-approve", "-no-color")
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteRun: 1, ylemtest.RouteStats: 1})()
	for _, r := range s.Requests() {
		if got := r.Header.Get("X-Client"); got != s.client.ID {
			t.Errorf("X-Client: %q", got)
		}
	}
	if hosts := proxy.asked(); len(hosts) != 0 {
		t.Errorf("asked for %q", hosts)
	}
}

func TestUnknownConfigurationOfADataSourceNamesTheAttribute(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	proxy := newProxy(t)
	tf := newTerraform(t, fmt.Sprintf(`
resource "terraform_data" "secret" { input = %q }
provider "ylem" { client_secret = terraform_data.secret.output }
data "ylem_pipeline_last_run" "test" { pipeline_uuid = %q }
`, s.client.Secret, s.ran()["pipeline_uuid"]), "HTTPS_PROXY="+proxy.url, envURL+"="+s.URL, envClientID+"="+s.client.ID)

	_, stderr, code := tf.run(t, "plan", "-no-color")
	if code != 1 || !strings.Contains(stderr, "not known yet") || !strings.Contains(stderr, "client_secret") || !strings.Contains(stderr, "-target") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if requests, hosts := len(s.Requests()), proxy.asked(); requests != 0 || len(hosts) != 0 {
		t.Errorf("sent %d requests, and to %q", requests, hosts)
	}

	// What the message advises works.
	tf.mustRun(t, 0, "apply", "-auto-approve", "-no-color", "-target=terraform_data.secret")
	tf.mustRun(t, 0, "apply", "-auto-approve", "-no-color")
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 1, ylemtest.RouteLastRun: 1})()
}

// Every attribute of the provider counts, also a part of a collection.
func TestEveryUnknownAttributeIsNamed(t *testing.T) {
	t.Setenv(envURL, "https://ylem.example.invalid")
	t.Setenv(envClientID, "id")
	t.Setenv(envClientSecret, "secret")
	schema := newProtocol(t).schema.Provider.Block.Attributes
	if len(schema) < 12 {
		t.Fatalf("%d attributes", len(schema))
	}
	var all []string
	cases := map[string]object{
		"an element of scopes":  {"scopes": []any{"stats:read", unknown{}}},
		"an element of headers": {"headers": object{"X-A": "a", "X-B": unknown{}}},
	}
	everything := object{}
	for _, attribute := range schema {
		all = append(all, attribute.Name)
		cases[attribute.Name] = object{attribute.Name: unknown{}}
		everything[attribute.Name] = unknown{}
	}
	cases["all"] = everything
	for name, arguments := range cases {
		t.Run(name, func(t *testing.T) {
			if arguments["client_key_pem"] != nil || arguments["client_cert_pem"] != nil {
				arguments = object{"client_key_pem": "", "client_cert_pem": ""}.with(arguments)
			}
			p := newProtocol(t)
			if diags := p.configure(t, arguments); len(diags) > 0 {
				t.Fatal(diags)
			}
			for dataSource, d := range dataSources {
				_, diags := p.read(t, dataSource, d.arguments.with(object{d.attribute: ylemtest.NewUUID()}))
				diags.expectError(t, "", "not known yet")
				list, _, _ := strings.Cut(diags[0].Detail, ".\n")
				_, list, _ = strings.Cut(list, "apply: ")
				for _, attribute := range all {
					named := false
					for _, listed := range strings.Split(list, ", ") {
						named = named || listed == attribute
					}
					_, known := arguments[attribute].(string)
					if want := arguments[attribute] != nil && !known; named != want {
						t.Errorf("%s named: %t, want %t: %q", attribute, named, want, list)
					}
				}
			}
			_, diags := p.create(t, object{"pipeline_uuid": ylemtest.NewUUID()})
			diags.expectError(t, "", "not known yet", "No request can be sent")
		})
	}
}
