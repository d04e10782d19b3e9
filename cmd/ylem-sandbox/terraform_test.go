package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
)

var buildDir string // a folder

// built is this command and the provider, built once.
var built = sync.OnceValues(func() (dir string, err error) {
	if dir, err = os.MkdirTemp("", "ylem-sandbox-test-"); err != nil {
		return dir, err
	}
	buildDir = dir
	ctx := context.Background()
	if err = terraformcli.BuildAs(ctx, terraformcli.Executable(filepath.Join(dir, "ylem-sandbox")), terraformcli.Module+"/cmd/ylem-sandbox"); err != nil {
		return dir, err
	}
	if os.Getenv("TF_ACC") != "" {
		_, err = terraformcli.Build(ctx, dir, terraformcli.Module)
	}
	return dir, err
})

// binary is the built command, to be run somewhere that is not the checkout.
func binary(t *testing.T) *terraformcli.CLI {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"YLEM_SANDBOX_COMMAND=1"}
	for _, name := range []string{"PATH", "SystemRoot", "TMPDIR", "TEMP", "TMP"} {
		env = append(env, name+"="+os.Getenv(name))
	}
	return &terraformcli.CLI{Path: terraformcli.Executable(filepath.Join(dir, "ylem-sandbox")), Dir: t.TempDir(), Env: env}
}

// startBinary starts the built command, and returns what it says is to be exported.
func startBinary(t *testing.T, args ...string) (p *terraformcli.Process, exported []string) {
	t.Helper()
	p, err := binary(t).Start(t.Context(), append([]string{"-addr", "127.0.0.1:0"}, args...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	for name, value := range variables(t, func() string { stdout, _ := p.Output(); return stdout }) {
		exported = append(exported, name+"="+value)
	}
	return p, exported
}

func TestBinaryEndsOnInterrupt(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there")
	}
	p, _ := startBinary(t)
	if err := p.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	result, err := p.Wait()
	if err != nil || result.ExitCode != 0 || result.Stderr != "" || !strings.HasSuffix(result.Stdout, "\nStopped.\n") {
		t.Errorf("%v, %+v", err, result)
	}
}

// A command sees the variables, and its exit code becomes that of the sandbox.
func TestBinaryRunsCommand(t *testing.T) {
	t.Parallel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	result, err := binary(t).Run(t.Context(), "-addr", "127.0.0.1:0", self, "-x", "y")
	if err != nil || result.ExitCode != 7 || strings.TrimSpace(result.Stdout) != "404 "+defaultClientID+" sandbox [-x y]" ||
		!strings.Contains(result.Stderr, "refused: there is no such route") {
		t.Errorf("%v, %+v", err, result)
	}
}

// The commands of the guide on tests do what it says, each in the folder of its name.
func TestTerraformGuide(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	path, err := terraformcli.Find()
	if err != nil {
		t.Fatal(err)
	}
	const guide = "examples/guides/test-without-ylem/"
	for name, passed := range map[string]int{"mock": 2, "sandbox": 3} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cli := terraform(t, nil, nil)
			if err := os.CopyFS(cli.Dir, os.DirFS(filepath.Join("..", "..", guide, name))); err != nil {
				t.Fatal(err)
			}
			found := 0
			for line := range strings.Lines(readFile(t, guide+name+".sh")) {
				words := strings.Fields(line)
				switch words[0] {
				case "go": // install this very command
					if words[2] != terraformcli.Module+"/cmd/ylem-sandbox@latest" {
						t.Errorf("the guide installs %s", words[2])
					}
					continue
				case "ylem-sandbox":
					words = append([]string{binary(t).Path, "-addr", "127.0.0.1:0"}, words[1:]...)
				}
				if i := slices.Index(words, "terraform"); i >= 0 {
					words[i] = path
				}
				found++
				command := *cli
				command.Path = words[0]
				result, err := command.Run(t.Context(), append(words[1:], "-no-color")...)
				if want := fmt.Sprintf("Success! %d passed, 0 failed.", passed); err != nil || result.ExitCode != 0 || !strings.Contains(result.Stdout, want) {
					t.Errorf("%s: %v, exit code %d:\n%s%s", line, err, result.ExitCode, result.Stdout, result.Stderr)
				}
				if strings.Contains(result.Stderr, "refused") {
					t.Errorf("a request was refused:\n%s", result.Stderr)
				}
			}
			if found != 1 {
				t.Errorf("%d commands found", found)
			}
		})
	}
}

// The other command of the guide is the one of this package.
func TestGuideServes(t *testing.T) {
	t.Parallel()
	if text := strings.TrimSpace(readFile(t, "examples/guides/test-without-ylem/serve.sh")); text != "go run "+terraformcli.Module+"/cmd/ylem-sandbox@latest" {
		t.Error(text)
	}
}

// Signals end the command, and the sandbox with it: SIGTERM is passed on, Ctrl-C reaches both.
func TestBinaryPassesSignalsOn(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("a process cannot be interrupted there")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for sent, send := range map[os.Signal]func(*terraformcli.Process) error{
		syscall.SIGTERM: func(p *terraformcli.Process) error { return p.Signal(syscall.SIGTERM) },
		os.Interrupt:    func(p *terraformcli.Process) error { return p.SignalGroup(os.Interrupt) },
	} {
		p, err := binary(t).Start(t.Context(), "-addr", "127.0.0.1:0", self, "wait")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Kill)
		eventually(t, "command", func() bool { stdout, _ := p.Output(); return strings.Contains(stdout, "waiting") })
		if err := send(p); err != nil {
			t.Fatal(err)
		}
		if result, err := p.Wait(); err != nil || result.ExitCode != 5 || !strings.Contains(result.Stdout, sent.String()) {
			t.Errorf("%s: %v, %+v", sent, err, result)
		}
	}
}

// terraform is a working folder with a configuration, in which terraform uses the sandbox.
func terraform(t *testing.T, exported []string, files map[string]string) *terraformcli.CLI {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	cli, err := terraformcli.New(t.TempDir(), terraformcli.DevOverrides(dir), exported...)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(cli.Dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return cli
}

var wraps = regexp.MustCompile(`\s+(│ )?\s*`)

// apply applies, and returns what terraform printed, without its line breaks.
func apply(t *testing.T, cli *terraformcli.CLI, exitCode int) string {
	t.Helper()
	result, err := cli.Run(t.Context(), "apply", "-auto-approve", "-no-color")
	if err != nil {
		t.Fatal(err)
	}
	if result.ExitCode != exitCode {
		t.Fatalf("exit code %d, want %d:\n%s%s", result.ExitCode, exitCode, result.Stdout, result.Stderr)
	}
	return wraps.ReplaceAllString(result.Stdout+result.Stderr, " ")
}

func needsTerraform(t *testing.T) {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("TF_ACC is not set")
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The quick start works on the sandbox as it stands, but for a shorter pause.
func TestTerraformQuickStart(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	p, exported := startBinary(t)
	cli := terraform(t, exported, map[string]string{
		"main.tf": readFile(t, "examples/quick-start/main.tf"),
		"test_override.tf": `resource "ylem_pipeline_run" "orders" {
  completion = { quiet_period = "300ms", poll_interval = "100ms" }
}`,
	})
	if output := apply(t, cli, 0); !strings.Contains(output, `orders = "succeeded"`) {
		t.Error(output)
	}
	if _, log := p.Output(); strings.Count(log, "; started run ") != 1 || strings.Contains(log, "refused") {
		t.Error(log)
	}
	if _, err := cli.Output(t.Context(), "destroy", "-auto-approve"); err != nil {
		t.Error(err)
	}
}

const requirements = `terraform {
  required_providers {
    ylem = {
      source = "ylem-co/ylem"
    }
  }
}
`

// runOf is a configuration that waits for a run of a pipeline.
func runOf(pipeline, finalTask, more string) map[string]string {
	return map[string]string{"main.tf": requirements + `
resource "ylem_pipeline_run" "this" {
  pipeline_uuid       = "` + pipeline + `"
  wait_for_completion = true
  completion          = { final_task_uuids = ["` + finalTask + `"], poll_interval = "100ms" }
  ` + more + `
}

output "result" {
  value = "${ylem_pipeline_run.this.status} after ${ylem_pipeline_run.this.duration} ms"
}
`}
}

// The built-in pipelines that fail, take a minute or are paused do so.
func TestTerraformTroubles(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	_, exported := startBinary(t)
	for name, test := range map[string]struct {
		files    map[string]string
		exitCode int
		output   string
	}{
		"fails": {
			runOf("8b2e5d97-f061-4c3a-a4d8-719e0c6f5b23", "97e4c2b5-1d60-4f8a-b2e9-c40f7d8a6315", ""), 1,
			"Task d06b3e72-8c49-4a1f-87d5-2b9e6f04c1a3 (api_call): error 200: POST https://warehouse.example/stock: 502 Bad Gateway",
		},
		"takes a minute": {
			runOf("a90d6b34-2c8f-4157-9e4a-f3b7c5d20e86", "fd3a7280-6e1c-4b95-a7d4-09c8b5e3f162", `timeouts { create = "1s" }`), 1,
			"Error: The run outlasted the timeout",
		},
		"is paused":     {runOf("3e6b9d02-58fc-4a71-b0e4-c7d9f1a2836b", "c8f2a6b0-7d15-4e39-8b4c-f0e3d9a5712c", ""), 1, "paused"},
		"is a template": {runOf("d7a0f5c8-1b9e-4362-a8c4-6e3d0b7f2951", "290e8c5d-b6f7-4a03-9d18-e4c1a7f6b032", ""), 1, "template"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if output := apply(t, terraform(t, exported, test.files), test.exitCode); !strings.Contains(output, test.output) {
				t.Errorf("terraform does not say %q:\n%s", test.output, output)
			}
		})
	}
}

// An hour passes in a second, with the example's scenario: its report takes an hour, and fails.
func TestTerraformSpeed(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	file, err := filepath.Abs(filepath.Join("..", "..", "examples", "sandbox", "scenario.json"))
	if err != nil {
		t.Fatal(err)
	}
	_, exported := startBinary(t, "-speed", "3600", "-scenario", file)
	files := runOf("e0c7a9d2-3f16-4b58-8a4d-91c6b27f5e03", "92e4d7f0-5b1a-4c68-9d3e-0a7f6b8c1d25", `on_failure = "warn"`)
	output := apply(t, terraform(t, exported, files), 0)
	for _, text := range []string{"the mailbox is full", `result = "failed after 3600000 ms"`} {
		if !strings.Contains(output, text) {
			t.Errorf("terraform does not say %q:\n%s", text, cmp.Or(output, "nothing"))
		}
	}
}
