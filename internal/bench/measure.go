package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// machine is what the cases are measured with.
type machine struct {
	dir      string
	version  terraformcli.Version
	provider string // its binary, as it is released
	empty    string // the binary of package empty
	size     int64
	env      []string
}

func newMachine(ctx context.Context, dir, binary string) (*machine, error) {
	m := &machine{dir: dir}
	bin, empty := filepath.Join(dir, "bin"), filepath.Join(dir, "empty")
	for _, dir := range []string{bin, empty} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	cli, err := terraformcli.New(dir, "")
	if err != nil {
		return nil, err
	}
	m.env = cli.Env
	if m.version, err = cli.Version(ctx); err != nil {
		return nil, err
	}
	released := []string{"-trimpath", "-ldflags=-s -w"}
	if m.empty, err = terraformcli.Build(ctx, empty, terraformcli.Module+"/internal/bench/empty", released...); err != nil {
		return nil, err
	}
	if binary == "" {
		m.provider, err = terraformcli.Build(ctx, bin, terraformcli.Module, released...)
	} else {
		m.provider, err = copyProgram(bin, binary)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(m.provider)
	if err != nil {
		return nil, err
	}
	m.size = info.Size()
	return m, nil
}

func copyProgram(dir, binary string) (string, error) {
	content, err := os.ReadFile(binary)
	if err != nil {
		return "", err
	}
	name := terraformcli.Executable(filepath.Join(dir, "terraform-provider-ylem"))
	return name, os.WriteFile(name, content, 0o700) //nolint:gosec // a program must be executable
}

// start measures how long the provider takes from its start until it is ready for a request; the best of n.
func (m *machine) start(ctx context.Context, n int) (best time.Duration, err error) {
	for range n {
		cmd := exec.CommandContext(ctx, m.provider)
		// The first is how a provider knows that Terraform has started it.
		cmd.Env = slices.Concat(m.env, []string{"TF_PLUGIN_MAGIC_COOKIE=d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2", "PLUGIN_PROTOCOL_VERSIONS=6"})
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			return 0, err
		}
		started := time.Now()
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		line, _ := bufio.NewReader(stdout).ReadString('\n')
		took := time.Since(started)
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if !strings.Contains(line, "|grpc|") {
			return 0, fmt.Errorf("the provider says %q when it starts", line)
		}
		if best == 0 || took < best {
			best = took
		}
	}
	return best, nil
}

// result is what was measured of a case.
type result struct {
	wall, baseline                time.Duration
	requests, connections, tokens int
	sent                          int           // bytes of the answers
	memory                        int64         // the provider's largest
	cpu                           time.Duration // of the provider's process

	http2 bool
	body  time.Duration // that the server needs to send the log
	size  int           // of the log, in bytes
}

// workspace is a folder with a configuration.
type workspace struct {
	*terraformcli.CLI
	env []string // that the provider needs
}

// newWorkspace is a folder in which terraform uses this binary of a provider.
func (m *machine) newWorkspace(binary, config string, env ...string) (*workspace, error) {
	dir, err := os.MkdirTemp(m.dir, "")
	if err != nil {
		return nil, err
	}
	cli, err := terraformcli.New(dir, terraformcli.DevOverrides(filepath.Dir(binary)), env...)
	if err != nil {
		return nil, err
	}
	return &workspace{CLI: cli, env: env}, os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o600)
}

func (w *workspace) state() string { return filepath.Join(w.Dir, "terraform.tfstate") }

// forget removes the state, so that the next apply begins anew.
func (w *workspace) forget() { _ = os.Remove(w.state()) }

// arguments are the command as a user gives it, but for colors and questions. A plan of what has been applied must
// find nothing to change.
func (c testCase) arguments() []string {
	arguments := []string{c.command, "-no-color", "-input=false"}
	switch {
	case c.command == "apply":
		arguments = append(arguments, "-auto-approve")
	case c.applied:
		arguments = append(arguments, "-detailed-exitcode")
	}
	return arguments
}

// time runs a command that has to succeed.
func (w *workspace) time(ctx context.Context, arguments []string) (time.Duration, error) {
	started := time.Now()
	_, err := w.Output(ctx, arguments...)
	return time.Since(started), err
}

// prepare makes the two folders that are compared: one with our provider, one with what the case is compared with.
func (m *machine) prepare(ctx context.Context, c testCase, s *ylemtest.Server, client ylemtest.Client) (ours, baseline *workspace, err error) {
	config := fmt.Sprintf("terraform {\n  required_providers {\n    ylem = { source = \"ylem-co/ylem\" }\n  }\n}\nprovider \"ylem\" {\n"+
		"  ca_cert_pem = <<EOT\n%sEOT\n}\n%s", s.CertificatePEM(), c.config)
	ours, err = m.newWorkspace(m.provider, config, "YLEM_API_URL="+s.URL, "YLEM_API_CLIENT_ID="+client.ID, "YLEM_API_CLIENT_SECRET="+client.Secret)
	if err != nil {
		return nil, nil, err
	}
	if !c.applied {
		baseline, err = m.newWorkspace(m.provider, fmt.Sprintf("resource \"terraform_data\" \"test\" {\n  count = %d\n  input = count.index\n}\n", c.alone))
		return ours, baseline, err
	}
	// The empty provider plans the same configuration, from the same state.
	if _, err = ours.time(ctx, testCase{command: "apply"}.arguments()); err != nil {
		return nil, nil, err
	}
	state, err := os.ReadFile(ours.state())
	if err != nil {
		return nil, nil, err
	}
	if baseline, err = m.newWorkspace(m.empty, config); err != nil {
		return nil, nil, err
	}
	return ours, baseline, os.WriteFile(baseline.state(), state, 0o600)
}

func (m *machine) measure(ctx context.Context, c testCase, repeat int) (r result, err error) {
	s := ylemtest.NewServer(append(c.options, ylemtest.WithTLS(nil))...)
	defer s.Close()
	client := s.AddClient(ylemtest.Client{})
	if c.world != nil {
		c.world(s)
	}
	ours, baseline, err := m.prepare(ctx, c, s, client)
	if err != nil {
		return r, err
	}
	if strings.HasPrefix(c.name, "plan log") {
		if r.body, r.size, err = fetchLog(ctx, s, client); err != nil {
			return r, err
		}
	}
	s.SetLatency(latency)
	for range repeat {
		if !c.applied {
			ours.forget()
			baseline.forget()
		}
		wall, err := baseline.time(ctx, c.arguments())
		if err != nil {
			return r, err
		}
		r.baseline = best(r.baseline, wall)
		s.ResetRequests()
		connections := s.Connections()
		if wall, err = ours.time(ctx, c.arguments()); err != nil {
			return r, err
		}
		r.wall = best(r.wall, wall)
		requests := s.Requests()
		r.requests, r.connections, r.tokens = len(requests), s.Connections()-connections, len(s.Requests(ylemtest.RouteToken))
		r.sent = 0
		for _, request := range requests {
			r.sent += request.Sent
			r.http2 = r.http2 || request.Proto == "HTTP/2.0"
		}
	}
	for range repeat {
		if !c.applied {
			ours.forget()
		}
		memory, cpu, err := m.usage(ctx, ours, c.arguments())
		if err != nil {
			return r, err
		}
		r.memory, r.cpu = max(r.memory, memory), best(r.cpu, cpu)
	}
	return r, nil
}

func best(a, b time.Duration) time.Duration {
	if a == 0 {
		return b
	}
	return min(a, b)
}

// usage is the largest memory of the provider's process, and its processor time. Terraform does not report them, so the
// provider is started here, and terraform attaches to it.
func (m *machine) usage(ctx context.Context, w *workspace, arguments []string) (memory int64, cpu time.Duration, err error) {
	provider, attach, err := terraformcli.StartProvider(ctx, m.provider, w.env...)
	if err != nil {
		return 0, 0, err
	}
	defer provider.Kill()
	cli := *w.CLI
	cli.Env = slices.Concat(cli.Env, []string{attach})
	if _, err := cli.Output(ctx, arguments...); err != nil {
		return 0, 0, err
	}
	memory, err = provider.PeakMemory()
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return 0, 0, err
	}
	provider.Kill()
	r, err := provider.Wait()
	return memory, r.CPU, err
}

// fetchLog measures how long the server needs to send the log, and how long that is.
func fetchLog(ctx context.Context, s *ylemtest.Server, client ylemtest.Client) (took time.Duration, size int, err error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.CertificatePEM()))
	https := &http.Client{Transport: &http.Transport{
		ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12},
	}}
	get := func(path, token string) ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+path, nil)
		if err != nil {
			return nil, err
		}
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := https.Do(req)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		return io.ReadAll(resp.Body)
	}
	credentials := url.Values{"grant_type": {"client_credentials"}, "client_id": {client.ID}, "client_secret": {client.Secret}}
	body, err := get("/v1/oauth/token?"+credentials.Encode(), "")
	if err != nil {
		return 0, 0, err
	}
	var token struct {
		AccessToken string `json:"access_token"`
	}
	if err := json.Unmarshal(body, &token); err != nil {
		return 0, 0, err
	}
	for range 3 {
		started := time.Now()
		body, err := get("/v1/stats/pipelines/"+pipelineUUID+"/logs/2024-01-01%2000:00:00/2030-01-01%2000:00:00", token.AccessToken)
		if err != nil {
			return 0, 0, err
		}
		took, size = best(took, time.Since(started)), len(body)
	}
	return took, size, nil
}

// processor is the model of this machine's processor, where it is easy to find.
func processor() string {
	text, _ := os.ReadFile("/proc/cpuinfo")
	_, after, _ := strings.Cut(string(text), "model name\t: ")
	model, _, _ := strings.Cut(after, "\n")
	if model == "" {
		model = runtime.GOOS + "/" + runtime.GOARCH
	}
	return model
}
