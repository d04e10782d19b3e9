//go:build unix

package provider

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// ciJob is what a CI system does for a push to the main branch, by the guide's file for it.
type ciJob struct {
	env     map[string]string
	scripts []string // each is run by a shell of its own
}

// githubJob and gitlabJob read the guide's files, with the YAML parser of terraform. (actionlint knows more of the first.)
func githubJob(t *testing.T) ciJob {
	t.Helper()
	var workflow struct {
		Permissions map[string]string
		Env         map[string]string
		Jobs        map[string]struct {
			Concurrency string
			Timeout     int `json:"timeout-minutes"`
			Steps       []struct{ Uses, Run string }
		}
	}
	decodeYAML(t, guide(t, "use-it-in-ci")["github-actions.yml"], &workflow)
	job, ok := workflow.Jobs["terraform"]
	if !ok || job.Concurrency == "" || job.Timeout == 0 || !maps.Equal(workflow.Permissions, map[string]string{"contents": "read"}) {
		t.Fatalf("a job that is alone, ends and may only read: %+v", workflow)
	}
	j := ciJob{env: workflow.Env}
	for _, step := range job.Steps {
		if step.Run != "" {
			j.scripts = append(j.scripts, step.Run)
		}
	}
	return j
}

func gitlabJob(t *testing.T) ciJob {
	t.Helper()
	type job struct {
		Stage, Timeout string
		Script         []string
		Rules          []struct{ If string }
		Group          string `json:"resource_group"`
		Artifacts      struct{ Paths []string }
	}
	var file struct {
		Image       struct{ Name string }
		Stages      []string
		Variables   map[string]string
		Plan, Apply job
	}
	decodeYAML(t, guide(t, "use-it-in-ci")["gitlab-ci.yml"], &file)
	for _, j := range []job{file.Plan, file.Apply} {
		if !slices.Contains(file.Stages, j.Stage) || len(j.Rules) != 1 || len(j.Script) == 0 {
			t.Errorf("a job without a stage, a rule or a script: %+v", j)
		}
	}
	if file.Image.Name == "" || file.Apply.Group == "" || file.Apply.Timeout == "" || !slices.Equal(file.Apply.Artifacts.Paths, []string{"summary.md"}) {
		t.Errorf("an apply that is alone, ends and keeps its summary: %+v", file)
	}
	return ciJob{env: file.Variables, scripts: []string{strings.Join(file.Apply.Script, "\n")}}
}

func decodeYAML(t *testing.T, text string, into any) {
	t.Helper()
	tf := emptyTerraform(t)
	tf.write(t, "file.yml", text)
	tf.write(t, "main.tf", "output \"file\" {\n  value = yamldecode(file(\"file.yml\"))\n}\n")
	tf.mustRun(t, 0, "apply", "-auto-approve")
	if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "output", "-json", "file")), into); err != nil {
		t.Fatal(err)
	}
}

// ciRunner runs the scripts of a job where "terraform init" finds the provider.
type ciRunner struct {
	*sandbox
	job   ciJob
	tf    *terraform
	shell terraformcli.CLI
}

func newCIRunner(t *testing.T, s *sandbox, job ciJob) *ciRunner {
	t.Helper()
	tf, bin := terraformIn(t, mirrorOfBuilt(t)), t.TempDir()
	if err := os.Symlink(tf.cli.Path, filepath.Join(bin, "terraform")); err != nil {
		t.Fatal(err)
	}
	for name, text := range guide(t, "use-it-in-ci") {
		tf.write(t, name, text)
	}
	tf.cli.Env = append(tf.cli.Env, "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH"), envURL+"="+s.URL)
	return &ciRunner{sandbox: s, job: job, tf: tf, shell: terraformcli.CLI{Path: "bash", Dir: tf.dir}}
}

// push is a push of a commit: it sets the environment of the scripts.
func (r *ciRunner) push(commit string) {
	secrets := map[string]string{envClientID: r.client.ID, envClientSecret: r.client.Secret}
	r.shell.Env = append(slices.Clone(r.tf.cli.Env), "GITHUB_STEP_SUMMARY="+filepath.Join(r.tf.dir, "summary.md"))
	for name, value := range r.job.env {
		value = strings.NewReplacer("${{ github.sha }}", commit, "$CI_COMMIT_SHA", commit).Replace(value)
		for secret, is := range secrets {
			value = strings.ReplaceAll(value, "${{ secrets."+secret+" }}", is)
		}
		r.shell.Env = append(r.shell.Env, name+"="+value)
	}
	if _, ok := r.job.env[envClientID]; !ok { // GitLab sets variables of the project unasked
		for secret, is := range secrets {
			r.shell.Env = append(r.shell.Env, secret+"="+is)
		}
	}
}

// start starts a script as a CI system does, in a shell that stops at the first failure.
func (r *ciRunner) start(t *testing.T, script string) *background {
	t.Helper()
	r.tf.write(t, "script.sh", script)
	p, err := r.shell.Start(t.Context(), "-e", "script.sh")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return &background{p}
}

// run runs all scripts until one fails.
func (r *ciRunner) run(t *testing.T) (code int, output string) {
	t.Helper()
	for _, script := range r.job.scripts {
		var printed string
		code, printed = r.start(t, script).wait(t)
		if output += printed; code != 0 {
			break
		}
	}
	return code, output
}

func (r *ciRunner) mustRun(t *testing.T) {
	t.Helper()
	if code, output := r.run(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, output)
	}
}

var ciJobs = map[string]func(*testing.T) ciJob{"GitHub": githubJob, "GitLab": gitlabJob}

// The jobs of the guide on CI run the pipeline once for each commit, behind a gate, and write a summary.
func TestGuideRunsInCI(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	for name, read := range ciJobs {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			text := guide(t, "use-it-in-ci")["main.tf"]
			s.addExamplePipelines(text)
			r := newCIRunner(t, s, read(t))
			r.push("0123abcd")
			r.mustRun(t)
			r.mustRun(t) // the job is repeated
			runs := s.Runs("")
			if started := s.count(ylemtest.RouteRun); started != 1 || !strings.Contains(string(runs[len(runs)-1].Input), `{"_idempotency_key":"0123abcd/`) {
				t.Fatalf("%d runs were started for a commit, want 1 with its key: %+v", started, runs)
			}
			summary, err := os.ReadFile(filepath.Join(r.tf.dir, "summary.md"))
			if err != nil || !strings.Contains(string(summary), "### Migration: succeeded\n") || !strings.Contains(string(summary), "| succeeded |") {
				t.Errorf("the summary does not show the run: %v\n%s", err, summary)
			}
			r.push("4567cdef")
			r.mustRun(t)
			if started := s.count(ylemtest.RouteRun); started != 2 {
				t.Errorf("%d runs were started for two commits", started)
			}

			s.addAiling(text)
			r.push("89abef01")
			if code, output := r.run(t); code != 1 || !loosely("or a run failed").MatchString(output) || s.count(ylemtest.RouteRun) != 2 {
				t.Errorf("the gate is open: exit code %d, %d runs:\n%s", code, s.count(ylemtest.RouteRun), output)
			}
		})
	}
}

// A job that is canceled in a wait leaves the run to the next one: the signals arrive where the CI system sends them.
func TestGuideIsCanceledInCI(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	for name, signal := range map[string]func(*background) error{
		"GitHub": func(b *background) error { return b.Signal(os.Interrupt) }, // the process of the step alone
		"GitLab": func(b *background) error { return b.SignalGroup(syscall.SIGTERM) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := &ylemtest.Clock{}
			s := newSandbox(t, ylemtest.WithClock(clock.Now))
			uuids := anyUUID.FindAllString(guide(t, "use-it-in-ci")["main.tf"], -1)
			s.AddPipeline(ylemtest.Pipeline{UUID: uuids[0], Tasks: []ylemtest.Task{{}}})
			s.AddRun(uuids[0], time.Now().Add(-time.Hour))
			s.AddPipeline(ylemtest.Pipeline{UUID: uuids[1], Tasks: []ylemtest.Task{{Type: "external_trigger"}, {UUID: uuids[2], Duration: time.Hour}, {UUID: uuids[3]}}})
			r := newCIRunner(t, s, ciJobs[name](t))
			r.push("0123abcd")
			for _, script := range r.job.scripts {
				b := r.start(t, script)
				if !strings.Contains(script, "terraform apply") {
					if code, output := b.wait(t); code != 0 {
						t.Fatalf("exit code %d:\n%s", code, output)
					}
					continue
				}
				b.eventually(t, "the run is started", func() bool { return s.count(ylemtest.RouteRun) == 1 })
				if err := signal(b); err != nil {
					t.Fatal(err)
				}
				if code, output := b.wait(t); code != 1 || !loosely("Stopped waiting for the run").MatchString(output) {
					t.Errorf("exit code %d:\n%s", code, output)
				}
				break
			}
			clock.Advance(2 * time.Hour)
			r.mustRun(t)
			if started := s.count(ylemtest.RouteRun); started != 1 {
				t.Errorf("%d runs were started, want 1", started)
			}
		})
	}
}
