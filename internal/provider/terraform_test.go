package provider

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is the provider's binary, built once and only when a test wants it.
var built struct {
	once   sync.Once
	folder string
	output []byte
	err    error
}

// removeBuilt is called when all tests have ended.
func removeBuilt() {
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
}

// terraform is the command line of the real terraform and of the built provider, as a user has them: for what
// happens around the provider, such as logs, plan files and processes.
type terraform struct {
	dir string
	env []string
}

// requirements begin every configuration that the real terraform reads.
const requirements = `
terraform {
  required_providers {
    ylem = { source = "ylem-co/ylem" }
  }
}
`

// needsTerraform skips the test where no terraform is to be run.
func needsTerraform(t testing.TB) {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("needs terraform: set TF_ACC=1")
	}
}

// newTerraform writes the configuration, without a provider block's requirements, into a folder of the test's
// own. env holds further variables, as NAME=VALUE; of the test's own environment only PATH is passed on.
func newTerraform(t testing.TB, config string, env ...string) *terraform {
	t.Helper()
	tf := emptyTerraform(t, env...)
	tf.write(t, "main.tf", requirements+config)
	return tf
}

// emptyTerraform is newTerraform without a configuration.
func emptyTerraform(t testing.TB, env ...string) *terraform {
	t.Helper()
	needsTerraform(t)
	built.once.Do(func() {
		//nolint:usetesting // it outlives the test that happens to come first
		if built.folder, built.err = os.MkdirTemp("", "ylem-provider"); built.err != nil {
			return
		}
		build := exec.Command("go", "build", "-o", filepath.Join(built.folder, "terraform-provider-ylem"), ".")
		build.Dir = filepath.Join("..", "..")
		built.output, built.err = build.CombinedOutput()
	})
	if built.err != nil {
		t.Fatalf("go build: %s\n%s", built.err, built.output)
	}

	return terraformIn(t, fmt.Sprintf("provider_installation {\n  dev_overrides {\n    \"ylem-co/ylem\" = %q\n  }\n  direct {}\n}\n", built.folder), env...)
}

// terraformIn is the command line in an empty folder, with a command-line configuration of its own.
func terraformIn(t testing.TB, cliConfig string, env ...string) *terraform {
	t.Helper()
	tf := &terraform{dir: t.TempDir()}
	cli := filepath.Join(tf.dir, "cli.tfrc")
	tf.write(t, "cli.tfrc", cliConfig)
	tf.env = append([]string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + tf.dir, "TF_CLI_CONFIG_FILE=" + cli, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0",
	}, env...)
	return tf
}

// write puts a file into the working directory.
func (tf *terraform) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tf.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// terraformPath is the terraform to run, the same as for terraform-plugin-testing.
func terraformPath() string { return cmp.Or(os.Getenv("TF_ACC_TERRAFORM_PATH"), "terraform") }

// feature is what not every version has.
type feature struct {
	name      string
	terraform int // 1.this has it
	openTofu  int // 1.this has it; 0: none
}

var (
	identityImport = feature{"import by identity", 12, 12}
	actions        = feature{"an action", 14, 0}
)

// needs skips the test where the terraform at hand lacks a feature, and says so.
func needs(t *testing.T, f feature) {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), terraformPath(), "version").Output()
	if err != nil {
		t.Fatal(err)
	}
	name, needed := "Terraform", f.terraform
	if strings.HasPrefix(string(text), "OpenTofu") {
		name, needed = "OpenTofu", f.openTofu
	}
	var major, minor int
	if _, err := fmt.Sscanf(string(text), name+" v%d.%d", &major, &minor); err != nil {
		t.Fatalf("%s\n%s", err, text)
	}
	switch {
	case needed == 0:
		t.Skipf("%s: %s has it not", f.name, name)
	case major == 1 && minor < needed:
		t.Skipf("%s: needs %s 1.%d; this is 1.%d", f.name, name, needed, minor)
	}
}

// run runs a terraform command to its end.
func (tf *terraform) run(t testing.TB, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	var out, errs bytes.Buffer
	command := exec.CommandContext(t.Context(), terraformPath(), arguments...)
	command.Dir, command.Env, command.Stdout, command.Stderr = tf.dir, tf.env, &out, &errs
	if err := command.Run(); err != nil {
		if _, ok := errors.AsType[*exec.ExitError](err); !ok {
			t.Fatal(err)
		}
	}
	return out.String(), errs.String(), command.ProcessState.ExitCode()
}

// mustRun runs a terraform command that succeeds, or with the code given by -detailed-exitcode that it wants.
func (tf *terraform) mustRun(t testing.TB, want int, arguments ...string) (stdout string) {
	t.Helper()
	stdout, stderr, code := tf.run(t, arguments...)
	if code != want {
		t.Fatalf("terraform %s: exit code %d, want %d\n%s%s", strings.Join(arguments, " "), code, want, stdout, stderr)
	}
	return stdout
}

// startDebugged starts a provider's binary as under a debugger. attach is what it says for TF_REATTACH_PROVIDERS. Of the
// test's own environment, only what a process cannot do without is passed on.
func startDebugged(t *testing.T, binary string, env ...string) (command *exec.Cmd, attach string) {
	t.Helper()
	command = exec.CommandContext(t.Context(), binary, "-debug")
	for _, name := range []string{"PATH", "HOME", "TMPDIR", "TEMP", "TMP", "SystemRoot"} {
		if value, ok := os.LookupEnv(name); ok {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	command.Env = append(command.Env, env...)
	output, err := command.StdoutPipe()
	if err == nil {
		err = command.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = command.Process.Kill(), command.Wait() })
	for lines := bufio.NewScanner(output); attach == "" && lines.Scan(); {
		if _, value, ok := strings.Cut(lines.Text(), "TF_REATTACH_PROVIDERS="); ok {
			attach = strings.Trim(value, "'")
		}
	}
	go func() { _, _ = io.Copy(io.Discard, output) }()
	return command, attach
}
