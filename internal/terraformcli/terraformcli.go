// Package terraformcli builds the provider and runs terraform with it, as a user does: for the demo, the benchmark and the
// tests. It needs only the standard library, and is not part of the provider's binary.
package terraformcli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// CLI is terraform's command line in one working folder.
type CLI struct {
	Path string   // of the terraform binary
	Dir  string   // the working folder
	Env  []string // NAME=VALUE; nothing else is inherited
}

// New prepares a folder for the terraform that Find finds: it writes the CLI configuration there, and makes the
// folder terraform's home. env comes last, so it wins.
func New(dir, config string, env ...string) (*CLI, error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	c := &CLI{Path: path, Dir: dir}
	file := filepath.Join(dir, "cli.tfrc")
	c.Env = append(baseEnvironment(),
		"HOME="+dir, "USERPROFILE="+dir, "APPDATA="+dir,
		"TF_CLI_CONFIG_FILE="+file, "CHECKPOINT_DISABLE=1", "TF_IN_AUTOMATION=1", "TF_INPUT=0",
	)
	c.Env = append(c.Env, env...)
	return c, os.WriteFile(file, []byte(config), 0o600)
}

// Find returns the terraform binary to run: the one that TF_ACC_TERRAFORM_PATH names, as in terraform-plugin-testing,
// or the one on the PATH.
func Find() (string, error) {
	name := cmp.Or(os.Getenv("TF_ACC_TERRAFORM_PATH"), "terraform")
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s cannot be run. Install Terraform 1.11 or later, https://developer.hashicorp.com/terraform/install, "+
			"or set TF_ACC_TERRAFORM_PATH: %w", name, err)
	}
	return filepath.Abs(path)
}

// DevOverrides is a CLI configuration with which terraform takes the provider from a folder, without terraform init.
// The address has no host, because OpenTofu's default differs from Terraform's.
func DevOverrides(dir string) string {
	return fmt.Sprintf(`provider_installation {
  dev_overrides {
    "ylem-co/ylem" = %q
  }
  direct {}
}
`, filepath.ToSlash(dir))
}

// Start starts a terraform command. When the context ends, the command is interrupted as by Ctrl-C; what has not ended
// ten seconds later is killed.
func (c *CLI) Start(ctx context.Context, args ...string) (*Process, error) {
	return start(ctx, c.Dir, c.Env, c.Path, args...)
}

// Run runs a terraform command to its end, whatever its exit code.
func (c *CLI) Run(ctx context.Context, args ...string) (Result, error) {
	return run(ctx, c.Dir, c.Env, c.Path, args...)
}

// Output runs a terraform command that has to succeed, and returns its standard output. The error of one that does
// not is an *ExitError.
func (c *CLI) Output(ctx context.Context, args ...string) (string, error) {
	return output(ctx, c.Dir, c.Env, c.Path, args...)
}

// ExitError is the error of a command that failed.
type ExitError struct {
	Command string
	Result
}

func (e *ExitError) Error() string {
	return fmt.Sprintf("%s: exit code %d\n\n%s", e.Command, e.ExitCode, strings.TrimSpace(e.Stdout+e.Stderr))
}

func run(ctx context.Context, dir string, env []string, name string, args ...string) (Result, error) {
	p, err := start(ctx, dir, env, name, args...)
	if err != nil {
		return Result{}, err
	}
	return p.Wait()
}

func output(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	r, err := run(ctx, dir, env, name, args...)
	if err == nil && r.ExitCode != 0 {
		err = &ExitError{Command: filepath.Base(name) + " " + strings.Join(args, " "), Result: r}
	}
	return r.Stdout, err
}

// baseEnvironment is what a process cannot do without. Other settings of the user's, such as TF_LOG, YLEM_API_URL or
// HTTPS_PROXY, must not change what the provider does.
func baseEnvironment() (env []string) {
	for _, name := range []string{"PATH", "HOME", "USERPROFILE", "TMPDIR", "TEMP", "TMP", "SystemRoot", "PATHEXT"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// Version is the version of a terraform binary.
type Version struct {
	Product      string // Terraform, or OpenTofu
	Major, Minor int
	Number       string // all of it, such as 1.15.0-rc2
}

func (v Version) String() string { return v.Product + " " + v.Number }

// Version asks terraform for its version.
func (c *CLI) Version(ctx context.Context) (Version, error) {
	text, err := c.Output(ctx, "version")
	if err != nil {
		return Version{}, err
	}
	return parseVersion(text)
}

var versionLine = regexp.MustCompile(`^(\w+) v((\d+)\.(\d+)\.\S+)`)

func parseVersion(text string) (v Version, err error) {
	match := versionLine.FindStringSubmatch(text)
	if match == nil {
		return v, fmt.Errorf("unexpected answer to terraform version: %q", text)
	}
	v.Product, v.Number = match[1], match[2]
	var errMajor, errMinor error
	v.Major, errMajor = strconv.Atoi(match[3])
	v.Minor, errMinor = strconv.Atoi(match[4])
	return v, errors.Join(errMajor, errMinor)
}
