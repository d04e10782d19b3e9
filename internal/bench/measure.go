package main

import (
	"bufio"
	"bytes"
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

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// machine is what the cases are measured with.
type machine struct {
	dir       string
	terraform string
	version   string // of terraform
	provider  string // its binary, as it is released
	size      int64
	env       []string
}

func newMachine(ctx context.Context, dir, binary string) (*machine, error) {
	m := &machine{dir: dir}
	var err error
	if m.terraform, err = exec.LookPath("terraform"); err != nil {
		return nil, errors.New("terraform is not on the PATH: https://developer.hashicorp.com/terraform/install")
	}
	// Terraform takes the provider from the folder without a word about checksums.
	bin := filepath.Join(dir, "bin")
	if err := os.Mkdir(bin, 0o700); err != nil {
		return nil, err
	}
	m.provider = filepath.Join(bin, "terraform-provider-ylem")
	if runtime.GOOS == "windows" {
		m.provider += ".exe"
	}
	if binary == "" {
		build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-buildvcs=false", "-o", m.provider,
			"github.com/ylem-co/terraform-provider-ylem")
		if out, err := build.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("go build: %w\n%s", err, out)
		}
	} else if content, err := os.ReadFile(binary); err != nil {
		return nil, err
	} else if err := os.WriteFile(m.provider, content, 0o700); err != nil { //nolint:gosec // a program must be executable
		return nil, err
	}
	info, err := os.Stat(m.provider)
	if err != nil {
		return nil, err
	}
	m.size = info.Size()

	cli := filepath.Join(dir, "cli.tfrc")
	text := fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"ylem-co/ylem\" = %q\n  }\n  direct {}\n}\n", filepath.ToSlash(bin))
	if err := os.WriteFile(cli, []byte(text), 0o600); err != nil {
		return nil, err
	}
	// Settings of the user's own must neither disturb nor be sent anything.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TF_") && !strings.HasPrefix(variable, "YLEM_") {
			m.env = append(m.env, variable)
		}
	}
	m.env = append(m.env, "TF_CLI_CONFIG_FILE="+cli, "CHECKPOINT_DISABLE=1")
	var version struct {
		Terraform string `json:"terraform_version"`
	}
	var out bytes.Buffer
	if _, err = m.run(ctx, dir, nil, &out, "version", "-json"); err == nil {
		err = json.Unmarshal(out.Bytes(), &version)
	}
	m.version = "Terraform " + version.Terraform
	return m, err
}

// run runs a terraform command that succeeds, and tells its processor time. A log of 100,000 rows in a plan is not
// kept: what it prints goes to stdout, if anywhere.
func (m *machine) run(ctx context.Context, dir string, env []string, stdout io.Writer, arguments ...string) (cpu time.Duration, err error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, m.terraform, arguments...)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, slices.Concat(m.env, env), stdout, &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	if err := cmd.Run(); err != nil {
		return 0, fmt.Errorf("terraform %s: %w\n%s", strings.Join(arguments, " "), err, stderr.Bytes())
	}
	return cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// start measures how long the provider takes from its start until it is ready for a request; the best of n.
func (m *machine) start(ctx context.Context, n int) (best time.Duration, err error) {
	for range n {
		cmd := exec.CommandContext(ctx, m.provider)
		// The first is Terraform's way of telling a provider that it is one.
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
	wall, alone                   time.Duration
	requests, connections, tokens int
	sent                          int           // bytes of the answers
	memory                        int64         // the provider's largest
	cpu, aloneCPU                 time.Duration // of the provider's process, and of Terraform alone

	http2 bool
	body  time.Duration // that the server needs to send the log
	size  int           // of the log, in bytes
}

// workspace is a folder with a configuration.
type workspace struct {
	dir string
	env []string
}

func (m *machine) newWorkspace(config string, env ...string) (*workspace, error) {
	dir, err := os.MkdirTemp(m.dir, "")
	if err != nil {
		return nil, err
	}
	return &workspace{dir: dir, env: env}, os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o600)
}

// arguments of a command as a user gives it, but for the colors and questions.
func arguments(command string) []string {
	arguments := []string{command, "-no-color", "-input=false"}
	if command == "apply" {
		arguments = append(arguments, "-auto-approve")
	}
	return arguments
}

// time runs the command.
func (m *machine) time(ctx context.Context, w *workspace, command string) (wall, cpu time.Duration, err error) {
	started := time.Now()
	cpu, err = m.run(ctx, w.dir, w.env, nil, arguments(command)...)
	return time.Since(started), cpu, err
}

// forget removes the state, so that the next apply begins anew.
func (w *workspace) forget() { _ = os.Remove(filepath.Join(w.dir, "terraform.tfstate")) }

func (m *machine) measure(ctx context.Context, c testCase, repeat int) (r result, err error) {
	s := ylemtest.NewServer(append(c.options, ylemtest.WithTLS(nil))...)
	defer s.Close()
	client := s.AddClient(ylemtest.Client{})
	if c.world != nil {
		c.world(s)
	}
	ours, err := m.newWorkspace(fmt.Sprintf("terraform {\n  required_providers {\n    ylem = { source = \"ylem-co/ylem\" }\n  }\n}\nprovider \"ylem\" {\n"+
		"  ca_cert_pem = <<EOT\n%sEOT\n}\n%s", s.CertificatePEM(), c.config),
		"YLEM_API_URL="+s.URL, "YLEM_API_CLIENT_ID="+client.ID, "YLEM_API_CLIENT_SECRET="+client.Secret)
	if err != nil {
		return r, err
	}
	alone, err := m.newWorkspace(fmt.Sprintf("resource \"terraform_data\" \"test\" {\n  count = %d\n  input = count.index\n}\n", c.alone))
	if err != nil {
		return r, err
	}
	if c.applied {
		for _, w := range []*workspace{ours, alone} {
			if _, _, err := m.time(ctx, w, "apply"); err != nil {
				return r, err
			}
		}
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
			alone.forget()
		}
		wall, cpu, err := m.time(ctx, alone, c.command)
		if err != nil {
			return r, err
		}
		r.alone, r.aloneCPU = best(r.alone, wall), best(r.aloneCPU, cpu)
		s.ResetRequests()
		connections := s.Connections()
		if wall, _, err = m.time(ctx, ours, c.command); err != nil {
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
		memory, cpu, err := m.usage(ctx, ours, c.command)
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

// usage is the largest memory of the provider's process, and its processor time. Terraform would not tell, so the
// provider is started here, and Terraform told where it is.
func (m *machine) usage(ctx context.Context, w *workspace, command string) (memory int64, cpu time.Duration, err error) {
	cmd := exec.CommandContext(ctx, m.provider, "-debug")
	cmd.Env = slices.Concat(m.env, w.env)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return 0, 0, err
	}
	if err := cmd.Start(); err != nil {
		return 0, 0, err
	}
	ended := false
	defer func() {
		if !ended {
			_, _ = cmd.Process.Kill(), cmd.Wait()
		}
	}()
	attach := ""
	for lines := bufio.NewScanner(stdout); attach == "" && lines.Scan(); {
		if _, after, ok := strings.Cut(lines.Text(), "TF_REATTACH_PROVIDERS="); ok {
			attach = strings.Trim(after, "'")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, stdout) }()
	if _, err := m.run(ctx, w.dir, slices.Concat(w.env, []string{"TF_REATTACH_PROVIDERS=" + attach}), nil, arguments(command)...); err != nil {
		return 0, 0, err
	}
	// Not the usage that a process leaves when it ends: on Linux that is at least its parent's.
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err == nil {
		_, after, _ := strings.Cut(string(status), "VmHWM:")
		if _, err := fmt.Sscan(after, &memory); err != nil {
			return 0, 0, err
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		return memory << 10, 0, nil // not on Windows
	}
	ended = true
	_ = cmd.Wait()
	return memory << 10, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}

// fetchLog measures how long the server needs to send the log, and how long that is.
func fetchLog(ctx context.Context, s *ylemtest.Server, client ylemtest.Client) (took time.Duration, size int, err error) {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM([]byte(s.CertificatePEM()))
	https := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}}}
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
