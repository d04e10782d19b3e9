//go:build unix

package provider

import (
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// signalGroup sends a signal to terraform and its providers, as CI systems do.
func (b *background) signalGroup(t *testing.T, signal syscall.Signal) {
	t.Helper()
	if err := b.SignalGroup(signal); err != nil {
		t.Fatal(err)
	}
}

// CI systems, systemd and timeout(1) signal the whole process group.
func TestAccWaitIsEndedBySignalsToTheGroup(t *testing.T) {
	t.Parallel()
	for name, signal := range map[string]syscall.Signal{"SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := newInterrupted(t, waitingNow)
			for range 2 { // the first wait, and a resumed one
				i.ResetRequests()
				b := i.terraform.start(t, "apply", "-auto-approve")
				b.eventually(t, "the run is polled", func() bool { return i.count(ylemtest.RouteLogs) >= 3 })
				b.signalGroup(t, signal)
				if code, output := b.wait(t); code == 0 || !loosely("Stopped waiting for the run").MatchString(output) || !loosely("The next apply resumes waiting").MatchString(output) {
					t.Errorf("exit code %d:\n%s", code, output)
				}
				i.expectOneRun(t, "pending")
			}
			i.finish(t)
		})
	}
}

func TestAccStartIsEndedBySIGTERMToTheGroup(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "provider.log")
	i := newInterrupted(t, "", "TF_LOG_PROVIDER=TRACE", "TF_LOG_PATH="+log)
	g := newGate(t, i.sandbox, http.MethodPost)
	i.write(t, "main.tf", requirements+strings.Replace(i.sandbox.run(i.pipeline, waitingNow), i.URL, g.url, 1))
	b := i.terraform.start(t, "apply", "-auto-approve")
	b.eventually(t, "the run is asked for", func() bool { return len(g.arrived) == 1 })
	b.signalGroup(t, syscall.SIGTERM)
	b.eventuallyLogged(t, log, "Served request.*StopProvider")
	close(g.release)
	if code, output := b.wait(t); code == 0 || !loosely("Stopped waiting for the run").MatchString(output) {
		t.Errorf("exit code %d:\n%s", code, output)
	}
	i.expectOneRun(t, "pending")
	i.finish(t)
}

// eventuallyLogged waits until a line of the log matches.
func (b *background) eventuallyLogged(t *testing.T, log, pattern string) {
	t.Helper()
	line := regexp.MustCompile(pattern)
	b.eventually(t, "the log says "+pattern, func() bool {
		logged, _ := os.ReadFile(log)
		return line.Match(logged)
	})
}

const waitingActionConfig = `
action "ylem_pipeline_run" "this" {
  config {
    pipeline_uuid       = "PIPELINE"
    wait_for_completion = true
    completion          = { poll_interval = "100ms" }
  }
}
resource "terraform_data" "this" {
  lifecycle {
    action_trigger {
      events  = [after_create]
      actions = [action.ylem_pipeline_run.this]
    }
  }
}
`

// An action that is interrupted fails and names its run: there is no state to resume from.
func TestAccActionIsInterrupted(t *testing.T) {
	t.Parallel()
	needsTerraform(t)
	needs(t, actions)
	for name, test := range map[string]struct {
		signal syscall.Signal
		invoke bool // instead of triggering it
		early  bool // before the answer to the start
	}{
		"triggered, SIGINT":           {signal: syscall.SIGINT},
		"triggered, SIGTERM":          {signal: syscall.SIGTERM},
		"invoked, SIGINT":             {signal: syscall.SIGINT, invoke: true},
		"invoked, SIGTERM":            {signal: syscall.SIGTERM, invoke: true},
		"triggered, starting, SIGINT": {signal: syscall.SIGINT, early: true},
		"invoked, starting, SIGTERM":  {signal: syscall.SIGTERM, invoke: true, early: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			pipeline := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Unended: true}}}).UUID
			g := newGate(t, s, http.MethodPost)
			if !test.early {
				close(g.release)
			}
			config := requirements + strings.Replace(s.config(strings.Replace(waitingActionConfig, "PIPELINE", pipeline, 1)), s.URL, g.url, 1)
			log := filepath.Join(t.TempDir(), "provider.log")
			tf := emptyTerraform(t, "TF_LOG_PROVIDER=TRACE", "TF_LOG_PATH="+log)
			tf.write(t, "main.tf", config)
			arguments := []string{"apply", "-auto-approve"}
			if test.invoke {
				arguments = append(arguments, "-invoke=action.ylem_pipeline_run.this")
			}
			b := tf.start(t, arguments...)
			if test.early {
				b.eventually(t, "the run is asked for", func() bool { return len(g.arrived) == 1 })
				b.signalGroup(t, test.signal)
				b.eventuallyLogged(t, log, "Received request.*StopProvider")
				close(g.release)
			} else {
				b.eventually(t, "the run is polled", func() bool { return s.count(ylemtest.RouteLogs) >= 3 })
				b.signalGroup(t, test.signal)
			}
			code, output := b.wait(t)
			runs := s.Runs(pipeline)
			if len(runs) != 1 {
				t.Fatalf("%d runs\n%s", len(runs), output)
			}
			if code == 0 || !loosely("Stopped waiting for the run").MatchString(output) || !strings.Contains(output, runs[0].UUID) {
				t.Errorf("exit code %d:\n%s", code, output)
			}
		})
	}
}
