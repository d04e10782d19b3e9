package provider

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-testing/helper/resource"
	"github.com/hashicorp/terraform-plugin-testing/knownvalue"
	"github.com/hashicorp/terraform-plugin-testing/plancheck"
	"github.com/hashicorp/terraform-plugin-testing/statecheck"
	"github.com/hashicorp/terraform-plugin-testing/tfjsonpath"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What a run makes of unusual answers, odd rows and slow clocks.

// followed is the configuration of a run of the pipeline that ends with these tasks.
func followed(pipelineUUID string, final ...string) object {
	return object{
		"pipeline_uuid": pipelineUUID, "wait_for_completion": true, "timeouts": object{"create": "30s"},
		"completion": object{"poll_interval": "100ms", "final_task_uuids": final},
	}
}

// A run that was started is known, whatever a proxy adds to the answer.
func TestAnswerToAStartWithMore(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]ylemtest.Fault{
		"byte order mark": {Prefix: "\uFEFF"},
		"comment":         {Suffix: "<!-- served by proxy-7 -->"},
		"second document": {Suffix: "\n{\"trace\":\"0e204465\"}"},
		"a script":        {Prefix: ")]}',\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, dialect := range []ylemtest.Dialect{ylemtest.OpenSource, ylemtest.Reference} {
				s := newSandbox(t, ylemtest.WithDialect(dialect))
				fault.Route = ylemtest.RouteRun
				s.Inject(fault)
				pipeline := s.ran()
				state, diags := s.connect(t, nil).create(t, pipeline)
				runs := s.Runs("")
				if len(diags) > 0 || len(runs) != 1 || state["id"] != runs[0].UUID {
					t.Errorf("%d runs, the state holds %v%s", len(runs), state["id"], diags)
				}
			}
		})
	}
}

// A row without an outcome has neither failed nor succeeded.
func TestTaskWithoutAnOutcome(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]string{"null": "null", "absent": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			first, final := ylemtest.NewUUID(), ylemtest.NewUUID()
			odd := map[string]string{"is_successful": value}
			p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
				{UUID: first, Duration: 20 * time.Millisecond, JSON: odd}, {UUID: final, Duration: 20 * time.Millisecond, After: []string{first}},
			}}).UUID
			state, diags := s.connect(t, nil).create(t, followed(p, final))
			if len(diags) > 0 {
				t.Fatal(diags)
			}
			state.expect(t, object{"status": "succeeded", "is_successful": true})
			state.list(t, "task_runs")[0].expect(t, object{"task_uuid": first, "state": "unknown", "is_successful": nil, "errors": []any{}})

			// As the final task, it ends nothing.
			state, diags = s.connect(t, nil).create(t, followed(p, first).with(object{"on_timeout": "warn", "timeouts": object{"create": "2s"}}))
			diags.expectWarning(t, "", "The run outlasted the timeout", "2 tasks have reported, but not the final "+first)
			state.expect(t, notEnded.with(underWay))
		})
	}
}

// Rows of other runs that cannot be read hide nothing. One of this run's is an error that says so.
func TestRowsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for name, odd := range map[string]map[string]string{
		"fraction of a millisecond": {"duration": "1.5"},
		"no time":                   {"executed_at": `"0000-00-00 00:00:00"`},
		"no task":                   {"task_uuid": `""`},
		"no run":                    {"pipeline_run_uuid": "null"},
		"a word as an outcome":      {"is_successful": `"yes"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSandbox(t)
			final := ylemtest.NewUUID()
			p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: final}}}).UUID
			s.AddRows(ylemtest.Row{PipelineUUID: p, ExecutedAt: time.Now(), JSON: odd})
			state, diags := s.connect(t, nil).create(t, followed(p, final))
			if len(diags) > 0 || state["status"] != "succeeded" {
				t.Errorf("%v%s", state["status"], diags)
			}
		})
	}
	t.Run("of the run itself", func(t *testing.T) {
		t.Parallel()
		s := newSandbox(t)
		final := ylemtest.NewUUID()
		p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: final, JSON: map[string]string{"duration": "1.5"}}}}).UUID
		state, diags := s.connect(t, nil).create(t, followed(p, final)) // polling again would not change the row
		diags.expectError(t, "wait_for_completion", "Ylem's answer cannot be understood", "A row of the log", "bug in the provider", "continues in Ylem", "1.5", "200 OK")
		if strings.Contains(diags.String(), "api_url") {
			t.Errorf("blames the address:%s", diags)
		}
		if runs := s.Runs(p); len(runs) != 1 || state["id"] != runs[0].UUID {
			t.Errorf("%d runs, the state holds %v", len(runs), state["id"])
		}
	})
}

// A row that was delivered three times and later stands once in the log is no row that was lost.
func TestDuplicatesThatTheLogMerges(t *testing.T) {
	t.Parallel()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	first, final := ylemtest.NewUUID(), ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
		{UUID: first, Duration: time.Second, Copies: 3, MergeAfter: 10 * time.Minute}, {UUID: final, Duration: time.Hour, After: []string{first}},
	}}).UUID
	go func() {
		polled := func(times int) {
			n := s.count(ylemtest.RouteLogs)
			if !happens(func() bool { return s.count(ylemtest.RouteLogs) >= n+times }) {
				t.Error("the log is not polled")
			}
		}
		polled(1)
		clock.Advance(time.Minute)
		polled(2) // the three rows have been seen
		clock.Advance(2 * time.Hour)
	}()
	state, diags := s.connect(t, nil).create(t, followed(p, final))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	state.expect(t, object{"status": "succeeded", "duration": 3601000})
	if n := len(state.list(t, "task_runs")); n != 2 {
		t.Errorf("%d tasks", n)
	}
}

// While the log's database is down, the log is empty. That takes nothing back, and is no silence.
func TestLogIsEmptyDuringAWait(t *testing.T) {
	t.Parallel()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	first, final := ylemtest.NewUUID(), ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
		{UUID: first, Duration: time.Second}, {UUID: final, Duration: time.Hour, After: []string{first}},
	}}).UUID
	go func() {
		polled := func() {
			n := s.count(ylemtest.RouteLogs)
			if !happens(func() bool { return s.count(ylemtest.RouteLogs) >= n+3 }) {
				t.Error("the log is not polled")
			}
		}
		polled()
		clock.Advance(time.Minute)
		polled() // the first task has been seen
		s.StopClickHouse()
		polled()
		s.StartClickHouse()
		clock.Advance(2 * time.Hour)
	}()
	state, diags := s.connect(t, nil).create(t, followed(p, final))
	if len(diags) > 0 {
		t.Fatal(diags)
	}
	state.expect(t, object{"status": "succeeded", "duration": 3601000})
}

// Redis has lost the sessions: the log refuses the old token, and takes a new one.
func TestSessionLostDuringAWait(t *testing.T) {
	t.Parallel()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, ylemtest.WithClock(clock.Now))
	final := ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: final, Duration: time.Hour}}}).UUID
	go func() {
		for i := range 3 { // more than once
			n := s.count(ylemtest.RouteLogs)
			if !happens(func() bool { return s.count(ylemtest.RouteLogs) >= n+3 }) {
				t.Errorf("the log is not polled after %d losses", i)
			}
			s.LoseSessions()
		}
		clock.Advance(2 * time.Hour)
	}()
	state, diags := s.connect(t, nil).create(t, followed(p, final))
	if len(diags) > 0 || state["status"] != "succeeded" {
		t.Errorf("%v%s", state["status"], diags)
	}
	refused := 0
	for _, r := range s.Requests(ylemtest.RouteLogs) {
		if r.Status == http.StatusForbidden {
			refused++
		}
	}
	if refused != 3 {
		t.Errorf("%d polls were refused, want one for each loss", refused)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 4, ylemtest.RouteRun: 1})()
}

// Ylem starts runs of other organizations' pipelines and refuses their logs, once there is something to show. Waiting longer
// would not help. The run is kept, as for a missing scope.
func TestWaitForARunOfAnotherOrganization(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	final := ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Organization: "others", Tasks: []ylemtest.Task{{UUID: final, Duration: 300 * time.Millisecond}}}).UUID
	state, diags := s.connect(t, nil).create(t, followed(p, final))
	run := s.Runs(p)[0].UUID
	diags.expectError(t, "wait_for_completion", "Ylem refuses access", "different organization", "Run "+run, "was started and continues in Ylem", "terraform untaint", "403 Forbidden")
	state.expect(t, notEnded.with(object{"id": run, "status": "pending"}))
	refused := 0
	for _, r := range s.Requests(ylemtest.RouteLogs) {
		if r.Status == http.StatusForbidden {
			refused++
		}
	}
	if refused != 2 {
		t.Errorf("%d refusals, want one for each of two tokens", refused)
	}
	s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteToken: 2, ylemtest.RouteRun: 1})()
}

// The guide's way to read what a run logged: its times are the window's ends. The answer to the start may be slow, and the
// clock of a task may be behind.
func TestAccWindowOfARun(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault  ylemtest.Fault
		behind time.Duration
	}{
		"all is well":  {},
		"slow answer":  {fault: ylemtest.Fault{Route: ylemtest.RouteRun, After: true, Stall: 3 * time.Second}},
		"slow clock":   {behind: 3 * time.Second},
		"four minutes": {behind: 4 * time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSandbox(t)
			first, final := ylemtest.NewUUID(), ylemtest.NewUUID()
			p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{
				{UUID: first, Duration: 20 * time.Millisecond, ClockBehind: test.behind},
				{UUID: final, Duration: 20 * time.Millisecond, ClockBehind: test.behind, After: []string{first}},
			}}).UUID
			if test.fault.Route != "" {
				s.Inject(test.fault)
			}
			logs := func(name, to string) string {
				return `
data "ylem_pipeline_logs" "` + name + `" {
  pipeline_uuid = ylem_pipeline_run.test.pipeline_uuid
  from          = ylem_pipeline_run.test.triggered_at
  to            = ` + to + `
}
`
			}
			tasks := func(name string) statecheck.StateCheck {
				return statecheck.ExpectKnownValue("data.ylem_pipeline_logs."+name, tfjsonpath.New("logs"), knownvalue.ListSizeExact(2))
			}
			config := s.run(p, exactly(final)+"\ntimeouts {\n  create = \"30s\"\n}") + logs("until_the_end", "ylem_pipeline_run.test.finished_at") +
				logs("a_second_more", `timeadd(ylem_pipeline_run.test.finished_at, "1s")`)
			acceptance(
				t,
				s.step(t, config, firstRun, 1, tasks("until_the_end"), tasks("a_second_more"), has("status", text("succeeded"))),
				s.step(t, config, nothing, 1, tasks("until_the_end")),
			)
		})
	}
}

// A refresh says that the credentials were revoked: they will not come back. It does not fail.
func TestAccRefreshWithRefusedCredentials(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.slow()
	tf := newTerraform(t, s.run(p, ""))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	tf.write(t, "main.tf", requirements+strings.Replace(s.run(p, ""), s.client.Secret, "revoked-secret", 1))
	plan := tf.mustRun(t, 0, "plan", "-detailed-exitcode", "-no-color")
	for _, want := range []string{"The status of a run could not be refreshed", s.Runs(p)[0].UUID, "keeps its status", "Ylem refused the client's secret", "client_secret"} {
		if !loosely(want).MatchString(plan) {
			t.Errorf("does not say %q: %s", want, plan)
		}
	}
	if strings.Contains(plan, "revoked-secret") {
		t.Errorf("shows the secret: %s", plan)
	}
}

// Trouble that passes is not worth a warning in each plan.
func TestAccRefreshDuringAnOutage(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.slow()
	tf := newTerraform(t, s.provider("max_retries = 0")+strings.TrimPrefix(s.run(p, ""), s.provider("")))
	tf.mustRun(t, 0, "apply", "-auto-approve")
	s.Inject(ylemtest.Fault{Route: ylemtest.RouteLogs, Times: -1, Status: 500, Body: `{"code":500,"message":"Internal error"}`})
	if plan := tf.mustRun(t, 0, "plan", "-detailed-exitcode", "-no-color"); strings.Contains(plan, "could not be refreshed") {
		t.Error(plan)
	}
	if n := s.count(ylemtest.RouteLogs); n != 1 {
		t.Errorf("%d requests for the log", n)
	}
}

// Below an object that is wholly unknown, nothing is known: not that a default applies.
func TestAccCompletionIsNotKnownYet(t *testing.T) {
	s := newSandbox(t)
	final := ylemtest.NewUUID()
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{UUID: final}}}).UUID
	config := s.config(`
resource "terraform_data" "completion" {
  input = { final_task_uuids = ["` + final + `"], quiet_period = "30s", poll_interval = "100ms" }
}
resource "ylem_pipeline_run" "test" {
  pipeline_uuid       = "` + p + `"
  wait_for_completion = true
  completion          = terraform_data.completion.output
  timeouts {
    create = "20s" # shorter than the default of the quiet period
  }
}
`)
	acceptance(
		t,
		resource.TestStep{
			Config: config,
			ConfigPlanChecks: resource.ConfigPlanChecks{PreApply: []plancheck.PlanCheck{
				plancheck.ExpectUnknownValue(runAddress, tfjsonpath.New("completion")),
			}},
			ConfigStateChecks: []statecheck.StateCheck{has("status", text("succeeded"))},
			PostApplyFunc:     s.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteRun: 1}),
		},
		s.step(t, config, nothing, 1),
	)
}

// validateRun is what terraform validate says of a run.
func (p *protocol) validateRun(t *testing.T, arguments object) diagnostics {
	t.Helper()
	resp, err := p.server.ValidateResourceConfig(t.Context(), &tfprotov6.ValidateResourceConfigRequest{
		TypeName: "ylem_pipeline_run",
		Config:   toDynamic(t, p.schema.ResourceSchemas["ylem_pipeline_run"].ValueType(), arguments),
	})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Diagnostics
}

// A wait that is resumed may have less time than the quiet period. That is no reason to refuse a configuration that works now.
func TestTimeoutOfAResumedWait(t *testing.T) {
	t.Parallel()
	p := newProtocol(t)
	arguments := object{"pipeline_uuid": ylemtest.NewUUID(), "wait_for_completion": true, "timeouts": object{"update": "20s"}}
	p.validateRun(t, arguments).expectWarning(t, "timeouts", "The quiet period outlasts the timeout of a resumed wait", "20s", "30s")
	for name, more := range map[string]object{
		"no wait":     {"wait_for_completion": false},
		"exact":       {"completion": object{"final_task_uuids": []string{ylemtest.NewUUID()}}},
		"short quiet": {"completion": object{"quiet_period": "10s"}},
		"unknown":     {"completion": unknown{}},
		"long enough": {"timeouts": object{"update": "31s"}},
	} {
		if diags := p.validateRun(t, arguments.with(more)); len(diags) > 0 {
			t.Errorf("%s: %s", name, diags)
		}
	}
}

// What the provider's own scopes rule out is found while planning.
func TestScopesThatRuleOutWaiting(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.slow()
	waiting := object{"pipeline_uuid": p, "wait_for_completion": true}
	_, diags := s.connect(t, object{"scopes": []string{"pipelines:run"}}).create(t, waiting)
	diags.expectError(t, "wait_for_completion", "The provider's scopes rule out reading the log", "stats:read", "pipelines:run")
	_, diags = s.connect(t, object{"scopes": []string{"pipelines:run"}}).invoke(t.Context(), t, waiting)
	diags.expectError(t, "wait_for_completion", "The provider's scopes rule out reading the log")
	_, diags = s.connect(t, object{"scopes": []string{"pipelines:run"}}).create(t, object{"pipeline_uuid": p, "idempotency_key": "k"})
	diags.expectError(t, "idempotency_key", "The provider's scopes rule out reading the log")
	if n := len(s.Requests()); n != 0 {
		t.Errorf("%d requests", n)
	}
	for _, arguments := range []object{{"pipeline_uuid": p}, {"pipeline_uuid": p, "wait_for_completion": false}} {
		if _, diags := s.connect(t, object{"scopes": []string{"pipelines:run"}}).create(t, arguments); len(diags) > 0 {
			t.Error(diags)
		}
	}
}

// A wait that ends without a report of any task says which ones must.
func TestNoTaskHasReported(t *testing.T) {
	t.Parallel()
	s := newSandbox(t)
	p := s.slow()
	final := s.tasks(p)[0]
	_, diags := s.connect(t, nil).create(t, followed(p, final).with(object{"on_timeout": "warn", "timeouts": object{"create": "200ms"}}))
	diags.expectWarning(t, "", "no task has reported yet; the final "+final+" must")
	if strings.Contains(diags.String(), "but not the final") {
		t.Error(diags)
	}
}
