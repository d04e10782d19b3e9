package provider

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
)

// built is the provider's binary, built once and only when a test wants it.
var built struct {
	once           sync.Once
	folder, binary string
	err            error
}

// removeBuilt is called when all tests have ended.
func removeBuilt() {
	if built.folder != "" {
		_ = os.RemoveAll(built.folder)
	}
}

// builtProvider returns the provider's binary.
func builtProvider(t testing.TB) string {
	t.Helper()
	// It is no package of the tests: go test would show a cached result after a change of it.
	if _, err := os.Stat(filepath.Join(root, "main.go")); err != nil {
		t.Fatal(err)
	}
	built.once.Do(func() {
		//nolint:usetesting // it outlives the test that happens to come first
		if built.folder, built.err = os.MkdirTemp("", "ylem-provider"); built.err == nil {
			built.binary, built.err = terraformcli.Build(t.Context(), built.folder, terraformcli.Module, "-trimpath") // compiles what a release does
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return built.binary
}

// terraform is the command line of the real terraform and of the built provider, as a user has them: for what
// happens around the provider, such as logs, plan files and processes.
type terraform struct {
	dir string
	cli *terraformcli.CLI
}

// requirements begin every configuration that the real terraform reads.
const requirements = `
terraform {
  required_providers {
    ylem = { source = "ylem-co/ylem" }
  }
}
`

// attachedRequirements name the registry as well: a debugged provider has its address there, and the default of OpenTofu is
// another one.
var attachedRequirements = strings.Replace(requirements, `"ylem-co/ylem"`, `"registry.terraform.io/ylem-co/ylem"`, 1)

// needsTerraform skips the test where no terraform is to be run.
func needsTerraform(t testing.TB) {
	t.Helper()
	if os.Getenv("TF_ACC") == "" {
		t.Skip("needs terraform: set TF_ACC=1")
	}
}

// newTerraform writes the configuration, without a provider block's requirements, into a folder of the test's
// own. env holds further variables, as NAME=VALUE.
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
	return terraformIn(t, terraformcli.DevOverrides(filepath.Dir(builtProvider(t))), env...)
}

// terraformIn is the command line in an empty folder, with a command-line configuration of its own.
func terraformIn(t testing.TB, cliConfig string, env ...string) *terraform {
	t.Helper()
	tf := &terraform{dir: t.TempDir()}
	var err error
	if tf.cli, err = terraformcli.New(tf.dir, cliConfig, env...); err != nil {
		t.Fatal(err)
	}
	return tf
}

// write puts a file into the working directory.
func (tf *terraform) write(t testing.TB, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(tf.dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// attach makes this terraform use a provider that is started here with -debug, and has the environment env.
func (tf *terraform) attach(t *testing.T, binary string, env ...string) *terraformcli.Process {
	t.Helper()
	p, attach, err := terraformcli.StartProvider(t.Context(), binary, env...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	tf.cli.Env = append(tf.cli.Env, attach)
	return p
}

// feature is what not every version has.
type feature struct {
	name      string
	terraform int // 1.this has it
	openTofu  int // 1.this has it; 0: none
}

var (
	identityImport = feature{"import by identity", 12, 12}
	actions        = feature{"an action", 14, 0}
	queries        = feature{"terraform query", 14, 0}
)

// terraformVersion is the version of the terraform at hand.
func terraformVersion(t testing.TB) terraformcli.Version {
	t.Helper()
	version, err := terraformIn(t, "").cli.Version(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return version
}

// needs skips the test where the terraform at hand lacks a feature, and says so.
func needs(t *testing.T, f feature) {
	t.Helper()
	version := terraformVersion(t)
	needed := f.terraform
	if version.Product == "OpenTofu" {
		needed = f.openTofu
	}
	switch {
	case needed == 0:
		t.Skipf("%s: %s does not have it", f.name, version.Product)
	case version.Major == 1 && version.Minor < needed:
		t.Skipf("%s: needs %s 1.%d; this is %s", f.name, version.Product, needed, version.Number)
	}
}

// commandLimit is how long a terraform command may take: only with a broken provider does one take longer.
const commandLimit = 2 * time.Minute

// run runs a terraform command to its end.
func (tf *terraform) run(t testing.TB, arguments ...string) (stdout, stderr string, code int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), commandLimit)
	defer cancel()
	r, err := tf.cli.Run(ctx, arguments...)
	if err != nil {
		t.Fatalf("terraform %s: %s\n%s%s", strings.Join(arguments, " "), err, r.Stdout, r.Stderr)
	}
	return r.Stdout, r.Stderr, r.ExitCode
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

// background is a terraform command that runs while the test continues.
type background struct {
	*terraformcli.Process
}

func (tf *terraform) start(t *testing.T, arguments ...string) *background {
	t.Helper()
	p, err := tf.cli.Start(t.Context(), arguments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return &background{p}
}

// eventually waits until something has happened that needs this command. It fails the test at once when the command
// has ended without it.
func (b *background) eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	ended := false
	if !happens(func() bool {
		select {
		case <-b.Done():
			ended = true
		default:
		}
		return happened() || ended // in this order: it may have been the last thing that the command did
	}) {
		t.Fatalf("did not happen within %s: %s\n%s", patience, what, b.printed())
	}
	if ended && !happened() {
		t.Fatalf("terraform ended before this happened: %s\n%s", what, b.printed())
	}
}

// wait returns the command's exit code and what it printed.
func (b *background) wait(t *testing.T) (int, string) {
	t.Helper()
	select {
	case <-b.Done():
	case <-time.After(commandLimit):
		t.Fatalf("terraform has not ended within %s:\n%s", commandLimit, b.printed())
	}
	r, err := b.Wait()
	if err != nil {
		t.Fatal(err)
	}
	return r.ExitCode, b.printed()
}

func (b *background) printed() string {
	stdout, stderr := b.Output()
	return stdout + stderr
}

// signalProvider sends a signal to the provider's process that terraform has started.
func (b *background) signalProvider(t *testing.T, signal os.Signal) {
	t.Helper()
	err := b.SignalProvider(signal)
	if errors.Is(err, errors.ErrUnsupported) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
}
