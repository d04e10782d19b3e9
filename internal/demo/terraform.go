package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
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

// newWorkspace builds the provider, copies the configuration, with those in folders of it, and points all at the server;
// below is where all of it may be put.
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
	if err := copyConfiguration(w.dir, filepath.Join(root, example)); err != nil {
		return nil, err
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

// copyConfiguration copies the *.tf files of a folder and of the folders in it.
func copyConfiguration(to, from string) error {
	copied := 0
	err := filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && strings.HasPrefix(entry.Name(), "."): // what terraform left there
			return fs.SkipDir
		case entry.IsDir() || filepath.Ext(path) != ".tf":
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		copied++
		name := filepath.Join(to, strings.TrimPrefix(path, from))
		return errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, content, 0o600))
	})
	if err == nil && copied == 0 {
		err = fmt.Errorf("there is no configuration in %s", from)
	}
	return err
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
				Tainted bool   `json:"tainted"`
				Values  struct {
					ID           string `json:"id"`
					PipelineUUID string `json:"pipeline_uuid"`
					Input        string `json:"input"`
					Status       string `json:"status"`
					Duration     int64  `json:"duration"`
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

func (w *workspace) state(ctx context.Context, options ...string) (s state, err error) {
	text, err := w.run(ctx, append(options, "show", "-json")...)
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

// failure is the error of a program that failed, with all that it printed.
type failure struct {
	command, stdout, stderr string
	err                     error
}

func (f *failure) Unwrap() error { return f.err }

func (f *failure) Error() string {
	return fmt.Sprintf("%s: %s\n\n%s", f.command, f.err, strings.TrimSpace(f.stdout+f.stderr))
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
		err = &failure{filepath.Base(name) + " " + strings.Join(args, " "), stdout.String(), stderr.String(), err}
	}
	return stdout.String(), err
}
