package provider

import (
	"context"
	"crypto/x509"
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

	"github.com/hashicorp/terraform-plugin-framework/action"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/resource"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

const examples = "../../examples"

// Every configuration of examples/ can be applied, and leaves nothing to change.
func TestExamplesApply(t *testing.T) {
	t.Parallel()
	for name, files := range exampleConfigurations(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needsFor(t, files)
			text := strings.Join(slices.Collect(maps.Values(files)), "\n")
			s := newSandbox(t)
			if strings.Contains(text, "ca_cert_pem") {
				s = s.withCertificates(t, files)
			}
			s.addExamplePipelines(text)
			tf := s.copyExample(t, files)
			tf.mustRun(t, 0, "apply", "-auto-approve")
			tf.mustRun(t, 0, "plan", "-detailed-exitcode")
			tf.mustRun(t, 0, "destroy", "-auto-approve")
			if len(s.Requests()) == 0 {
				t.Error("the example asks nothing of Ylem")
			}
			if runs := s.count(ylemtest.RouteRun); runs > 0 && strings.Contains(text, "import {") {
				t.Errorf("the example of an import starts %d runs", runs)
			}
		})
	}
}

// Every command of examples/ does what its page says.
func TestExampleCommands(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config string
		before [][]string // commands
		action bool
		runs   int // that there are in the end
	}{
		"resources/ylem_pipeline_run/import.sh": {config: "resource.tf"},
		"guides/wait-for-a-run/untaint.sh": {
			config: "wait.tf",
			before: [][]string{{"apply"}, {"taint", "ylem_pipeline_run.import"}}, // as after a timeout
			runs:   1,
		},
		"guides/troubleshooting/log.sh":                           {config: "ask.tf"},
		"guides/react-to-infrastructure-changes/action/invoke.sh": {config: "action.tf", action: true, runs: 1},
	}
	for script, test := range tests {
		t.Run(script, func(t *testing.T) {
			t.Parallel()
			files := readExample(t, filepath.Join(examples, filepath.Dir(script)))
			text := files[test.config]
			s := newSandbox(t)
			s.addExamplePipelines(text + files[filepath.Base(script)])
			tf := newTerraform(t, s.config(text), "TF_CLI_ARGS_apply=-auto-approve")
			if test.action {
				needs(t, actions)
			}
			for _, command := range test.before {
				tf.mustRun(t, 0, command...)
			}
			for line := range strings.Lines(files[filepath.Base(script)]) {
				if command, ok := strings.CutPrefix(line, "terraform "); ok {
					tf.mustRun(t, 0, strings.Fields(command)...)
				} else if variables, ok := strings.CutPrefix(line, "export "); ok {
					tf.cli.Env = append(tf.cli.Env, strings.Fields(variables)...)
				}
			}
			if runs := s.count(ylemtest.RouteRun); runs != test.runs {
				t.Errorf("%d runs were started, want %d", runs, test.runs)
			}
			if !test.action {
				tf.mustRun(t, 0, "plan", "-detailed-exitcode")
			}
		})
	}
	for _, dir := range exampleDirs(t) {
		scripts, _ := filepath.Glob(filepath.Join(dir, "*.sh"))
		for _, script := range scripts {
			name, err := filepath.Rel(examples, script)
			_, ok := tests[filepath.ToSlash(name)]
			if err != nil || !ok && !slices.Contains(slices.Concat(installCommands, []string{recoverCommands, backfillCommand}), filepath.ToSlash(name)) {
				t.Errorf("%s is in no test", script)
			}
		}
	}
}

// Every resource, data source, function and action has an example where its page looks for it, and the guides show all of theirs.
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
	for _, construct := range p.ListResources(ctx) {
		var resp resource.MetadataResponse
		construct().Metadata(ctx, resource.MetadataRequest{ProviderTypeName: "ylem"}, &resp)
		want = append(want, "list-resources/"+resp.TypeName+"/list-resource.tfquery.hcl")
	}
	for _, construct := range p.Functions(ctx) {
		var resp function.MetadataResponse
		construct().Metadata(ctx, function.MetadataRequest{}, &resp)
		want = append(want, "functions/"+resp.Name+"/function.tf")
	}
	for _, construct := range p.Actions(ctx) {
		var resp action.MetadataResponse
		construct().Metadata(ctx, action.MetadataRequest{ProviderTypeName: "ylem"}, &resp)
		want = append(want, "actions/"+resp.TypeName+"/action.tf")
	}
	for _, file := range want {
		if _, err := os.Stat(filepath.Join(examples, file)); err != nil {
			t.Error(err)
		}
	}

	guides, err := filepath.Glob("../../templates/guides/*.md.tmpl")
	if err != nil || len(guides) == 0 {
		t.Fatalf("no guides: %v", err)
	}
	for _, guide := range guides {
		text, err := os.ReadFile(guide)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "```") {
			t.Errorf("%s has code of its own, which no test runs", guide)
		}
		// What a configuration reads is no configuration.
		dir := filepath.Join(examples, "guides", strings.TrimSuffix(filepath.Base(guide), ".md.tmpl"))
		for _, file := range exampleFiles(t, dir, ".tf", ".hcl", ".tfrc", ".sh", ".yml") {
			if filepath.Base(file) != "terraform.tf" && !strings.Contains(string(text), fmt.Sprintf("%q", "examples/"+file)) {
				t.Errorf("%s does not show %s", guide, file)
			}
		}
	}
}

// The folders of the guides, the demo and the quick start work as they are: they say which provider they are for.
func TestExamplesNameTheProvider(t *testing.T) {
	t.Parallel()
	for _, dir := range exampleDirs(t) {
		name, err := filepath.Rel(examples, dir)
		kind, _, _ := strings.Cut(filepath.ToSlash(name), "/")
		if err != nil || slices.Contains([]string{"actions", "data-sources", "functions", "resources"}, kind) { // what a page shows one by one
			continue
		}
		text := strings.Join(slices.Collect(maps.Values(readExample(t, dir))), "\n")
		if n := strings.Count(text, `source = "ylem-co/ylem"`); n != 1 {
			t.Errorf("%s names the provider %d times", name, n)
		}
	}
}

// exampleFiles finds the files below a folder that end in one of the given ways, named as seen from examples/.
func exampleFiles(t *testing.T, dir string, endings ...string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && slices.Contains(endings, filepath.Ext(path)) {
			name, _ := filepath.Rel(examples, path)
			names = append(names, filepath.ToSlash(name))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
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

// exampleConfigurations returns the files of each configuration by its name. A folder is one; but each file with an import
// block is one of its own, together with the resource that it imports.
func exampleConfigurations(t *testing.T) map[string]map[string]string {
	t.Helper()
	all := map[string]map[string]string{}
	for _, dir := range exampleDirs(t) {
		name, err := filepath.Rel(examples, dir)
		if err != nil {
			t.Fatal(err)
		}
		files := readExample(t, dir)
		for file, text := range files {
			if strings.HasPrefix(file, "import-by-") {
				all[filepath.ToSlash(filepath.Join(name, file))] = map[string]string{file: text, "resource.tf": files["resource.tf"]}
				delete(files, file)
			}
		}
		all[filepath.ToSlash(name)] = files
	}
	return all
}

// needsFor skips the test where the terraform at hand is too old for an example.
func needsFor(t *testing.T, files map[string]string) {
	t.Helper()
	needsTerraform(t)
	for _, text := range files {
		if anyAction.MatchString(text) {
			needs(t, actions)
		}
		if strings.Contains(text, "identity = {") {
			needs(t, identityImport)
		}
	}
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
	anyAlias    = regexp.MustCompile(`(?m)^  alias +=.*`)
	anyAction   = regexp.MustCompile(`(?m)^action "`)
	anyImport   = regexp.MustCompile(`(?m)(?:/|run_uuid\s+= "|^\s+id\s+= ")(` + anyUUID.String() + `)`)
	anyPause    = regexp.MustCompile(`((?:quiet_period|poll_interval)\s+= )"\w+"`)
)

// addExamplePipelines makes a pipeline of every UUID in a text, whose tasks have all of these UUIDs too: whichever
// of them is meant as which, it exists. Each has run before, so that it has a last run, also with the UUID of a run that
// the text imports or reads. The tasks take no time.
func (s *sandbox) addExamplePipelines(text string) {
	var p ylemtest.Pipeline
	for _, uuid := range anyUUID.FindAllString(text, -1) {
		p.Tasks = append(p.Tasks, ylemtest.Task{UUID: uuid, Output: []byte(`[{"total":299.76}]`)})
	}
	for _, task := range p.Tasks {
		p.UUID = task.UUID
		s.AddPipeline(p)
		past := time.Now().Add(-time.Hour)
		s.AddRun(p.UUID, past)
		for _, run := range anyImport.FindAllStringSubmatch(text, -1) {
			for _, final := range p.Tasks {
				s.AddRows(ylemtest.Row{PipelineUUID: p.UUID, PipelineRunUUID: run[1], TaskUUID: final.UUID, IsSuccessful: true, ExecutedAt: past})
			}
		}
	}
}

// withCertificates is a sandbox like s that is reached with TLS and a client certificate, which are put beside the
// configuration.
func (s *sandbox) withCertificates(t *testing.T, files map[string]string) *sandbox {
	t.Helper()
	authority := newKeyPair(t, nil)
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	s = newSandbox(t, ylemtest.WithTLS(pool))
	client := newKeyPair(t, authority)
	files["ca.pem"], files["client.pem"], files["client.key"] = s.CertificatePEM(), client.certPEM, client.keyPEM
	return s
}

// copyExample copies an example to a folder of the test's own, with an override file: its providers go to the
// sandbox, variables that a user must set are set, and pauses are short.
func (s *sandbox) copyExample(t *testing.T, files map[string]string) *terraform {
	t.Helper()
	tf := emptyTerraform(t)
	override := requirements + s.config("")
	for name, text := range files {
		for _, variable := range anyVariable.FindAllStringSubmatch(text, -1) {
			if !strings.Contains(variable[2], "default") {
				override += fmt.Sprintf("variable %q {\n  default = \"example\"\n}\n", variable[1])
			}
		}
		for _, alias := range anyAlias.FindAllString(text, -1) {
			override += s.provider(alias)
		}
		tf.write(t, name, anyPause.ReplaceAllString(text, `$1"100ms"`))
	}
	tf.write(t, "test_override.tf", override)
	return tf
}
