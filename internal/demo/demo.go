package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// demo is what the steps work with. Each step runs terraform, prints what happened, and checks it against what the
// sandbox saw.
type demo struct {
	*workspace
	ylem  *ylemtest.Server
	clock *ylemtest.Clock // ylem's
}

// chdir makes terraform use the configuration that waits for its runs, once the one with an idempotency key.
const (
	chdir = "-chdir=waiting"
	once  = "-chdir=once"
)

func demonstrate(ctx context.Context) (err error) {
	below, err := os.MkdirTemp("", "ylem-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(below)) }()
	clock := &ylemtest.Clock{}
	server, client := newYlem(ylemtest.WithClock(clock.Now))
	defer server.Close()

	say("Building the provider, and serving a Ylem in memory with pipelines and their past runs.")
	w, err := newWorkspace(ctx, below, "examples/demo", server, client)
	if err != nil {
		return err
	}
	d := &demo{workspace: w, ylem: server, clock: clock}
	for _, step := range []func(context.Context) error{
		d.firstApply, d.secondPlan, d.newTrigger, d.waits, d.failed, d.outlasted, d.resumed, d.killed, d.destroy,
	} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.summary()
}

// firstApply starts both runs.
func (d *demo) firstApply(ctx context.Context) error {
	say("\n1. Run two pipelines, and read what Ylem knows about them.")
	output, err := d.terraformSays(ctx, []string{"Plan:", "Apply complete!"}, "apply", "-auto-approve", "-input=false")
	if err != nil {
		return err
	}
	_, outputs, _ := strings.Cut(output, "\nOutputs:\n")
	say("")
	show(outputs)
	say("")

	state, err := d.state(ctx)
	if err != nil {
		return err
	}
	if len(state.Checks) == 0 {
		return errors.New("the state shows no check")
	}
	for _, check := range state.Checks {
		show(check.Address.Display + ": " + check.Status)
		if check.Status != "pass" {
			return fmt.Errorf("%s did not pass", check.Address.Display)
		}
	}
	say("")
	runs, err := d.expectRuns(2)
	if err != nil {
		return err
	}
	// Terraform starts both at once: which one comes first varies.
	slices.SortFunc(runs, func(a, b ylemtest.Run) int { return strings.Compare(a.PipelineUUID, b.PipelineUUID) })
	for _, run := range runs {
		if err := d.describe(ctx, run, state); err != nil {
			return err
		}
	}
	return nil
}

// secondPlan comes after the runs have ended: what they did since is no change.
func (d *demo) secondPlan(ctx context.Context) error {
	say("\n2. Plan again: the runs have continued, but there is nothing to change.")
	// With -detailed-exitcode a plan with changes fails.
	if _, err := d.terraformSays(ctx, []string{"No changes."}, "plan", "-detailed-exitcode", "-input=false"); err != nil {
		return err
	}
	_, err := d.expectRuns(2)
	return err
}

// newTrigger starts a new run of one pipeline.
func (d *demo) newTrigger(ctx context.Context) error {
	say("\n3. A new release of the shop is a trigger of the import: it alone runs again.")
	_, err := d.terraformSays(ctx, []string{"must be replaced", "\"1.0\" -> \"1.1\"", "Apply complete!"},
		"apply", "-auto-approve", "-input=false", "-var=release=1.1")
	if err != nil {
		return err
	}
	state, err := d.state(ctx)
	if err != nil {
		return err
	}
	runs, err := d.expectRuns(3)
	if err != nil {
		return err
	}
	first, again := runs[slices.IndexFunc(runs, func(r ylemtest.Run) bool { return r.PipelineUUID == ordersUUID })], runs[2]
	if again.PipelineUUID != ordersUUID || again.UUID == first.UUID {
		return fmt.Errorf("run %s of pipeline %s is no second import of the orders", again.UUID, again.PipelineUUID)
	}
	say("")
	return d.describe(ctx, again, state)
}

// waits runs a pipeline that succeeds, and waits for it.
func (d *demo) waits(ctx context.Context) error {
	say("\n4. Wait for a run: the apply ends when the import has ended, and knows how that went.")
	changeQuery(d.ylem, func(query *ylemtest.Task) { query.Duration = 1200 * time.Millisecond })
	before := len(d.ylem.Requests(ylemtest.RouteLogs))
	if _, err := d.terraformSays(ctx, []string{"Creation complete", "Apply complete!"}, chdir, "apply", "-auto-approve", "-input=false"); err != nil {
		return err
	}
	return d.describeNightly(ctx, 4, before)
}

// failed has the next run fail.
func (d *demo) failed(ctx context.Context) error {
	say("\n5. Run it again while the shop's database is down: the run fails, and so does the apply.")
	changeQuery(d.ylem, func(query *ylemtest.Task) {
		query.Errors = []ylemtest.TaskError{{Message: "dial tcp 10.0.3.7:3306: connection refused"}}
	})
	if err := d.terraformFails(ctx, "The run failed", chdir, "apply", "-auto-approve", "-input=false", "-replace=ylem_pipeline_run.nightly"); err != nil {
		return err
	}
	runs, err := d.expectRuns(5)
	if err != nil {
		return err
	}
	if _, err := d.recorded(ctx, chdir, runs[4], true, "failed"); err != nil {
		return err
	}
	say("\n   Terraform keeps the failed run in its state. The next plan is another run:")
	_, err = d.terraformSays(ctx, []string{"is tainted, so must be replaced", "Plan: 1 to add, 0 to change, 1 to destroy."},
		chdir, "plan", "-input=false")
	return err
}

// outlasted starts a run that goes on for longer than terraform waits.
func (d *demo) outlasted(ctx context.Context) error {
	say("\n6. The database is back, but needs an hour. Terraform waits for a second, warns, and keeps the run in its state.")
	changeQuery(d.ylem, func(query *ylemtest.Task) { query.Errors, query.Duration = nil, time.Hour })
	output, err := d.terraformSays(ctx, nil, chdir, "apply", "-auto-approve", "-input=false", "-var=timeout=1s")
	if err != nil {
		return err
	}
	if err := showDiagnostic(output, "Warning: The run outlasted the timeout"); err != nil {
		return err
	}
	runs, err := d.expectRuns(6)
	if err != nil {
		return err
	}
	_, err = d.recorded(ctx, chdir, runs[5], false, "pending", "running")
	return err
}

// resumed has terraform wait for that run again, and lets the hour pass meanwhile.
func (d *demo) resumed(ctx context.Context) error {
	say("\n   The next apply starts nothing. It resumes waiting for the same run, and the hour passes.")
	before := len(d.ylem.Requests(ylemtest.RouteLogs))
	defer d.passHour(ctx, before+2)() // the plan looks once
	if _, err := d.terraformSays(ctx, []string{"will be updated in-place", "Apply complete! Resources: 0 added, 1 changed"},
		chdir, "apply", "-auto-approve", "-input=false"); err != nil {
		return err
	}
	return d.describeNightly(ctx, 6, before)
}

// passHour lets an hour pass once the log has been read more than this often, unless it is stopped before.
func (d *demo) passHour(ctx context.Context, reads int) (stop func()) {
	ctx, stop = context.WithCancel(ctx)
	go func() {
		if d.until(ctx, func() bool { return len(d.ylem.Requests(ylemtest.RouteLogs)) > reads }) == nil {
			d.clock.Advance(time.Hour)
		}
	}()
	return stop
}

// until polls until a condition holds.
func (d *demo) until(ctx context.Context, holds func() bool) error {
	for !holds() {
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// killed kills terraform and the provider while they wait for a run with an idempotency key. The next apply goes on with
// that run.
func (d *demo) killed(ctx context.Context) error {
	say("\n7. Kill Terraform and the provider while they wait for a run, as when a machine dies. The run has an idempotency key.")
	apply := []string{once, "apply", "-auto-approve", "-input=false"}
	before := len(d.ylem.Requests(ylemtest.RouteLogs))
	process, err := d.Start(ctx, announce(apply)...)
	if err != nil {
		return err
	}
	defer process.Kill()
	late, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = d.until(late, func() bool {
		runs := d.ylem.Runs("") // the log is read once before the start
		return len(runs) == 7 && len(d.ylem.Rows(runs[6].UUID)) > 0 && len(d.ylem.Requests(ylemtest.RouteLogs)) > before+2
	})
	if err != nil {
		stdout, stderr := process.Output()
		return fmt.Errorf("terraform does not wait for its run: %w\n\n%s%s", err, stdout, stderr)
	}
	process.Kill()
	runs, err := d.expectRuns(7)
	if err != nil {
		return err
	}
	run := runs[6]
	s, err := d.state(ctx, once)
	if err != nil {
		return err
	}
	if len(s.Values.RootModule.Resources) > 0 {
		return fmt.Errorf("the state is not empty: %+v", s.Values)
	}
	say("   Killed.\n\n   Terraform's state is empty, and run %s goes on in Ylem. The next apply finds it:", run.UUID)

	defer d.passHour(ctx, len(d.ylem.Requests(ylemtest.RouteLogs))+2)()
	output, err := d.terraformSays(ctx, nil, apply...)
	if err != nil {
		return err
	}
	if err := showDiagnostic(output, "Warning: A run with this idempotency key was adopted"); err != nil {
		return err
	}
	if _, err := d.expectRuns(7); err != nil {
		return err
	}
	took, err := d.recorded(ctx, once, run, false, "succeeded")
	if err != nil {
		return err
	}
	say("\n   ylem_pipeline_run.january is run %s: it succeeded, and its %d tasks took %s. It was started by one request.", run.UUID, len(run.Tasks), took)
	return nil
}

// destroy forgets the runs.
func (d *demo) destroy(ctx context.Context) error {
	say("\n8. Destroy: Terraform forgets the runs, Ylem keeps them.")
	destroy := []string{"destroy", "-auto-approve", "-input=false"}
	for _, arguments := range [][]string{destroy, append([]string{chdir}, destroy...), append([]string{once}, destroy...)} {
		if _, err := d.terraformSays(ctx, []string{"Destroy complete!"}, arguments...); err != nil {
			return err
		}
	}
	_, err := d.expectRuns(7)
	return err
}

// summary prints what the sandbox saw, and checks that it refused nothing.
func (d *demo) summary() error {
	counts := map[ylemtest.Route]int{}
	for _, request := range d.ylem.Requests() {
		if request.Status/100 != 2 && request.Status != 0 { // 0: of what was killed
			return fmt.Errorf("the sandbox answered %s %s with %d", request.Method, request.Path, request.Status)
		}
		counts[request.Route]++
	}
	reads := []ylemtest.Route{ylemtest.RouteLogs, ylemtest.RouteStats, ylemtest.RouteAggregatedStats, ylemtest.RouteLastRun}
	total := 0
	for _, route := range reads {
		if counts[route] == 0 {
			return fmt.Errorf("the sandbox saw no request for %s", route)
		}
		total += counts[route]
	}
	if _, err := d.expectRuns(7); err != nil {
		return err
	}
	say("\nWhat Ylem saw: %d requests to run a pipeline, one for each run; %d reads; %d requests for a token, one each time "+
		"terraform started the provider and something was asked.", counts[ylemtest.RouteRun], total, counts[ylemtest.RouteToken])
	return nil
}

// announce shows a command as a user would type it, and returns its arguments.
func announce(args []string) []string {
	shown := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "-auto-approve" || arg == "-input=false" })
	say("\n   $ terraform %s", strings.Join(shown, " "))
	return append(slices.Clone(args), "-no-color")
}

// terraformSays runs terraform and shows the lines of what it printed that hold one of the words; each must be there.
func (d *demo) terraformSays(ctx context.Context, words []string, args ...string) (string, error) {
	output, err := d.Output(ctx, announce(args)...)
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(output) {
		if slices.ContainsFunc(words, func(word string) bool { return strings.Contains(line, word) }) {
			show(strings.TrimSpace(line))
		}
	}
	for _, word := range words {
		if !strings.Contains(output, word) {
			return "", fmt.Errorf("terraform %s did not say %q:\n\n%s", strings.Join(args, " "), word, output)
		}
	}
	return output, nil
}

// terraformFails runs terraform, which must end with this error, and shows it.
func (d *demo) terraformFails(ctx context.Context, summary string, args ...string) error {
	output, err := d.Output(ctx, announce(args)...)
	failed, ok := errors.AsType[*terraformcli.ExitError](err)
	switch {
	case ok:
		return showDiagnostic(failed.Stderr, "Error: "+summary)
	case err != nil:
		return err
	default:
		return fmt.Errorf("terraform %s did not fail:\n\n%s", strings.Join(args, " "), output)
	}
}

// showDiagnostic shows an error or a warning as terraform printed it: what follows the summary up to the next
// diagnostic or the last word.
func showDiagnostic(output, summary string) error {
	_, text, found := strings.Cut(output, "\n"+summary+"\n")
	if !found {
		return fmt.Errorf("terraform did not say %q:\n\n%s", summary, output)
	}
	for _, next := range []string{"\nError: ", "\nWarning: ", "\nApply complete!"} {
		text, _, _ = strings.Cut(text, next)
	}
	show(summary + "\n" + strings.TrimRight(text, "\n"))
	return nil
}

// expectRuns returns the runs that the sandbox started: there must be n, each started by one request.
func (d *demo) expectRuns(n int) ([]ylemtest.Run, error) {
	runs, requests := d.ylem.Runs(""), d.ylem.Requests(ylemtest.RouteRun)
	if len(runs) != n || len(requests) != n {
		return nil, fmt.Errorf("the sandbox saw %d requests to run a pipeline and started %d runs, not %d", len(requests), len(runs), n)
	}
	return runs, nil
}

// recorded finds the run in the state of a configuration, and checks how it is recorded there.
func (d *demo) recorded(ctx context.Context, configuration string, run ylemtest.Run, tainted bool, statuses ...string) (took time.Duration, err error) {
	s, err := d.state(ctx, configuration)
	if err != nil {
		return 0, err
	}
	for _, r := range s.Values.RootModule.Resources {
		if r.Values.ID == run.UUID && slices.Contains(statuses, r.Values.Status) && r.Tainted == tainted {
			return time.Duration(r.Values.Duration) * time.Millisecond, nil
		}
	}
	return 0, fmt.Errorf("the state does not hold run %s as %q (tainted: %t): %+v", run.UUID, statuses, tainted, s.Values)
}

// describeNightly prints the end of the newest of this many runs, which terraform has waited for. before is the number
// of log requests until then.
func (d *demo) describeNightly(ctx context.Context, runs, before int) error {
	all, err := d.expectRuns(runs)
	if err != nil {
		return err
	}
	run, polls := all[runs-1], len(d.ylem.Requests(ylemtest.RouteLogs))-before
	if rows := d.ylem.Rows(run.UUID); len(rows) != len(run.Tasks) || polls < 1 {
		return fmt.Errorf("run %s had reported %d of %d tasks when the apply ended, after %d requests for the log", run.UUID, len(rows), len(run.Tasks), polls)
	}
	took, err := d.recorded(ctx, chdir, run, false, "succeeded")
	if err != nil {
		return err
	}
	say("\n   ylem_pipeline_run.nightly is run %s: it succeeded, and its %d tasks took %s. Terraform polled the log %d times.",
		run.UUID, len(run.Tasks), took, polls)
	return nil
}

// describe waits for a run to end and prints a line about it. The state must hold it, and its input must have arrived
// unchanged.
func (d *demo) describe(ctx context.Context, run ylemtest.Run, s state) error {
	address, known := "", false
	for _, r := range s.Values.RootModule.Resources {
		if r.Mode != "managed" || r.Values.ID != run.UUID {
			continue
		}
		known, address = true, r.Address
		if r.Values.PipelineUUID != run.PipelineUUID || r.Values.Input != string(run.Input) {
			return fmt.Errorf("run %s got the input %q, not %q", run.UUID, run.Input, r.Values.Input)
		}
	}
	if !known {
		return fmt.Errorf("run %s of pipeline %s is not in Terraform's state", run.UUID, run.PipelineUUID)
	}
	rows, err := d.finished(ctx, run)
	if err != nil {
		return err
	}
	var tasks []string
	for _, row := range rows {
		tasks = append(tasks, row.TaskType)
	}
	input := "no input"
	if len(run.Input) > 0 {
		input = "the input " + string(run.Input)
	}
	say("   %s is run %s: it got %s and ran %s.", address, run.UUID, input, strings.Join(tasks, ", "))
	return nil
}

// finished waits until all tasks of a run have reported.
func (d *demo) finished(ctx context.Context, run ylemtest.Run) ([]ylemtest.Row, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		if rows := d.ylem.Rows(run.UUID); len(rows) == len(run.Tasks) {
			return rows, nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("run %s does not end: %w", run.UUID, ctx.Err())
		}
	}
}

// say prints a line, or several.
func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// show prints what terraform printed, indented.
func show(text string) {
	for line := range strings.Lines(strings.Trim(text, "\n") + "\n") {
		if line != "\n" {
			line = "   " + line
		}
		fmt.Print(line)
	}
}
