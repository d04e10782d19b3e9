package provider

import (
	"encoding/json"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What comes from outside, from a configuration or from a server, may be anything.

func TestHostileUUIDsAreRefusedAtPlan(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.connect(t, nil)
	good := ylemtest.NewUUID()
	for name, uuid := range notUUIDs {
		for what, arguments := range map[string]object{
			"pipeline":   {"pipeline_uuid": uuid},
			"final task": {"pipeline_uuid": good, "completion": object{"final_task_uuids": []any{uuid}}},
		} {
			_, diags := p.create(t, arguments)
			if !diags.failed() || !strings.Contains(diags.String(), "is not a UUID") {
				t.Errorf("%s of a run, %s: %s", what, name, diags)
			}
			_, diags = p.invoke(t.Context(), t, arguments)
			if !diags.failed() || !strings.Contains(diags.String(), "is not a UUID") {
				t.Errorf("%s of an action, %s: %s", what, name, diags)
			}
		}
		for _, id := range []string{uuid + "/" + good, good + "/" + uuid} {
			resp, err := p.server.ImportResourceState(t.Context(), &tfprotov6.ImportResourceStateRequest{TypeName: "ylem_pipeline_run", ID: id})
			if err != nil {
				t.Fatal(err)
			}
			if diags := diagnostics(resp.Diagnostics); !diags.failed() || !strings.Contains(diags.String(), "PIPELINE_UUID/RUN_UUID") {
				t.Errorf("import of %q: %s", id, diags)
			}
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}

// Whatever a log holds: it reaches the state as far as it can be kept, and the next plan is empty.
func TestAccHostileLog(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	rows := []string{
		`"pipeline_run_uuid":"` + p + `","task_uuid":"` + p + `"`,
		`"pipeline_run_uuid":"../../etc","task_uuid":"${file(\"x\")}","task_type":"%{ if true }"`,
		`"pipeline_run_uuid":"r","task_uuid":"t","task_type":"a` + "\xff" + `b\u0000\u001b[31m","output":"` + "\xc3\x28" + `"`,
		`"pipeline_run_uuid":"r","task_uuid":"t","output":"not base64!","duration":-9223372036854775808`,
		`"pipeline_run_uuid":"r","task_uuid":"t","output":"AAECAw==","duration":-1,"metric_value":-1.7976931348623157e308`,
		`"pipeline_run_uuid":"r","task_uuid":"t","output":"W3siQ29kZSI6MSwiTWVzc2FnZSI6ImFcdTAwMDBiIn1d","executed_at":"0001-01-01T00:00:00Z"`,
		`"pipeline_run_uuid":"r","task_uuid":"t","output":null,"executed_at":null,"more":{"a":[{}]},"duration":1,"duration":2`,
	}
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Body: "[{" + strings.Join(rows, "},{") + "}]"})
	config := s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  pipeline_uuid = %[1]q
}
data "ylem_pipeline_logs" "test" {
  pipeline_uuid = %[1]q
  from          = "2024-01-01"
  to            = "2024-02-01"
}
output "logs" {
  value = jsonencode(data.ylem_pipeline_logs.test)
}
`, p))
	tf := newTerraform(t, config)
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	var encoded string
	var data object
	if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "output", "-json", "logs")), &encoded); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(encoded), &data); err != nil {
		t.Fatal(err)
	}
	if logs := data.list(t, "logs"); len(logs) != len(rows) {
		t.Errorf("%d rows are kept, want %d", len(logs), len(rows))
	}
}

// A server that leads elsewhere, to itself, or away from encryption is not followed, wherever it does so.
func TestRedirectsOfEveryKindAreNotFollowed(t *testing.T) {
	t.Parallel()
	elsewhere := newSandbox(t)
	secure := newSandbox(t, ylemtest.WithTLS(nil))
	for name, test := range map[string]struct {
		status   int
		location func(path string) string
		says     string
	}{
		"to another host":    {301, func(path string) string { return elsewhere.URL + path }, elsewhere.URL},
		"to http":            {302, func(path string) string { return "http" + strings.TrimPrefix(secure.URL, "https") + path }, "http://127.0.0.1"},
		"to itself":          {303, func(path string) string { return path }, "/v1/"},
		"to nowhere":         {307, func(string) string { return "" }, "redirect"},
		"to what is no URL":  {308, func(string) string { return "http://%zz" }, "redirect"},
		"to a script":        {307, func(string) string { return "javascript:alert(1)" }, "javascript:alert(1)"},
		"to a very long URL": {308, func(string) string { return "https://example.com/" + strings.Repeat("x", 100_000) }, "https://example.com/xxx"},
	} {
		for _, route := range []ylemtest.Route{ylemtest.RouteToken, ylemtest.RouteRun, ylemtest.RouteStats, ylemtest.RouteLogs} {
			t.Run(name+", "+string(route), func(t *testing.T) {
				t.Parallel()
				s := newSandbox(t, ylemtest.WithTLS(nil))
				p := s.AddPipeline(ylemtest.Pipeline{}).UUID
				s.Inject(ylemtest.Fault{Route: route, Times: -1, Status: test.status, Header: http.Header{"Location": {test.location("/v1/oauth/token")}}})
				connection := s.connect(t, object{"ca_cert_pem": s.CertificatePEM()})
				var diags diagnostics
				switch route {
				case ylemtest.RouteStats, ylemtest.RouteLogs:
					dataSource := map[ylemtest.Route]string{ylemtest.RouteStats: "ylem_pipeline_stats", ylemtest.RouteLogs: "ylem_pipeline_logs"}[route]
					_, diags = connection.read(t, dataSource, object{"pipeline_uuid": p, "from": "2024-01-01"})
				default:
					_, diags = connection.create(t, object{"pipeline_uuid": p})
				}
				if text := diags.String(); !diags.failed() || !strings.Contains(text, test.says) || len(text) > 3000 {
					t.Errorf("does not say %q:%s", test.says, diags)
				}
				if n := s.count(route); n != 1 {
					t.Errorf("sent %d times", n)
				}
			})
		}
	}
	t.Cleanup(func() {
		if n := elsewhere.Connections() + secure.Connections(); n != 0 {
			t.Errorf("%d connections to where it led", n)
		}
	})
}

// The texts stay whole in the real program too.
func TestAccHostileInputInTerraform(t *testing.T) {
	s := newSandbox(t)
	step := func(config, says string) resource.TestStep {
		return resource.TestStep{Config: config, PlanOnly: true, ExpectError: regexp.MustCompile(`(?s)` + says)}
	}
	acceptance(
		t,
		step(s.run("b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c\n", ""), `Invalid UUID.*pipeline_uuid`),
		step(s.run("../../../v1/oauth/token", ""), `Invalid UUID.*pipeline_uuid`),
		step(strings.Replace(s.run(ylemtest.NewUUID(), ""), s.URL, "https://ylem.example.com/?token=x", 1), `Invalid address of Ylem.*query or fragment`),
		step(strings.Replace(s.run(ylemtest.NewUUID(), ""), s.URL, "file:///etc/passwd", 1), `Invalid address of Ylem.*must\s+begin\s+with`),
	)
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
}
