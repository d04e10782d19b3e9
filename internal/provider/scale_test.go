package provider

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What must not grow is counted here; "make bench" measures time and memory.

func TestThousandDataSources(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		options     []ylemtest.Option
		connections int
		arguments   []string
	}{
		// Terraform reads ten at once. A connection that is being made may come too late for the request that wanted it, and
		// is kept for later: therefore not ten, but far from a thousand. Without latency, a slow machine would make hundreds.
		"HTTP/1.1":                {nil, 100, nil},
		"HTTP/1.1, fifty at once": {nil, 250, []string{"-parallelism=50"}},
		"HTTP/2":                  {[]ylemtest.Option{ylemtest.WithHTTP2()}, 1, []string{"-parallelism=50"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t, append(test.options, ylemtest.WithTLS(nil))...)
			s.SetLatency(20 * time.Millisecond)
			newTerraform(t, s.provider(fmt.Sprintf("ca_cert_pem = <<EOT\n%sEOT", s.CertificatePEM()))+`
data "ylem_pipeline_stats" "test" {
  count         = 1000
  pipeline_uuid = format("10000000-0000-4000-8000-%012d", count.index)
  from          = "2024-01-01"
  to            = "2024-02-01"
}
data "ylem_pipeline_last_run" "same" {
  count         = 10
  pipeline_uuid = "10000000-0000-4000-8000-000000000001"
}
`).mustRun(t, 0, append([]string{"plan"}, test.arguments...)...)
			same := s.count(ylemtest.RouteLastRun)
			if tokens, stats := s.count(ylemtest.RouteToken), s.count(ylemtest.RouteStats); tokens != 1 || stats != 1000 || same > 10 {
				t.Errorf("%d token requests, %d of statistics and %d of one last run, want 1, 1000 and at most 10", tokens, stats, same)
			}
			if n := s.Connections(); n > test.connections {
				t.Errorf("%d connections, want at most %d", n, test.connections)
			}
			for _, r := range s.Requests() {
				if want := map[bool]string{false: "HTTP/1.1", true: "HTTP/2.0"}[test.connections == 1]; r.Proto != want {
					t.Fatalf("%s came by %s", r.Path, r.Proto)
				}
			}
		})
	}
}

// Reading stops after the rows that are wanted: that the connection breaks further on does no harm. How much a server
// gets rid of would depend on the system's buffers.
func TestLimitStopsReading(t *testing.T) {
	t.Parallel()
	s := newSandbox(t, withNow())
	pipeline := ylemtest.NewUUID()
	rows := make([]ylemtest.Row, 1000)
	output := []byte(strings.Repeat("x", 1500))
	for i := range rows {
		rows[i] = ylemtest.Row{PipelineUUID: pipeline, IsSuccessful: true, Output: output, ExecutedAt: past.Add(time.Duration(i) * time.Second)}
	}
	s.AddRows(rows...)
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Truncate: 300_000}) // of more than two million bytes
	p, arguments := s.connect(t, nil), object{"pipeline_uuid": pipeline, "from": "2024-01-01", "limit": 100}
	if n := len(p.mustRead(t, "ylem_pipeline_logs", arguments).list(t, "logs")); n != 100 {
		t.Errorf("%d rows", n)
	}
	if n := s.count(ylemtest.RouteLogs); n != 1 {
		t.Errorf("%d requests", n)
	}
	if _, diags := p.read(t, "ylem_pipeline_logs", arguments.with(object{"limit": 200})); !diags.failed() {
		t.Error("the connection does not break")
	}
}
