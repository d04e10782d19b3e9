package provider

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-testing/config"
	acctest "github.com/hashicorp/terraform-plugin-testing/helper/resource"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const examples = "../../examples"

// Every folder of examples/ with a configuration can be applied as it is, and leaves nothing to change: after the
// apply, the testing framework fails where another plan holds changes.
func TestExamplesApply(t *testing.T) {
	t.Parallel()
	for _, dir := range exampleDirs(t) {
		t.Run(filepath.ToSlash(strings.TrimPrefix(dir, filepath.FromSlash(examples+"/"))), func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			files := readExample(t, dir)
			s.addExamplePipelines(strings.Join(slices.Collect(maps.Values(files)), "\n"))
			apply := acctest.TestStep{
				// The framework wants the factories here when the configuration is a folder with a provider block.
				ProtoV6ProviderFactories: factories,
				ConfigDirectory:          config.StaticDirectory(s.copyExample(t, files)),
			}
			// It cannot tidy up by itself what for_each made.
			destroy := apply
			destroy.Destroy = true
			acctest.Test(t, acctest.TestCase{Steps: []acctest.TestStep{apply, destroy}})
			if len(s.Requests()) == 0 {
				t.Error("the example asks nothing of Ylem")
			}
		})
	}
}

// Every resource and data source has an example where its page looks for it.
func TestExamplesAreComplete(t *testing.T) {
	t.Parallel()
	ctx, p := context.Background(), &ylemProvider{}
	want := []string{"provider/provider.tf"}
	for _, construct := range p.Resources(ctx) {
		var resp resource.MetadataResponse
		construct().Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "ylem"}, &resp)
		want = append(want, "resources/"+resp.TypeName+"/resource.tf")
	}
	for _, construct := range p.DataSources(ctx) {
		var resp datasource.MetadataResponse
		construct().Metadata(ctx, datasource.MetadataRequest{ProviderTypeName: "ylem"}, &resp)
		want = append(want, "data-sources/"+resp.TypeName+"/data-source.tf")
	}
	for _, file := range want {
		if _, err := os.Stat(filepath.Join(examples, file)); err != nil {
			t.Error(err)
		}
	}
}

// The README's table of troubles has the summaries as Terraform shows them.
func TestTroubleshootingIsTrue(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(readme), "## Troubleshooting")
	table, _, _ = strings.Cut(table, "\n## ")
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var code strings.Builder
	for _, name := range sources {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, "_test.go") {
			code.Write(text)
		}
	}
	// The end of some is put in: a scope, the name of an argument.
	computed := regexp.MustCompile(` (stats:read|client_id|client_secret|…)$`)
	summaries := 0
	for row := range strings.Lines(table) {
		if !strings.HasPrefix(row, "| `") {
			continue
		}
		for _, quoted := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(strings.Split(row, "|")[1], -1) {
			summaries++
			if literal := `"` + computed.ReplaceAllString(quoted[1], " "); !strings.Contains(code.String(), literal) {
				t.Errorf("no diagnostic has the summary %s", quoted[1])
			}
		}
	}
	if summaries < 20 {
		t.Errorf("only %d summaries found", summaries)
	}
}

// exampleDirs finds the folders that hold a configuration.
func exampleDirs(t *testing.T) []string {
	t.Helper()
	var dirs []string
	err := filepath.WalkDir(examples, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() && strings.HasPrefix(entry.Name(), ".terraform") {
			return fs.SkipDir
		}
		if found, _ := filepath.Glob(filepath.Join(path, "*.tf")); entry.IsDir() && len(found) > 0 {
			dirs = append(dirs, path)
		}
		return nil
	})
	if err != nil || len(dirs) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	return dirs
}

// readExample returns the files of an example by name, without what a terraform that was run in it left there.
func readExample(t *testing.T, dir string) map[string]string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for _, entry := range entries {
		if entry.IsDir() || strings.HasPrefix(entry.Name(), ".") || strings.HasPrefix(entry.Name(), "terraform.tfstate") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files[entry.Name()] = string(text)
	}
	return files
}

var (
	anyUUID     = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	anyVariable = regexp.MustCompile(`(?ms)^variable "(\w+)" \{(.*?)^\}`)
)

// addExamplePipelines makes a pipeline of every UUID in a text, whose tasks have all of these UUIDs too: whichever
// of them is meant as which, it exists. Each has run before, so that it has a last run.
func (s *sandbox) addExamplePipelines(text string) {
	var p ylemtest.Pipeline
	for _, uuid := range anyUUID.FindAllString(text, -1) {
		p.Tasks = append(p.Tasks, ylemtest.Task{UUID: uuid, Duration: 10 * time.Millisecond, Output: []byte(`[{"total":299.76}]`)})
	}
	for _, task := range p.Tasks {
		p.UUID = task.UUID
		s.AddPipeline(p)
		s.AddRun(p.UUID, time.Now().Add(-time.Hour))
	}
}

// copyExample copies an example to a folder of the test's own, with an override file: the provider comes from
// the test and goes to the sandbox, and variables that a user must set are set.
func (s *sandbox) copyExample(t *testing.T, files map[string]string) string {
	t.Helper()
	override := fmt.Sprintf(`
terraform {
  required_providers {
    ylem = { source = "%s/%s/ylem" }
  }
}
`, cmp.Or(os.Getenv("TF_ACC_PROVIDER_HOST"), "registry.terraform.io"), cmp.Or(os.Getenv("TF_ACC_PROVIDER_NAMESPACE"), "hashicorp")) + s.config("")
	folder := t.TempDir()
	for name, text := range files {
		for _, variable := range anyVariable.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(variable[2], "default") {
				override += fmt.Sprintf("variable %q {\n  default = \"example\"\n}\n", variable[1])
			}
		}
		write(t, filepath.Join(folder, name), text)
	}
	write(t, filepath.Join(folder, "test_override.tf"), override)
	return folder
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
