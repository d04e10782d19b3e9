package provider

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylem"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylem/follow"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// now is the sandbox's time as long as it has no clock of its own.
func (s *sandbox) now() time.Time { return time.Now() }

// tasks are the UUIDs of a pipeline's tasks.
func (s *sandbox) tasks(pipelineUUID string) (uuids []string) {
	s.UpdatePipeline(pipelineUUID, func(p *ylemtest.Pipeline) {
		for _, task := range p.Tasks {
			uuids = append(uuids, task.UUID)
		}
	})
	return uuids
}

// resetRequests is a plan check that lets the sandbox forget the requests so far.
type resetRequests struct{ s *sandbox }

func (r resetRequests) CheckPlan(context.Context, plancheck.CheckPlanRequest, *plancheck.CheckPlanResponse) {
	r.s.ResetRequests()
}

// patience is how long to wait for what only a broken provider does not do. Where a terraform command does it, use
// background.eventually, which does not wait for one that has ended.
const patience = time.Minute

// happens waits until something has happened, and reports whether it did.
func happens(happened func() bool) bool {
	for deadline := time.Now().Add(patience); !happened(); {
		if time.Now().After(deadline) {
			return false
		}
		time.Sleep(5 * time.Millisecond) // between two looks
	}
	return true
}

// eventually waits until something has happened, and fails the test where it does not.
func eventually(t *testing.T, what string, happened func() bool) {
	t.Helper()
	if !happens(happened) {
		t.Fatalf("did not happen within %s: %s", patience, what)
	}
}

// loosely matches a text wherever terraform broke its lines.
func loosely(text string) *regexp.Regexp {
	words := strings.Fields(text)
	for i, word := range words {
		words[i] = regexp.QuoteMeta(word)
	}
	return regexp.MustCompile(strings.Join(words, `(?:[\s│|]|\x1b\[[0-9;]*m)+`))
}

// slow is a pipeline whose only task takes an hour, which the test moves the clock on for.
func (s *sandbox) slow() string {
	return s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Duration: time.Hour}}}).UUID
}

const (
	pollQuickly = `completion = { poll_interval = "100ms" }`
	waitingNow  = "wait_for_completion = true\n" + pollQuickly
	waitBriefly = "wait_for_completion = true\ncompletion = { poll_interval = \"100ms\", quiet_period = \"200ms\" }" + "\ntimeouts {\n  create = \"300ms\"\n  update = \"300ms\"\n}"
)

func TestAccWaitSucceeds(t *testing.T) {
	s := newSandbox(t)
	first, second := ylemtest.NewUUID(), ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
		{UUID: first, Duration: 30 * time.Millisecond, Type: "query"},
		{UUID: second, Duration: 50 * time.Millisecond, Type: "transformer", After: []string{first}},
	}}).UUID
	tasks := knownvalue.ListExact([]knownvalue.Check{
		knownvalue.ObjectPartial(map[string]knownvalue.Check{
			"task_uuid": text(first), "task_type": text("query"), "state": text("succeeded"), "is_successful": knownvalue.Bool(true),
			"duration": knownvalue.Int64Exact(30), "executed_at": knownvalue.NotNull(), "errors": knownvalue.ListExact(nil), "task_run_uuid": knownvalue.Null(),
		}),
		knownvalue.ObjectPartial(map[string]knownvalue.Check{"task_uuid": text(second), "duration": knownvalue.Int64Exact(50)}),
	})
	acceptance(
		t,
		s.step(t, s.run(p, fmt.Sprintf("wait_for_completion = true\ncompletion = { final_task_uuids = [%q], poll_interval = \"100ms\" }", strings.ToUpper(second))), firstRun, 1,
			has("status", text("succeeded")), has("is_successful", knownvalue.Bool(true)), has("duration", knownvalue.Int64Exact(80)),
			has("finished_at", knownvalue.NotNull()), has("task_runs", tasks)),
		s.step(t, s.run(p, "wait_for_completion = true\ntriggers = { a = 1 }\ncompletion = { quiet_period = \"1s\", poll_interval = \"100ms\" }"), newRun, 2,
			has("status", text("succeeded")), has("task_runs", tasks)),
	)
}

func TestAccWaitOfTheReferenceDialectKeepsTheTaskRuns(t *testing.T) {
	s := newSandbox(t, ylemtest.WithDialect(ylemtest.Reference))
	first, second := ylemtest.NewUUID(), ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: first}, {UUID: second, Unended: true}}}).UUID
	acceptance(t, s.step(t, s.run(p, fmt.Sprintf("wait_for_completion = true\ncompletion = { final_task_uuids = [%q], poll_interval = \"100ms\" }", first)), firstRun, 1,
		has("status", text("succeeded")),
		has("task_runs", knownvalue.ListExact([]knownvalue.Check{
			knownvalue.ObjectPartial(map[string]knownvalue.Check{"task_uuid": text(first), "state": text("succeeded"), "task_run_uuid": knownvalue.NotNull()}),
			knownvalue.ObjectPartial(map[string]knownvalue.Check{"task_uuid": text(second), "state": text("pending"), "task_run_uuid": knownvalue.NotNull()}),
		}))))
}

func TestAccWaitNoticesFailure(t *testing.T) {
	s := newSandbox(t)
	failing := ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
		{UUID: failing, Type: "query", Errors: []ylemtest.TaskError{{Code: 204, Message: "no such table: orders\n" + strings.Repeat("x", 5000)}}},
		{Unended: true}, // a branch that runs on
	}}).UUID
	acceptance(
		t,
		resource.TestStep{
			Config:      s.run(p, waitingNow),
			ExpectError: regexp.MustCompile(`(?s)The run failed.*` + p + `.*Task\s+` + failing + `\s+\(query\):\s+error\s+204:\s+no\s+such\s+table:\s+orders.*the\s+next\s+apply\s+starts\s+a\s+new\s+run`),
		},
		resource.TestStep{ // tainted: the next apply starts anew
			Config:           s.run(p, waitingNow),
			ConfigPlanChecks: planned(newRun),
			ExpectError:      loosely("The run failed"),
		},
		s.step(t, s.run(p, waitingNow+"\non_failure = \"warn\""), newRun, 3,
			has("status", text("failed")), has("is_successful", knownvalue.Bool(false)), has("task_runs", knownvalue.ListPartial(map[int]knownvalue.Check{
				0: knownvalue.ObjectPartial(map[string]knownvalue.Check{"state": text("failed"), "errors": knownvalue.ListPartial(map[int]knownvalue.Check{
					0: knownvalue.ObjectPartial(map[string]knownvalue.Check{"code": knownvalue.Int64Exact(204), "severity": text("error")}),
				})}),
			}))),
		s.step(t, s.run(p, waitingNow+"\non_failure = \"warn\""), nothing, 3),
		s.step(t, s.run(p, pollQuickly), inPlace, 3), // no wait any more
		resource.TestStep{ // a failed run that is no longer accepted, or perhaps not
			Config: s.run(p, waitingNow), ConfigPlanChecks: planned(newRun), ExpectError: loosely("The run failed"),
		},
	)
}

func TestAccWaitIsTurnedOnLater(t *testing.T) {
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	p := s.slow()
	acceptance(
		t,
		s.step(t, s.run(p, pollQuickly), firstRun, 1, has("status", text("pending"))),
		resource.TestStep{
			PreConfig: func() {
				s.ResetRequests()
				go func() { // the run ends during the wait
					defer clock.Advance(2 * time.Hour)
					if !happens(func() bool { return s.count(ylemtest.RouteLogs) >= 4 }) {
						t.Error("the run is not waited for")
					}
				}()
			},
			Config: s.run(p, "wait_for_completion = true\ncompletion = { poll_interval = \"100ms\", quiet_period = \"1s\" }"),
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectResourceAction(runAddress, inPlace), plancheck.ExpectUnknownValue(runAddress, tfjsonpath.New("status")),
			}},
			PostApplyFunc: s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 0}),
		},
		resource.TestStep{RefreshState: true},
	)
	if runs := s.Runs(p); len(runs) != 1 {
		t.Errorf("%d runs", len(runs))
	}
}

func TestAccWaitNoticesFailureInARefresh(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
	acceptance(
		t,
		resource.TestStep{Config: s.run(p, "")},
		resource.TestStep{Config: s.run(p, ""), PreConfig: func() {
			eventually(t, "the run fails", func() bool { return len(s.Rows(s.Runs(p)[0].UUID)) == 1 })
		}},
		s.step(t, s.run(p, ""), nothing, 1, has("status", text("failed"))),
		resource.TestStep{Config: s.run(p, waitingNow), ConfigPlanChecks: planned(newRun), ExpectError: loosely("The run failed")},
	)
}

func TestAccWaitTimesOutWithAWarning(t *testing.T) {
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	p := s.slow()
	config := s.run(p, waitBriefly+"\non_timeout = \"warn\"")
	acceptance(
		t,
		resource.TestStep{
			Config: config, ConfigPlanChecks: planned(firstRun), ExpectNonEmptyPlan: true, // it resumes waiting
			PostApplyFunc: s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1}),
		},
		resource.TestStep{Config: config, ConfigPlanChecks: planned(inPlace), ExpectNonEmptyPlan: true},
		resource.TestStep{
			PreConfig:        func() { clock.Advance(2 * time.Hour) },
			Config:           config,
			ConfigPlanChecks: planned(nothing), // the refresh has found the end
			PostApplyFunc:    s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1}),
		},
	)
}

func TestAccWrongLocalClockChangesNothing(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]time.Duration{"an hour ahead": -time.Hour, "an hour behind": time.Hour} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t, ylemtest.WithClock(func() time.Time { return time.Now().Add(wrong) }))
			p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{}}}).UUID
			again := s.run(p, "triggers = { a = 1 }\ncompletion = { quiet_period = \"30m\" }")
			acceptance(
				t,
				s.step(t, s.run(p, "wait_for_completion = true\ncompletion = { quiet_period = \"1s\", poll_interval = \"100ms\" }"), firstRun, 1, has("status", text("succeeded"))),
				s.step(t, again, newRun, 2),
				resource.TestStep{
					PreConfig: func() {
						eventually(t, "the run ends", func() bool { return len(s.Rows(s.Runs(p)[1].UUID)) == 1 })
					},
					RefreshState: true,
				},
				// Not succeeded: by the server's clock the run has been quiet for less than half an hour.
				s.step(t, again, nothing, 2, has("status", text("running"))),
			)
			for _, run := range s.Runs(p) {
				if since := run.StartedAt.Sub(time.Now().Add(wrong)); since.Abs() > 30*time.Minute {
					t.Errorf("the sandbox's clock is off: %s", since)
				}
			}
		})
	}
}

// Whether to wait is not known while planning: then what a wait would find out is not known either.
func TestAccWaitIsNotKnownYet(t *testing.T) {
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	p := s.slow()
	config := func(version string, wait bool) string {
		return s.config(fmt.Sprintf(`
resource "terraform_data" "wait" {
  triggers_replace = %q
  input            = %t
}
resource "ylem_pipeline_run" "test" {
  pipeline_uuid       = %q
  wait_for_completion = terraform_data.wait.output
  completion          = { poll_interval = "100ms", quiet_period = "200ms" }
  on_timeout          = "warn"
  timeouts {
    create = "300ms"
    update = "300ms"
  }
}
`, version, wait, p))
	}
	acceptance(
		t,
		s.step(t, config("v1", false), firstRun, 1, has("status", text("pending"))),
		s.step(t, config("v2", false), inPlace, 1, has("status", text("pending"))),
		resource.TestStep{Config: config("v3", true), ConfigPlanChecks: planned(inPlace), ExpectNonEmptyPlan: true},
		resource.TestStep{
			PreConfig:        func() { clock.Advance(2 * time.Hour) },
			Config:           config("v4", true),
			ConfigPlanChecks: planned(inPlace), // for wait_for_completion, not for the run
			PostApplyFunc:    s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1}),
		},
	)
}

// Whether a failed run is accepted is not known while planning: starting another one cannot be undone, so none is planned
// before it is.
func TestAccAcceptanceOfFailureIsNotKnownYet(t *testing.T) {
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
	config := func(version string) string {
		return s.config(fmt.Sprintf(`
resource "terraform_data" "policy" {
  triggers_replace = %q
  input            = "warn"
}
resource "ylem_pipeline_run" "test" {
  pipeline_uuid       = %q
  wait_for_completion = true
  completion          = { poll_interval = "100ms" }
  on_failure          = terraform_data.policy.output
}
`, version, p))
	}
	acceptance(t, s.step(t, config("v1"), firstRun, 1), s.step(t, config("v2"), inPlace, 1, has("status", text("failed"))))
}

func TestRunArgumentsThatCannotWork(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	connection := s.connect(t, nil)
	for name, test := range map[string]struct {
		more object
		part string
	}{
		"no final task":      {object{"completion": object{"final_task_uuids": []any{nil}}}, "null"},
		"negative timeout":   {object{"timeouts": object{"create": "-5m"}}, "not more than zero"},
		"timeout of nothing": {object{"timeouts": object{"update": "0s"}}, "not more than zero"},
		"endless quiet":      {object{"completion": object{"quiet_period": "20m"}}, "outlasts the timeout"},
		"quiet and timeout":  {object{"completion": object{"quiet_period": "5m"}, "timeouts": object{"create": "5m"}}, "outlasts the timeout"},
		"quiet by default":   {object{"timeouts": object{"create": "20s"}}, "outlasts the timeout"},
		"breathless polling": {object{"completion": object{"poll_interval": "99ms"}}, "less than 100ms"},
	} {
		_, diags := connection.create(t, object{"pipeline_uuid": ylemtest.NewUUID(), "wait_for_completion": true}.with(test.more))
		if !diags.failed() || !strings.Contains(diags.String(), test.part) {
			t.Errorf("%s: does not say %q: %s", name, test.part, diags)
		}
	}
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	for name, arguments := range map[string]object{
		"no wait":          {"completion": object{"quiet_period": "30m"}},
		"waits for a task": {"wait_for_completion": true, "completion": object{"final_task_uuids": []any{s.tasks(p)[0]}, "poll_interval": "100ms"}, "timeouts": object{"create": "20s"}},
	} {
		if _, diags := connection.create(t, object{"pipeline_uuid": p}.with(arguments)); len(diags) > 0 {
			t.Errorf("%s: %s", name, diags)
		}
	}
}

// A log that has lost rows, because they have aged out of it, takes nothing back.
func TestProgressTakesNothingBack(t *testing.T) {
	t.Parallel()
	const run = "95295cbc-cee7-49cc-a11a-2f1788423934"
	row := ylem.LogRow{PipelineRunUUID: run, TaskUUID: taskSubject.example, TaskType: "query", Outcome: ylem.Succeeded, ExecutedAt: time.Now()}
	assess := func(rows ...ylem.LogRow) follow.Progress {
		return follow.Assess(rows, time.Now(), time.Time{}, follow.Completion{QuietPeriod: time.Minute})
	}
	var m pipelineRunModel
	diags := m.setStarted(t.Context(), follow.Run{RunUUID: run}, nil)
	diags.Append(m.setProgress(t.Context(), assess(row))...)
	diags.Append(m.setProgress(t.Context(), assess(m.rows(t.Context(), &diags)...))...)
	if diags.HasError() || m.Status.ValueString() != "running" || len(m.TaskRuns.Elements()) != 1 {
		t.Errorf("%v, %s, %d tasks", diags, m.Status, len(m.TaskRuns.Elements()))
	}
	// A status that is taken back takes what followed from it with it.
	ended := assess(row)
	ended.Status, ended.FinishedAt = follow.Succeeded, row.ExecutedAt
	diags.Append(m.setProgress(t.Context(), ended)...)
	if m.IsSuccessful.IsNull() || m.FinishedAt.IsNull() || m.Duration.IsNull() {
		t.Errorf("%+v", m)
	}
	diags.Append(m.setProgress(t.Context(), assess(row))...)
	if diags.HasError() || !m.IsSuccessful.IsNull() || !m.FinishedAt.IsNull() || !m.Duration.IsNull() {
		t.Errorf("%v, %+v", diags, m)
	}
}

// What a state says of a failed task is enough to name its errors again.
func TestRowsOfAState(t *testing.T) {
	t.Parallel()
	errors := []ylem.TaskError{{Code: 200, Severity: "error", Message: "boom"}}
	rows := []ylem.LogRow{
		{PipelineRunUUID: pipelineSubject.example, TaskUUID: taskSubject.example, TaskType: "query", Outcome: ylem.Failed, Duration: 7, ExecutedAt: past, Output: ylem.EncodeTaskErrors(errors)},
		{PipelineRunUUID: pipelineSubject.example, TaskUUID: taskSubject.example, TaskType: "for_each", Outcome: ylem.OutcomeUnknown, ExecutedAt: past.Add(time.Second)},
	}
	var m pipelineRunModel
	diags := m.setStarted(t.Context(), follow.Run{RunUUID: pipelineSubject.example}, nil)
	diags.Append(m.setProgress(t.Context(), follow.Assess(rows, past, time.Time{}, follow.Completion{}))...)
	if got := m.rows(t.Context(), &diags); !slices.Equal(got, rows) || diags.HasError() {
		t.Errorf("%v, %+v, want %+v", diags, got, rows)
	}
}

// Tasks that the answer to a start names are still to run, whatever else it says of them.
func TestTasksOfAStart(t *testing.T) {
	t.Parallel()
	var m pipelineRunModel
	diags := m.setStarted(t.Context(), follow.Run{RunUUID: pipelineSubject.example}, []ylem.PendingTaskRun{{TaskUUID: taskSubject.example}})
	var tasks []taskRunModel
	diags.Append(m.TaskRuns.ElementsAs(t.Context(), &tasks, false)...)
	if diags.HasError() || len(tasks) != 1 || tasks[0].State != "pending" || !tasks[0].TaskRunUUID.IsNull() || len(m.rows(t.Context(), &diags)) != 0 {
		t.Errorf("%v, %+v", diags, tasks)
	}
}

// A diagnostic says how long a failed run took, and shows no more of each error than a person reads.
func TestFailureIsDescribedBriefly(t *testing.T) {
	t.Parallel()
	triggered := past
	output := func(n int) string {
		return base64.StdEncoding.EncodeToString([]byte(`[{"Code":204,"Severity":"error","Message":"` + strings.Repeat("x", n) + `"}]`))
	}
	p := follow.Progress{Status: follow.Failed, FinishedAt: triggered.Add(1250 * time.Millisecond)}
	for range 12 {
		p.Rows = append(p.Rows, ylem.LogRow{TaskUUID: taskSubject.example, TaskType: "query", Outcome: ylem.Failed, Output: output(5000)})
	}
	var diags diag.Diagnostics
	outcome{ending: waitFailed, progress: p, took: 1250 * time.Millisecond}.report(creating, onError, onError, &diags)
	if !strings.Contains(diags[0].Detail(), "failed within 1.25s") {
		t.Errorf("%s", diags[0].Detail())
	}
	described := describe(failedTasks(p))
	if lines := strings.Split(strings.TrimSpace(described), "\n"); len(lines) != 11 || len(lines[0]) > 400 || lines[10] != "and 2 more" {
		t.Errorf("%d lines, the first of %d bytes, the last %q", len(lines), len(lines[0]), lines[len(lines)-1])
	}
}

// Nothing that a log holds reaches the terminal as it is.
func TestFailureIsDescribedInPlainText(t *testing.T) {
	t.Parallel()
	const escape = "\x1b[2J"
	long := escape + strings.Repeat("x", 10_000)
	faults := make([]ylem.TaskError, 100)
	for i := range faults {
		faults[i] = ylem.TaskError{Code: 1, Severity: long, Message: long}
	}
	output, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	described := describe(failedTasks(follow.Progress{Rows: []ylem.LogRow{{TaskUUID: long, TaskType: long, Outcome: ylem.Failed, Output: base64.StdEncoding.EncodeToString(output)}}}))
	if strings.Contains(described, "\x1b") || len(described) > 5000 || !strings.HasSuffix(described, "; and 95 more\n") {
		t.Errorf("%d bytes: %.300q", len(described), described)
	}
}

// What follows needs processes to interrupt and to kill: terraform and the built provider.

// runState is the run in terraform's state: nil when there is none.
func (tf *terraform) runState(t *testing.T) (values map[string]any, tainted bool) {
	t.Helper()
	var state struct {
		Values struct {
			RootModule struct {
				Resources []struct {
					Address string         `json:"address"`
					Values  map[string]any `json:"values"`
					Tainted bool           `json:"tainted"`
				} `json:"resources"`
			} `json:"root_module"`
		} `json:"values"`
	}
	if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "show", "-json")), &state); err != nil {
		t.Fatal(err)
	}
	for _, r := range state.Values.RootModule.Resources {
		if r.Address == runAddress {
			return r.Values, r.Tainted
		}
	}
	return nil, false
}

// plan returns what terraform plans to do with the run.
func (tf *terraform) plan(t *testing.T) string {
	t.Helper()
	if _, stderr, code := tf.run(t, "plan", "-out=plan", "-detailed-exitcode"); code == 1 {
		t.Fatal(stderr)
	}
	var plan struct {
		Changes []struct {
			Address string `json:"address"`
			Change  struct {
				Actions []string `json:"actions"`
			} `json:"change"`
		} `json:"resource_changes"`
	}
	if err := json.Unmarshal([]byte(tf.mustRun(t, 0, "show", "-json", "plan")), &plan); err != nil {
		t.Fatal(err)
	}
	for _, change := range plan.Changes {
		if change.Address == runAddress {
			return strings.Join(change.Change.Actions, "+")
		}
	}
	return ""
}

// apply applies the last plan.
func (tf *terraform) apply(t *testing.T) {
	t.Helper()
	tf.mustRun(t, 0, "apply", "plan")
}

// interrupted is a sandbox with a slow run, a terraform to wait for it, and the means to end it.
type interrupted struct {
	*sandbox
	*terraform
	clock    *ylemtest.Clock
	pipeline string
}

func newInterrupted(t *testing.T, arguments string, env ...string) *interrupted {
	t.Helper()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	p := s.slow()
	return &interrupted{sandbox: s, clock: clock, pipeline: p, terraform: newTerraform(t, s.run(p, arguments), env...)}
}

// applyUntilPolled starts an apply, and returns when it waits for the run.
func (i *interrupted) applyUntilPolled(t *testing.T) *background {
	t.Helper()
	i.ResetRequests()
	b := i.start(t, "apply", "-auto-approve")
	// A resumed wait follows a refresh, which also reads the log.
	b.eventually(t, "the wait polls", func() bool { return i.count(ylemtest.RouteLogs) >= 3 })
	return b
}

// expectOneRun fails the test unless exactly one run was started, and terraform knows it.
func (i *interrupted) expectOneRun(t *testing.T, status string) {
	t.Helper()
	runs := i.Runs(i.pipeline)
	if len(runs) != 1 {
		t.Fatalf("%d runs were started, want 1", len(runs))
	}
	values, tainted := i.runState(t)
	if tainted || values["id"] != runs[0].UUID || values["status"] != status {
		t.Errorf("the state holds run %v, %v (tainted: %t), want %s, %s", values["id"], values["status"], tainted, runs[0].UUID, status)
	}
}

// finish lets the run end, and expects that an apply only waits for it.
func (i *interrupted) finish(t *testing.T) {
	t.Helper()
	if action := i.terraform.plan(t); action != "update" {
		t.Errorf("the next plan is to %s, want an update in place", action)
	}
	i.clock.Advance(2 * time.Hour)
	i.terraform.apply(t)
	i.expectOneRun(t, "succeeded")
	if action := i.terraform.plan(t); action != "no-op" {
		t.Errorf("the plan after that is to %s", action)
	}
}

func TestAccWaitIsInterrupted(t *testing.T) {
	t.Parallel()
	i := newInterrupted(t, waitingNow)
	for range 2 { // the first wait, and a resumed one
		b := i.applyUntilPolled(t)
		if err := b.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		if code, output := b.wait(t); code == 0 || !loosely("Stopped waiting for the run").MatchString(output) || !loosely("The next apply resumes waiting").MatchString(output) {
			t.Errorf("exit code %d:\n%s", code, output)
		}
		i.expectOneRun(t, "pending")
	}
	i.finish(t)
}

func TestAccWaitTimesOutWithAnError(t *testing.T) {
	t.Parallel()
	i := newInterrupted(t, waitBriefly)
	stdout, stderr, code := i.terraform.run(t, "apply", "-auto-approve")
	for _, want := range []string{"The run outlasted the timeout", "has not finished within 300ms", "no task has reported yet", "terraform untaint"} {
		if code != 1 || !loosely(want).MatchString(stderr) {
			t.Errorf("exit code %d, no %q:\n%s%s", code, want, stdout, stderr)
		}
	}
	if _, tainted := i.runState(t); !tainted {
		t.Error("terraform does not mark the run as tainted any more: the advice to untaint is out of date")
	}
	if action := i.terraform.plan(t); action != "delete+create" {
		t.Errorf("without untaint, the plan is to %s", action)
	}
	i.mustRun(t, 0, "untaint", runAddress)
	i.expectOneRun(t, "pending")

	// The resumed wait may run out of time as well: an update is not tainted.
	if stdout, stderr, code := i.terraform.run(t, "apply", "-auto-approve"); code != 1 || !loosely("The next apply resumes waiting").MatchString(stderr) {
		t.Errorf("exit code %d:\n%s%s", code, stdout, stderr)
	}
	i.expectOneRun(t, "pending")
	if action := i.terraform.plan(t); action != "update" {
		t.Errorf("the plan after that is to %s", action)
	}

	// With time enough to see the end.
	i.write(t, "main.tf", requirements+i.sandbox.run(i.pipeline, strings.Replace(waitBriefly, `update = "300ms"`, `update = "5m"`, 1)))
	i.finish(t)
}

// Ctrl-C while the answer to the start is on its way: the run is known all the same.
func TestAccStartIsInterrupted(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "provider.log")
	i := newInterrupted(t, "", "TF_LOG_PROVIDER=TRACE", "TF_LOG_PATH="+log)
	g := newGate(t, i.sandbox, http.MethodPost)
	i.write(t, "main.tf", requirements+strings.Replace(i.sandbox.run(i.pipeline, waitingNow), i.URL, g.url, 1))
	b := i.terraform.start(t, "apply", "-auto-approve")
	b.eventually(t, "the run is asked for", func() bool { return len(g.arrived) == 1 })
	if err := b.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	stopped := regexp.MustCompile("Served request.*StopProvider")
	b.eventually(t, "the provider is stopped", func() bool {
		logged, _ := os.ReadFile(log)
		return stopped.Match(logged)
	})
	close(g.release)
	if code, output := b.wait(t); code == 0 || !loosely("Stopped waiting for the run").MatchString(output) {
		t.Errorf("exit code %d:\n%s", code, output)
	}
	if n := i.count(ylemtest.RouteLogs); n != 0 {
		t.Errorf("%d requests for the log: it was not the start that was interrupted", n)
	}
	i.expectOneRun(t, "pending")
	i.finish(t)
}

// The advice that the errors give leads where they say.
func TestAccAdviceIsTrue(t *testing.T) {
	t.Parallel()
	t.Run("accept a failed run", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
		tf := newTerraform(t, s.run(p, waitingNow))
		_, stderr, _ := tf.run(t, "apply", "-auto-approve")
		if !loosely(`set on_failure = "warn" and run terraform untaint ADDRESS`).MatchString(stderr) {
			t.Error(stderr)
		}
		tf.write(t, "main.tf", requirements+s.run(p, waitingNow+"\non_failure = \"warn\""))
		tf.mustRun(t, 0, "untaint", runAddress)
		tf.mustRun(t, 0, "apply", "-auto-approve")
		tf.mustRun(t, 0, "plan", "-detailed-exitcode")
		if n := s.count(ylemtest.RouteRun); n != 1 {
			t.Errorf("%d runs", n)
		}

		// It is not accepted any more: the plan says why it starts another.
		tf.write(t, "main.tf", requirements+s.run(p, waitingNow))
		if plan := tf.mustRun(t, 2, "plan", "-detailed-exitcode"); !loosely("The run failed, and a new one is planned").MatchString(plan) || !loosely("boom").MatchString(plan) {
			t.Error(plan)
		}
	})
	t.Run("accepted at once", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
		tf := newTerraform(t, s.run(p, waitingNow+"\non_failure = \"warn\""))
		if output := tf.mustRun(t, 0, "apply", "-auto-approve"); !loosely(`on_failure = "warn" accepts it`).MatchString(output) || loosely("starts a new run").MatchString(output) {
			t.Error(output)
		}
	})
	t.Run("imported after it failed", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
		run := s.AddRun(p, time.Now().Add(-time.Hour))
		tf := newTerraform(t, s.run(p, waitingNow))
		tf.mustRun(t, 0, "import", runAddress, p+"/"+run.UUID)
		if output := tf.mustRun(t, 0, "apply", "-auto-approve"); !loosely("The imported run failed").MatchString(output) ||
			!loosely("This plan starts no run, but the next one will").MatchString(output) || s.count(ylemtest.RouteRun) != 0 {
			t.Errorf("%d runs: %s", s.count(ylemtest.RouteRun), output)
		}
		if action := tf.plan(t); action != "delete+create" {
			t.Errorf("the next plan is to %s", action)
		}
	})
	t.Run("scope lost", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		p := s.slow()
		s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Status: 403, Header: http.Header{"Content-Type": nil}})
		tf := newTerraform(t, s.run(p, waitingNow+"\non_timeout = \"warn\""))
		if _, stderr, code := tf.run(t, "apply", "-auto-approve"); code != 1 || !loosely("lacks the scope stats:read").MatchString(stderr) || !loosely("terraform untaint").MatchString(stderr) {
			t.Errorf("exit code %d: %s", code, stderr)
		}
		tf.mustRun(t, 0, "untaint", runAddress)
		if action := tf.plan(t); action != "update" {
			t.Errorf("untainted, the plan is to %s", action)
		}
	})
	t.Run("failed in the meantime", func(t *testing.T) {
		t.Parallel()
		clock := &ylemtest.Clock{}
		s := newSandbox(t, ylemtest.WithClock(clock.Now))
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Duration: time.Hour, Errors: []ylemtest.TaskError{{Message: "boom"}}}}}).UUID
		tf := newTerraform(t, s.run(p, waitBriefly+"\non_timeout = \"warn\""))
		if output := tf.mustRun(t, 0, "apply", "-auto-approve"); !loosely("If the run has failed by then, it starts a new run").MatchString(output) {
			t.Error(output)
		}
		clock.Advance(2 * time.Hour)
		if plan := tf.mustRun(t, 2, "plan", "-detailed-exitcode"); !loosely("The run failed, and a new one is planned").MatchString(plan) || !loosely("boom").MatchString(plan) {
			t.Error(plan)
		}
	})
}

func TestAccProviderIsKilledInAResumedWait(t *testing.T) {
	t.Parallel()
	i := newInterrupted(t, pollQuickly)
	i.mustRun(t, 0, "apply", "-auto-approve")
	i.write(t, "main.tf", requirements+i.sandbox.run(i.pipeline, waitingNow))
	b := i.applyUntilPolled(t)
	b.signalProvider(t, os.Kill)
	if code, output := b.wait(t); code == 0 {
		t.Errorf("terraform did not notice:\n%s", output)
	}
	i.expectOneRun(t, "pending")
	i.finish(t)
}

func TestAccProviderIsKilledInTheFirstWait(t *testing.T) {
	t.Parallel()
	log := filepath.Join(t.TempDir(), "provider.log")
	i := newInterrupted(t, waitingNow, "TF_LOG_PROVIDER=INFO", "TF_LOG_PATH="+log)
	b := i.applyUntilPolled(t)
	b.signalProvider(t, os.Kill)
	if code, output := b.wait(t); code == 0 {
		t.Errorf("terraform did not notice:\n%s", output)
	}
	if values, _ := i.runState(t); values["id"] != nil {
		t.Fatalf("terraform has stored %v of a creation that did not return: the documentation is out of date", values["id"])
	}

	// The log knows the run.
	logged, err := os.ReadFile(log)
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`Started run (\S+) of pipeline ([0-9a-f-]+)`).FindSubmatch(logged)
	if found == nil || string(found[1]) != i.Runs(i.pipeline)[0].UUID || string(found[2]) != i.pipeline {
		t.Fatalf("the log does not name the run: %q\n%s", found, logged)
	}
	if values, tainted := i.runState(t); tainted || values != nil {
		i.mustRun(t, 0, "state", "rm", runAddress)
	}
	_, stderr, code := i.terraform.run(t, "import", runAddress, i.pipeline+"/"+string(found[1]))
	if code != 1 || !loosely("import it again a little later").MatchString(stderr) {
		t.Errorf("exit code %d of an import before a task has reported:\n%s", code, stderr)
	}
	i.clock.Advance(2 * time.Hour)
	i.mustRun(t, 0, "import", runAddress, i.pipeline+"/"+string(found[1]))
	if action := i.terraform.plan(t); action != "update" {
		t.Errorf("the plan after the import is to %s", action)
	}
	i.apply(t)
	i.expectOneRun(t, "succeeded")
	if n := len(i.Requests(ylemtest.RouteRun)); n != 1 {
		t.Errorf("%d requests to run the pipeline", n)
	}
}

func TestAccForEachStartsARunOfEachPipeline(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	pipelines := []string{s.slow(), s.slow(), s.slow()}
	config := func(uuids ...string) string {
		return s.config(fmt.Sprintf(`
resource "ylem_pipeline_run" "first" {
  pipeline_uuid = %q
}
resource "ylem_pipeline_run" "each" {
  for_each      = toset(["%s"])
  pipeline_uuid = each.key
  depends_on    = [ylem_pipeline_run.first]
}
`, pipelines[0], strings.Join(uuids, `", "`)))
	}
	tf := newTerraform(t, config(pipelines[1]))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.write(t, "main.tf", requirements+config(pipelines...))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.mustRun(t, 0, "plan", "-detailed-exitcode")
	var started []string
	for _, run := range s.Runs("") {
		started = append(started, run.PipelineUUID)
	}
	if len(started) != 4 || started[0] != pipelines[0] || started[1] != pipelines[1] {
		t.Errorf("runs of %q, want one of %[2]q, then one of each of %[2]q", started, pipelines)
	}
}

func TestAccReplaceStartsOneRun(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	tf := newTerraform(t, s.run(s.AddPipeline(ylemtest.Pipeline{}).UUID, ""))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.mustRun(t, 0, "apply", "-auto-approve", "-replace="+runAddress)
	if n := s.count(ylemtest.RouteRun); n != 2 {
		t.Errorf("%d runs, want 2", n)
	}
	tf.mustRun(t, 0, "destroy", "-auto-approve")
	if n := s.count(ylemtest.RouteRun); n != 2 {
		t.Errorf("%d runs after the destruction, want 2", n)
	}
}

func TestAccImportByIdentity(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.AddPipeline(ylemtest.Pipeline{}).UUID
	run := s.AddRun(p, time.Now().Add(-time.Hour))
	tf := newTerraform(t, s.run(p, "input = \"x\"")+fmt.Sprintf("import {\n  to = %s\n  identity = {\n    pipeline_uuid = %q\n    run_uuid = %q\n  }\n}\n",
		runAddress, p, run.UUID))
	needs(t, identityImport)
	tf.mustRun(t, 0, "apply", "-auto-approve")
	if values, _ := tf.runState(t); values["id"] != run.UUID || values["status"] != "running" || values["input"] != "x" { // an end is presumed after a day
		t.Errorf("imported %v", values)
	}
	if n := s.count(ylemtest.RouteRun); n != 0 {
		t.Errorf("%d runs were started", n)
	}
	if action := tf.plan(t); action != "no-op" {
		t.Errorf("the next plan is to %s", action)
	}
}
