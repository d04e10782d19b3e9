package provider

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// Many runs and many reads in one terraform: what the server is asked, and what it is spared.

// The real server's database deadlocks when more than four different pipelines are started at once.
func TestAccManyRunsStayWithinTheCapacity(t *testing.T) {
	t.Parallel()
	const runs = 20
	s := newSandbox(t, ylemtest.WithRunCapacity(defaultMaxConcurrentRuns))
	var uuids []string
	for range runs {
		uuid := s.AddPipeline(ylemtest.Pipeline{}).UUID
		uuids = append(uuids, uuid)
		// Long enough for all the others to come meanwhile, were they not held back.
		s.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, PipelineUUID: uuid, After: true, Stall: 20 * time.Millisecond})
	}
	config := func(more string) string {
		return s.provider(more) + fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  for_each      = toset(["%s"])
  pipeline_uuid = each.key
}
`, strings.Join(uuids, `", "`))
	}
	atOnce := fmt.Sprintf("-parallelism=%d", runs)
	newTerraform(t, config("")).mustRun(t, 0, "apply", "-auto-approve", atOnce)
	if started := len(s.Runs("")); started != runs {
		t.Errorf("%d runs were started, want %d", started, runs)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: runs, ylemtest.RouteToken: 1})()

	// The sandbox is as strict as it should be: one more at once is too many. The first ones stay until all others have come.
	s.ResetRequests()
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteRun, Times: -1, After: true, Stall: forever})
	apply := newTerraform(t, config(fmt.Sprintf("max_concurrent_runs = %d\nmax_retries = 0", runs))).start(t, "apply", "-auto-approve", atOnce)
	apply.eventually(t, "all runs but the first ones are refused", func() bool {
		refused := 0
		for _, r := range s.Requests(ylemtest.RouteRun) {
			if r.Status == http.StatusInternalServerError {
				refused++
			}
		}
		return refused == runs-defaultMaxConcurrentRuns
	})
	s.Close()
	code, output := apply.wait(t)
	if n := strings.Count(output, "Ylem's database rolled the run back"); code != 1 || n != runs-defaultMaxConcurrentRuns {
		t.Errorf("exit code %d and %d deadlocks without a limit: %s", code, n, output)
	}
}

func TestAccTokenDiesInTheMiddleOfAPlan(t *testing.T) {
	t.Parallel()
	const sources, parallelism = 200, 10
	s := newSandbox(t)
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteStats, Skip: sources / 2, ExpireTokens: true})
	newTerraform(t, s.config(fmt.Sprintf(`
data "ylem_pipeline_stats" "test" {
  count         = %d
  pipeline_uuid = format("b3a1f0c4-52d7-4a8e-9c1b-%%012d", count.index)
  from          = "2024-01-01"
  to            = "2024-02-01"
}
`, sources))).mustRun(t, 0, "plan")
	answers := map[int]int{}
	for _, r := range s.Requests(ylemtest.RouteStats) {
		answers[r.Status]++
	}
	// Those that were under way with the dead token are sent again.
	refused := answers[http.StatusUnauthorized]
	if answers[http.StatusOK] != sources || refused < 1 || refused > parallelism || len(answers) != 2 {
		t.Errorf("answers by status: %v", answers)
	}
	if n := s.count(ylemtest.RouteToken); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
}

func TestAccAliasesSideBySide(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	runner := s.AddClient(ylemtest.Client{Scopes: []string{"pipelines:run"}})
	reader := s.AddClient(ylemtest.Client{Scopes: []string{"stats:read"}})
	config := requirements
	for alias, c := range map[string]ylemtest.Client{"runner": runner, "reader": reader} {
		config += fmt.Sprintf("provider \"ylem\" {\n  alias = %q\n  api_url = %q\n  client_id = %q\n  client_secret = %q\n}\n", alias, s.URL, c.ID, c.Secret)
	}
	config += fmt.Sprintf(`
resource "ylem_pipeline_run" "test" {
  provider      = ylem.runner
  count         = 10
  pipeline_uuid = %[1]q
}
data "ylem_pipeline_stats" "test" {
  provider      = ylem.reader
  count         = 10
  pipeline_uuid = %[1]q
  lookback      = "${count.index + 1}h"
}
`, s.AddPipeline(ylemtest.Pipeline{}).UUID)
	tf := newTerraform(t, "")
	tf.write(t, "main.tf", config)
	tf.mustRun(t, 0, "apply", "-auto-approve")

	// A token that is shared would lack the scope of one or the other.
	tokens := map[ylemtest.Route]map[string]bool{}
	for _, r := range s.Requests(ylemtest.RouteRun, ylemtest.RouteStats) {
		if tokens[r.Route] == nil {
			tokens[r.Route] = map[string]bool{}
		}
		tokens[r.Route][r.Header.Get("Authorization")] = true
	}
	if len(tokens[ylemtest.RouteRun]) != 1 {
		t.Errorf("%d tokens for the runs", len(tokens[ylemtest.RouteRun]))
	}
	for token := range tokens[ylemtest.RouteRun] {
		if tokens[ylemtest.RouteStats][token] {
			t.Error("runs and reads share a token")
		}
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 10})()
}
