package provider

import (
	"archive/zip"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// installCommands are the examples' commands that begin with "terraform init", and what is exported for them.
var installCommands = []string{"quick-start/environment.sh", "quick-start/run.sh", "guides/install-from-a-mirror/init.sh"}

// The provider is installed from a filesystem mirror in either of its two forms, and the commands of the quick start
// and of the guide do what they say, "terraform init" included.
func TestInstallFromAMirror(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		place    func(t *testing.T, mirror, version, binary string)
		version  string
		commands string
		runs     int
	}{
		"unpacked": {unpacked, "0.0.1", "guides/install-from-a-mirror/init.sh", 0},
		"packed":   {packed, "1.2.3", "quick-start/run.sh", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			binary := buildProvider(t, test.version)
			files := readExample(t, filepath.Join(examples, filepath.Dir(test.commands)))
			s := newSandbox(t)
			s.addExamplePipelines(files["main.tf"])

			mirror := filepath.Join(t.TempDir(), "mirror")
			test.place(t, filepath.Join(mirror, registry(), "ylem-co", "ylem"), test.version, binary)
			const path = "/usr/local/share/terraform/providers"
			config, err := os.ReadFile(filepath.Join(examples, "guides/install-from-a-mirror/mirror.tfrc"))
			if err != nil || !strings.Contains(string(config), path) {
				t.Fatalf("the guide's configuration does not name %s: %v", path, err)
			}
			tf := terraformIn(t, strings.NewReplacer(path, filepath.ToSlash(mirror), "registry.terraform.io", registry()).Replace(string(config)),
				"TF_CLI_ARGS_apply=-auto-approve", envURL+"="+s.URL, envClientID+"="+s.client.ID, envClientSecret+"="+s.client.Secret)
			tf.write(t, "main.tf", anyPause.ReplaceAllString(files["main.tf"], `$1"100ms"`))

			for line := range strings.Lines(files[filepath.Base(test.commands)]) {
				if command, ok := strings.CutPrefix(line, "terraform "); ok {
					tf.mustRun(t, 0, strings.Fields(command)...)
				}
			}
			if n := s.count(ylemtest.RouteRun); n != test.runs {
				t.Errorf("%d runs were started, want %d", n, test.runs)
			}
			if out := tf.mustRun(t, 0, "version"); !strings.Contains(out, registry()+"/ylem-co/ylem v"+test.version) {
				t.Errorf("not the version that was installed:\n%s", out)
			}
			// The version that the release puts into the binary is the one that Ylem sees.
			for _, request := range s.Requests(ylemtest.RouteRun) {
				if agent := request.Header.Get("User-Agent"); !strings.HasPrefix(agent, "terraform-provider-ylem/"+test.version+" Terraform/") {
					t.Errorf("user agent %q", agent)
				}
			}
		})
	}
}

// A module without required_providers of its own makes Terraform look for another provider, as the pages warn.
func TestEveryModuleNeedsRequiredProviders(t *testing.T) {
	t.Parallel()
	const module = "data \"ylem_pipeline_last_run\" \"any\" {\n  pipeline_uuid = \"b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c\"\n}\n"
	config := mirrorOfBuilt(t)
	for requires, code := range map[string]int{"": 1, requirements: 0} {
		tf := terraformIn(t, config)
		if err := os.Mkdir(filepath.Join(tf.dir, "child"), 0o700); err != nil {
			t.Fatal(err)
		}
		tf.write(t, "main.tf", requirements+"module \"child\" {\n  source = \"./child\"\n}\n")
		tf.write(t, "child/main.tf", requires+module)
		if stdout, stderr, got := tf.run(t, "init", "-no-color"); got != code || strings.Contains(stderr, "hashicorp/ylem") != (code != 0) {
			t.Errorf("required_providers %q: exit code %d, want %d:\n%s%s", requires, got, code, stdout, stderr)
		}
	}
}

// mirrorOfBuilt returns a command-line configuration with which "terraform init" finds the built provider, and no other.
func mirrorOfBuilt(t *testing.T) string {
	t.Helper()
	needsTerraform(t)
	mirror := filepath.Join(t.TempDir(), "mirror")
	binary := filepath.Join(t.TempDir(), filepath.Base(builtProvider(t)))
	if err := os.Link(builtProvider(t), binary); err != nil {
		t.Fatal(err)
	}
	unpacked(t, filepath.Join(mirror, registry(), "ylem-co", "ylem"), "0.0.1", binary)
	return fmt.Sprintf("provider_installation {\n  filesystem_mirror {\n    path = %q\n  }\n}\n", filepath.ToSlash(mirror))
}

// registry is the host under which the terraform at hand looks for providers.
func registry() string {
	if strings.Contains(os.Getenv("TF_ACC_PROVIDER_HOST"), "opentofu") {
		return "registry.opentofu.org"
	}
	return "registry.terraform.io"
}

// buildProvider builds the binary as a release does, under its name and with the version put in.
func buildProvider(t *testing.T, version string) string {
	t.Helper()
	needsTerraform(t)
	release, err := os.ReadFile(filepath.Join(root, ".goreleaser.yml"))
	if err != nil {
		t.Fatal(err)
	}
	flags := regexp.MustCompile(`ldflags: \["(.*)"\]`).FindSubmatch(release)
	if flags == nil {
		t.Fatal("no ldflags in .goreleaser.yml")
	}
	binary := filepath.Join(t.TempDir(), terraformcli.Executable("terraform-provider-ylem_v"+version))
	ldflags := strings.ReplaceAll(string(flags[1]), "{{ .Version }}", version)
	if err := terraformcli.BuildAs(t.Context(), binary, terraformcli.Module, "-trimpath", "-ldflags="+ldflags); err != nil {
		t.Fatal(err)
	}
	return binary
}

func unpacked(t *testing.T, mirror, version, binary string) {
	t.Helper()
	folder := filepath.Join(mirror, version, runtime.GOOS+"_"+runtime.GOARCH)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(binary, filepath.Join(folder, filepath.Base(binary))); err != nil {
		t.Fatal(err)
	}
}

// packed makes the zip file that a release has.
func packed(t *testing.T, mirror, version, binary string) {
	t.Helper()
	if err := os.MkdirAll(mirror, 0o755); err != nil {
		t.Fatal(err)
	}
	file, err := os.Create(filepath.Join(mirror, fmt.Sprintf("terraform-provider-ylem_%s_%s_%s.zip", version, runtime.GOOS, runtime.GOARCH)))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	archive := zip.NewWriter(file)
	header := &zip.FileHeader{Name: filepath.Base(binary), Method: zip.Store} // to deflate takes long with the race detector
	header.SetMode(0o755)
	packed, err := archive.CreateHeader(header)
	if err == nil {
		_, err = packed.Write(content)
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := archive.Close(); err != nil {
		t.Fatal(err)
	}
	if err := file.Close(); err != nil {
		t.Fatal(err)
	}
}

// Started with -debug, as under a debugger, the provider says how terraform attaches to it. Neither "terraform init" nor a
// command-line configuration is needed then, and the provider sees the environment of its own process.
func TestAttachToADebuggedProvider(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	s := newSandbox(t)
	tf := terraformIn(t, "")
	tf.attach(t, builtProvider(t), envURL+"="+s.URL, envClientID+"="+s.client.ID, envClientSecret+"="+s.client.Secret)
	tf.write(t, "main.tf", attachedRequirements+
		"data \"ylem_pipeline_last_run\" \"any\" {\n  pipeline_uuid = \"b3a1f0c4-52d7-4a8e-9c1b-7e6d5f4a3b2c\"\n}\n")
	tf.mustRun(t, 0, "plan")
	if n := s.count(ylemtest.RouteLastRun); n != 1 {
		t.Errorf("%d requests reached the sandbox, want 1", n)
	}
}
