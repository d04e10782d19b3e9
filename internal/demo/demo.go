package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
)

// demo is what the steps work with. Each step drives terraform, tells what happened, and checks it against what the
// sandbox saw.
type demo struct {
	*workspace
	ylem *ylemtest.Server
}

func demonstrate(ctx context.Context) (err error) {
	below, err := os.MkdirTemp("", "ylem-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(below)) }()
	server, client := newYlem()
	defer server.Close()

	say("Building the provider, and serving a Ylem in memory with two pipelines and their past runs.")
	w, err := newWorkspace(ctx, below, "examples/demo", server, client)
	if err != nil {
		return err
	}
	d := &demo{workspace: w, ylem: server}
	for _, step := range []func(context.Context) error{d.firstApply, d.secondPlan, d.newTrigger, d.destroy} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return d.summary()
}

// firstApply starts both runs.
func (d *demo) firstApply(ctx context.Context) error {
	say("\n1. Run both pipelines, and read what Ylem knows about them.")
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
		if err := d.tell(ctx, run, state); err != nil {
			return err
		}
	}
	return nil
}

// secondPlan comes after the runs have ended: what they did since is no change.
func (d *demo) secondPlan(ctx context.Context) error {
	say("\n2. Plan again: the runs have gone on, but there is nothing to change.")
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
	return d.tell(ctx, again, state)
}

// destroy forgets the runs.
func (d *demo) destroy(ctx context.Context) error {
	say("\n4. Destroy: Terraform forgets the runs, Ylem keeps them.")
	if _, err := d.terraformSays(ctx, []string{"Destroy complete!"}, "destroy", "-auto-approve", "-input=false"); err != nil {
		return err
	}
	_, err := d.expectRuns(3)
	return err
}

// summary tells what the sandbox saw, and that it refused nothing.
func (d *demo) summary() error {
	counts := map[ylemtest.Route]int{}
	for _, request := range d.ylem.Requests() {
		if request.Status/100 != 2 {
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
	if counts[ylemtest.RouteRun] != 3 {
		return fmt.Errorf("the sandbox saw %d requests to run a pipeline, not 3", counts[ylemtest.RouteRun])
	}
	say("\nWhat Ylem saw: %d requests to run a pipeline, one for each run; %d reads; %d requests for a token, one each time "+
		"terraform started the provider and something was asked.", counts[ylemtest.RouteRun], total, counts[ylemtest.RouteToken])
	return nil
}

// terraformSays runs terraform and shows the lines of what it printed that hold one of the words; each must be there.
func (d *demo) terraformSays(ctx context.Context, words []string, subcommand string, args ...string) (string, error) {
	shown := slices.DeleteFunc(slices.Clone(args), func(arg string) bool { return arg == "-auto-approve" || arg == "-input=false" })
	say("\n   $ terraform %s", strings.Join(append([]string{subcommand}, shown...), " "))
	output, err := d.run(ctx, append([]string{subcommand, "-no-color"}, args...)...)
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
			return "", fmt.Errorf("terraform %s did not say %q:\n\n%s", subcommand, word, output)
		}
	}
	return output, nil
}

// expectRuns returns the runs that the sandbox started, of which there must be so many, each by one request.
func (d *demo) expectRuns(n int) ([]ylemtest.Run, error) {
	runs, requests := d.ylem.Runs(""), d.ylem.Requests(ylemtest.RouteRun)
	if len(runs) != n || len(requests) != n {
		return nil, fmt.Errorf("the sandbox saw %d requests to run a pipeline and started %d runs, not %d", len(requests), len(runs), n)
	}
	return runs, nil
}

// tell waits for a run to end and tells about it. The state must know it, and its input must have arrived as it is.
func (d *demo) tell(ctx context.Context, run ylemtest.Run, s state) error {
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
		fmt.Print("   ", line)
	}
}
