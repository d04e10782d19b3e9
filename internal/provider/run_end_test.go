package provider

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// What is known of a run's end: what is certain costs nothing and is never taken back, what is presumed is looked at again.

// newFollowed is a run of these tasks that has not been started, and a terraform to follow it.
func newFollowed(t *testing.T, tasks []ylemtest.Task, arguments string, options ...ylemtest.Option) *interrupted {
	t.Helper()
	clock := &ylemtest.Clock{}
	s := newSandbox(t, append(options, ylemtest.WithClock(clock.Now))...)
	p := s.AddPipeline(ylemtest.Pipeline{Tasks: tasks}).UUID
	return &interrupted{sandbox: s, clock: clock, pipeline: p, terraform: newTerraform(t, s.run(p, arguments))}
}

// set changes the arguments of the run.
func (i *interrupted) set(t *testing.T, arguments string) {
	t.Helper()
	i.write(t, "main.tf", requirements+i.sandbox.run(i.pipeline, arguments))
}

// expectState fails the test unless the state has these values.
func (i *interrupted) expectState(t *testing.T, want object) {
	t.Helper()
	values, tainted := i.runState(t)
	if tainted {
		t.Error("the run is tainted")
	}
	object(values).expect(t, want)
}

// refresh brings the state up to date, without any other change.
func (i *interrupted) refresh(t *testing.T) string {
	t.Helper()
	return i.mustRun(t, 0, "apply", "-refresh-only", "-auto-approve", "-no-color")
}

// expectPlan fails the test unless this is planned with this number of requests for the log, and no others but for a token.
func (i *interrupted) expectPlan(t *testing.T, action string, logs int) {
	t.Helper()
	i.ResetRequests()
	if got := i.terraform.plan(t); got != action {
		t.Errorf("the plan is to %s, want %s", got, action)
	}
	tokens := min(logs, 1)
	if n := len(i.Requests()); n != logs+tokens || i.count(ylemtest.RouteLogs) != logs {
		t.Errorf("the plan sent %d requests, %d of them for the log, want %d and %d", n, i.count(ylemtest.RouteLogs), logs+tokens, logs)
	}
}

// applyWhile is an apply with a wait that goes on while more happens, and must succeed.
func (i *interrupted) applyWhile(t *testing.T, meanwhile func()) {
	t.Helper()
	b := i.applyUntilPolled(t)
	meanwhile()
	if code, output := b.wait(t); code != 0 {
		t.Errorf("exit code %d:\n%s", code, output)
	}
}

// twoTasks end a run within two hours.
func twoTasks() (first, final string, tasks []ylemtest.Task) {
	first, final = ylemtest.NewUUID(), ylemtest.NewUUID()
	return first, final, []ylemtest.Task{{UUID: first, Duration: time.Second}, {UUID: final, Duration: time.Hour, After: []string{first}}}
}

// exactly waits for these final tasks.
func exactly(final ...string) string {
	return fmt.Sprintf("wait_for_completion = true\ncompletion = {\n  final_task_uuids = [\"%s\"]\n  poll_interval = \"100ms\"\n}", strings.Join(final, `", "`))
}

// afterQuiet waits for a period of silence.
func afterQuiet(period string) string {
	return fmt.Sprintf("wait_for_completion = true\ncompletion = {\n  quiet_period = %q\n  poll_interval = \"100ms\"\n}", period)
}

var (
	notEnded = object{"is_successful": nil, "finished_at": nil, "duration": nil}
	underWay = object{"status": "running"}
)

// An import does not presume that a run has ended: the configuration, which says how that is recognized, is not known to it.
func TestAccImportOfARunUnderWay(t *testing.T) {
	t.Parallel()
	_, final, tasks := twoTasks()
	i := newFollowed(t, tasks, exactly(final))
	run := i.AddRun(i.pipeline, time.Now().Add(-10*time.Minute))
	i.mustRun(t, 0, "import", runAddress, i.pipeline+"/"+run.UUID)
	i.expectState(t, notEnded.with(object{"id": run.UUID, "status": "running"}))
	i.expectPlan(t, "update", 1)
	i.applyWhile(t, func() { i.clock.Advance(2 * time.Hour) })
	i.expectState(t, object{"id": run.UUID, "status": "succeeded", "is_successful": true, "duration": 3601000})
	i.expectPlan(t, "no-op", 0)
	if n := len(i.Runs("")); n != 0 {
		t.Errorf("%d runs were started", n)
	}
}

// What an import cannot know is adopted once. A run whose final task has reported needs no poll for that.
func TestAccImportOfARunThatHasEnded(t *testing.T) {
	t.Parallel()
	_, final, tasks := twoTasks()
	i := newFollowed(t, tasks, exactly(final)+"\ninput = \"x\"\ntriggers = { a = 1 }")
	run := i.AddRun(i.pipeline, time.Now().Add(-2*time.Hour))
	i.mustRun(t, 0, "import", runAddress, i.pipeline+"/"+run.UUID)
	i.expectState(t, notEnded.with(underWay))
	i.expectPlan(t, "update", 1)
	i.ResetRequests()
	i.apply(t) // the plan has read the log
	i.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteLogs: 0, ylemtest.RouteRun: 0})()
	i.expectState(t, object{"id": run.UUID, "status": "succeeded", "input": "x", "triggers": object{"a": "1"}})
	i.expectPlan(t, "no-op", 0)
}

// After a day of silence an imported run has ended, and is looked at no more.
func TestAccImportOfAnOldRun(t *testing.T) {
	t.Parallel()
	_, _, tasks := twoTasks()
	i := newFollowed(t, tasks, "")
	run := i.AddRun(i.pipeline, time.Now().Add(-30*time.Hour))
	i.mustRun(t, 0, "import", runAddress, i.pipeline+"/"+run.UUID)
	i.expectState(t, object{"status": "succeeded", "is_successful": true})
	i.expectPlan(t, "no-op", 0)
}

// Whoever does not wait for a run, and does not say how its end is recognized, sees it run for a day after its last task.
func TestAccRunThatIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	i := newFollowed(t, []ylemtest.Task{{Duration: time.Second}}, "")
	i.mustRun(t, 0, "apply", "-auto-approve")
	i.clock.Advance(23 * time.Hour)
	i.refresh(t)
	i.expectState(t, notEnded.with(underWay))
	i.expectPlan(t, "no-op", 1)
	i.clock.Advance(2 * time.Hour)
	i.refresh(t)
	i.expectState(t, object{"status": "succeeded", "is_successful": true, "duration": 1000})
}

// Waiting is turned on half a minute after the first task has reported: the run has not ended.
func TestAccRunIsWaitedForLater(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ arguments, status string }{
		"nothing presumed":   {"", "running"},
		"presumed by choice": {`completion = { quiet_period = "30s" }`, "succeeded"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, final, tasks := twoTasks()
			i := newFollowed(t, tasks, test.arguments)
			i.mustRun(t, 0, "apply", "-auto-approve")
			i.clock.Advance(33 * time.Second)
			i.refresh(t)
			i.expectState(t, object{"status": test.status})
			i.set(t, exactly(final))
			i.expectPlan(t, "update", 1)
			i.applyWhile(t, func() { i.clock.Advance(2 * time.Hour) })
			i.expectState(t, object{"status": "succeeded", "duration": 3601000})
			i.expectPlan(t, "no-op", 0)
			if n := len(i.Runs("")); n != 1 {
				t.Errorf("%d runs", n)
			}
		})
	}
}

// A task of another pipeline occupies the task runner for longer than the quiet period, so the run counts as succeeded while
// a task of it is still to come. The next plan finds out.
func TestAccGuessIsTakenBack(t *testing.T) {
	t.Parallel()
	const long = 25 * time.Minute
	// guessed is a run that counts as succeeded after its first task.
	guessed := func(t *testing.T, second ylemtest.Task) *interrupted {
		t.Helper()
		first, third := ylemtest.NewUUID(), ylemtest.NewUUID()
		second.UUID, second.After, second.Duration = ylemtest.NewUUID(), []string{first}, time.Second
		i := newFollowed(t, []ylemtest.Task{
			{UUID: first, Duration: time.Hour}, second, {UUID: third, Duration: 5 * time.Hour, After: []string{second.UUID}},
		}, afterQuiet("1s"), ylemtest.WithTaskRunner())
		other := i.AddPipeline(ylemtest.Pipeline{Tasks: []ylemtest.Task{{Duration: long}}}).UUID
		i.applyWhile(t, func() {
			i.AddRun(other, i.clock.Now()) // its task is next
			i.clock.Advance(time.Hour + time.Minute)
		})
		i.expectState(t, object{"status": "succeeded", "is_successful": true, "duration": 3600000})
		return i
	}
	t.Run("a later task fails", func(t *testing.T) {
		t.Parallel()
		i := guessed(t, ylemtest.Task{Errors: []ylemtest.TaskError{{Message: "boom"}}})
		i.clock.Advance(long)
		plan := i.mustRun(t, 0, "plan", "-no-color")
		for _, want := range []string{"The run had not ended", "counted as succeeded", "The run failed, and a new one is planned", "boom", "must be replaced"} {
			if !loosely(want).MatchString(plan) {
				t.Errorf("does not say %q: %s", want, plan)
			}
		}
		i.expectPlan(t, "delete+create", 1)
		i.set(t, afterQuiet("1s")+"\non_failure = \"warn\"")
		i.mustRun(t, 0, "apply", "-auto-approve")
		i.expectState(t, object{"status": "failed", "is_successful": false, "duration": 3601000})
		i.expectPlan(t, "no-op", 0)
		if n := len(i.Runs("")); n != 1 {
			t.Errorf("%d runs", n)
		}
	})
	t.Run("a later task succeeds", func(t *testing.T) {
		t.Parallel()
		i := guessed(t, ylemtest.Task{})
		i.set(t, afterQuiet("10m"))
		i.expectPlan(t, "update", 1) // of the quiet period only
		i.ResetRequests()
		i.apply(t)
		i.expectRequests(t, map[ylemtest.Route]int{ylemtest.RouteLogs: 0})()
		i.expectState(t, object{"status": "succeeded"})
		i.clock.Advance(long)
		if output := i.refresh(t); !loosely("The run had not ended").MatchString(output) || !loosely("2 tasks have reported").MatchString(output) {
			t.Error(output)
		}
		i.expectState(t, notEnded.with(underWay))
		i.expectPlan(t, "update", 1)
	})
}

// Only a task that reports takes a guess back: neither a log that has lost its rows nor a longer quiet period does.
func TestAccGuessStandsWhileNoTaskReports(t *testing.T) {
	t.Parallel()
	first, _, tasks := twoTasks()
	i := newFollowed(t, tasks, afterQuiet("1s"))
	i.applyWhile(t, func() { i.clock.Advance(time.Minute) })
	guess := object{"status": "succeeded", "is_successful": true, "duration": 1000}
	i.expectState(t, guess)

	i.StopClickHouse()
	i.expectPlan(t, "no-op", 1)
	i.refresh(t)
	i.expectState(t, guess)
	i.StartClickHouse()

	i.set(t, afterQuiet("10m"))
	i.mustRun(t, 0, "apply", "-auto-approve")
	if output := i.refresh(t); loosely("The run had not ended").MatchString(output) {
		t.Error(output)
	}
	i.expectState(t, guess)
	i.expectPlan(t, "no-op", 1)

	i.clock.Advance(time.Hour) // the second task
	i.refresh(t)
	i.expectState(t, notEnded.with(underWay))
	if n := len(i.Rows(i.Runs(i.pipeline)[0].UUID)); n != 2 {
		t.Errorf("%d rows, want those of %s and the second task", n, first)
	}
}

// After a for-each, each task reports once for each item: the final task's first row is not the end.
func TestAccFinalTaskAfterAForEach(t *testing.T) {
	t.Parallel()
	loop, final := ylemtest.NewUUID(), ylemtest.NewUUID()
	i := newFollowed(t, []ylemtest.Task{
		{UUID: loop, Type: "for_each", Items: 3, Duration: time.Second},
		{UUID: final, After: []string{loop}, Duration: 10 * time.Minute, FailOnPass: 3, Errors: []ylemtest.TaskError{{Message: "boom"}}},
	}, strings.Replace(exactly(final), "poll_interval", "quiet_period = \"1h\"\n  poll_interval", 1)+"\ntimeouts {\n  create = \"2h\"\n}", ylemtest.WithTaskRunner())
	b := i.applyUntilPolled(t)
	i.clock.Advance(11 * time.Minute)
	run := i.Runs(i.pipeline)[0].UUID
	if rows := i.Rows(run); len(rows) != 2 || !rows[1].IsSuccessful {
		t.Fatalf("%d rows: the test proves nothing", len(rows))
	}
	polls := i.count(ylemtest.RouteLogs)
	b.eventually(t, "the log is polled after the first item", func() bool { return i.count(ylemtest.RouteLogs) >= polls+3 })
	i.clock.Advance(20 * time.Minute)
	if code, output := b.wait(t); code != 1 || !loosely("The run failed").MatchString(output) || !loosely("boom").MatchString(output) {
		t.Errorf("exit code %d:\n%s", code, output)
	}
}

// An end that is certain stays, whatever the configuration names afterwards: a task that joined the pipeline later would be
// polled for without end.
func TestAccCertainEndIsNotReopened(t *testing.T) {
	t.Parallel()
	task := ylemtest.NewUUID()
	i := newFollowed(t, []ylemtest.Task{{UUID: task}}, exactly(task))
	i.mustRun(t, 0, "apply", "-auto-approve")
	for _, arguments := range []string{exactly(ylemtest.NewUUID()), exactly(task, ylemtest.NewUUID()), "wait_for_completion = true", ""} {
		i.set(t, arguments)
		i.expectPlan(t, "update", 0)
		if t.Failed() {
			return // an apply would wait without end
		}
		i.apply(t)
		i.expectState(t, object{"status": "succeeded", "is_successful": true})
		i.expectPlan(t, "no-op", 0)
	}
}

// Rows that have left the log by the time a wait is resumed are known from the state.
func TestAccResumedWaitOfALogThatLostRows(t *testing.T) {
	t.Parallel()
	first, final, tasks := twoTasks()
	tasks[0].VanishAfter = 10 * time.Minute
	i := newFollowed(t, tasks, "")
	i.mustRun(t, 0, "apply", "-auto-approve")
	i.clock.Advance(time.Minute)
	i.refresh(t)
	i.clock.Advance(30 * time.Minute)
	if n := len(i.Rows(i.Runs(i.pipeline)[0].UUID)); n != 0 {
		t.Fatalf("the log holds %d rows: the test proves nothing", n)
	}
	i.refresh(t)
	i.expectState(t, underWay)
	i.set(t, exactly(first, final)) // the first one is not in the log any more
	i.applyWhile(t, func() { i.clock.Advance(2 * time.Hour) })
	i.expectState(t, object{"status": "succeeded", "duration": 3601000})
	i.expectPlan(t, "no-op", 0)
}
