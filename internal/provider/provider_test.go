package provider

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// TestMain takes the developer's own Ylem and Terraform settings out of the tests' environment. make testlive gives them
// to the tests of live_test.go.
func TestMain(m *testing.M) {
	readLive()
	for _, name := range []string{envURL, envClientID, envClientSecret, "TF_CLI_CONFIG_FILE", "TF_APPEND_USER_AGENT", "TF_LOG"} {
		if err := os.Unsetenv(name); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	removeBuilt()
	os.Exit(code)
}

// sandbox is a Ylem of the test's own, with one OAuth client.
type sandbox struct {
	*ylemtest.Server
	client ylemtest.Client
}

func newSandbox(t testing.TB, opts ...ylemtest.Option) *sandbox {
	t.Helper()
	s := ylemtest.NewServer(opts...)
	t.Cleanup(s.Close)
	return &sandbox{Server: s, client: s.AddClient(ylemtest.Client{})}
}

// config is a configuration of the provider for the sandbox, followed by more.
func (s *sandbox) config(more string) string { return s.provider("") + more }

// provider is the block of the provider for the sandbox, with more arguments.
func (s *sandbox) provider(more string) string {
	return fmt.Sprintf(`
provider "ylem" {
  api_url       = %q
  client_id     = %q
  client_secret = %q
  %s
}
`, s.URL, s.client.ID, s.client.Secret, more)
}

// count is how many requests the sandbox saw on a route since the last reset.
func (s *sandbox) count(route ylemtest.Route) int { return len(s.Requests(route)) }

// expectRequests fails the test unless the sandbox saw exactly these numbers of requests; it is a step's PostApplyFunc.
func (s *sandbox) expectRequests(t *testing.T, want map[ylemtest.Route]int) func() {
	return func() {
		t.Helper()
		for route, n := range want {
			if got := s.count(route); got != n {
				t.Errorf("%s: %d requests, want %d", route, got, n)
			}
		}
	}
}

// factories serve the provider in the test's process, with pauses too short to notice.
var factories = map[string]func() (tfprotov6.ProviderServer, error){
	"ylem": func() (tfprotov6.ProviderServer, error) {
		return newServer(&ylemProvider{version: "test", retryWait: time.Millisecond}), nil
	},
}

// acceptance drives the real terraform through the steps.
func acceptance(t *testing.T, steps ...resource.TestStep) {
	t.Helper()
	resource.ParallelTest(t, resource.TestCase{
		ProtoV6ProviderFactories: factories,
		Steps:                    steps,
	})
}
