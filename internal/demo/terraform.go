package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// workspace is a temporary copy of a configuration in which terraform uses the provider built from this checkout.
type workspace struct {
	*terraformcli.CLI
}

// newWorkspace builds the provider, copies the configuration, with those in folders of it, and points all at the server;
// below is where all of it may be put.
func newWorkspace(ctx context.Context, below, example string, s *ylemtest.Server, client ylemtest.Client) (*workspace, error) {
	dir, bin, temp := filepath.Join(below, "configuration"), filepath.Join(below, "bin"), filepath.Join(below, "tmp")
	for _, dir := range []string{dir, bin, temp} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
	}
	cli, err := terraformcli.New(dir, terraformcli.DevOverrides(bin),
		"TMPDIR="+temp, // what a process that is killed leaves behind goes with the rest
		"YLEM_API_URL="+s.URL,
		"YLEM_API_CLIENT_ID="+client.ID,
		"YLEM_API_CLIENT_SECRET="+client.Secret,
	)
	if err != nil {
		return nil, err
	}
	root, err := terraformcli.ModuleRoot(ctx)
	if err != nil {
		return nil, err
	}
	if err := copyConfiguration(dir, filepath.Join(root, example)); err != nil {
		return nil, err
	}
	_, err = terraformcli.Build(ctx, bin, terraformcli.Module)
	return &workspace{cli}, err
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
	text, err := w.Output(ctx, append(options, "show", "-json")...)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal([]byte(text), &s)
}
