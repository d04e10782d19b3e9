package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// workspace is a temporary copy of a configuration in which terraform uses the provider built from this checkout.
type workspace struct {
	dir       string // of the configuration
	terraform string
	env       []string
}

// newWorkspace builds the provider, copies the configuration and points both at the server; below is where all of
// it may be put.
func newWorkspace(ctx context.Context, below, example string, s *ylemtest.Server, client ylemtest.Client) (*workspace, error) {
	terraform, err := exec.LookPath("terraform")
	if err != nil {
		return nil, errors.New("terraform is not on the PATH. The demo needs Terraform 1.11 or later: " +
			"https://developer.hashicorp.com/terraform/install")
	}
	root, err := moduleRoot(ctx)
	if err != nil {
		return nil, err
	}

	w := &workspace{dir: filepath.Join(below, "configuration"), terraform: terraform}
	bin, temp, cli := filepath.Join(below, "bin"), filepath.Join(below, "tmp"), filepath.Join(below, "cli.tfrc")
	for _, dir := range []string{w.dir, bin, temp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	files, err := filepath.Glob(filepath.Join(root, example, "*.tf"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("there is no configuration in %s", example)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(w.dir, filepath.Base(file)), content, 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(cli, []byte(cliConfig(bin)), 0o600); err != nil {
		return nil, err
	}

	// Settings of the user's own must neither disturb the demo nor be sent anything.
	for _, variable := range os.Environ() {
		if !strings.HasPrefix(variable, "TF_") && !strings.HasPrefix(variable, "YLEM_") {
			w.env = append(w.env, variable)
		}
	}
	w.env = append(w.env,
		"TMPDIR="+temp, // what a process leaves that is killed goes with the rest
		"TF_CLI_CONFIG_FILE="+cli,
		"CHECKPOINT_DISABLE=1", // terraform asks nobody for news
		"YLEM_API_URL="+s.URL,
		"YLEM_API_CLIENT_ID="+client.ID,
		"YLEM_API_CLIENT_SECRET="+client.Secret,
	)

	name := "terraform-provider-ylem"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	// Without -buildvcs=false a checkout that git does not trust, as of another user, cannot be built.
	_, err = command(ctx, root, w.env, "go", "build", "-buildvcs=false", "-o", filepath.Join(bin, name), ".")
	return w, err
}

// run runs terraform and returns what it printed.
func (w *workspace) run(ctx context.Context, args ...string) (string, error) {
	return command(ctx, w.dir, w.env, w.terraform, args...)
}

// state is what the demo looks at in "terraform show -json".
type state struct {
	Values struct {
		RootModule struct {
			Resources []struct {
				Address string `json:"address"`
				Mode    string `json:"mode"`
				Values  struct {
					ID           string `json:"id"`
					PipelineUUID string `json:"pipeline_uuid"`
					Input        string `json:"input"`
				} `json:"values"`
			} `json:"resources"`
		} `json:"root_module"`
	} `json:"values"`
	Checks []struct {
		Address struct {
			Display string `json:"to_display"`
		} `json:"address"`
		Status string `json:"status"`
	} `json:"checks"`
}

func (w *workspace) state(ctx context.Context) (s state, err error) {
	text, err := w.run(ctx, "show", "-json")
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s)
}

// moduleRoot is the directory of the checkout, wherever in it the demo was started.
func moduleRoot(ctx context.Context) (string, error) {
	stdout, err := command(ctx, "", os.Environ(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/ylem-co/terraform-provider-ylem")
	return strings.TrimSpace(stdout), err
}

// cliConfig is a CLI configuration with which terraform takes the provider from a directory. The address has no
// host: OpenTofu's default is another than Terraform's.
func cliConfig(dir string) string {
	return fmt.Sprintf(`provider_installation {
  dev_overrides {
    "ylem-co/ylem" = %q
  }
  direct {}
}
`, filepath.ToSlash(dir))
}

// command runs a program to its end and returns its standard output; an error shows all that it printed. When the
// context ends, the program is interrupted as by Ctrl-C and gets some time to tidy up; then it is killed, with all
// that it started.
func command(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = 10 * time.Second
	endGroup := startInGroup(cmd)
	err := cmd.Run()
	if ctx.Err() != nil {
		endGroup()
		return "", ctx.Err()
	}
	if err != nil {
		err = fmt.Errorf("%s %s: %w\n\n%s", filepath.Base(name), strings.Join(args, " "), err,
			strings.TrimSpace(stdout.String()+stderr.String()))
	}
	return stdout.String(), err
}
