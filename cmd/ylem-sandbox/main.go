// Command ylem-sandbox serves a Ylem in memory, to try and to test Terraform configurations on without an account.
// It works outside a checkout:
//
//	go run github.com/ylem-co/terraform-provider-ylem/cmd/ylem-sandbox@latest
//
// With the flag -help it describes its flags and the format of its scenario files.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"

	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest"
	"github.com/ylem-co/terraform-provider-ylem/internal/ylemtest/scenario"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// settings is what the flags say.
type settings struct {
	addr          string
	client        ylemtest.Client
	dialect       ylemtest.Dialect
	speed         float64
	scenario      scenario.Scenario
	oneTaskRunner bool
	quiet         bool
	command       []string
}

// errUsage means that a mistake in the command line has been reported already.
var errUsage = errors.New("usage")

// run returns the exit code: 2 for a wrong command line, as package flag does, and that of the command, if there is one.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	s, err := parse(args, stdout, stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.Is(err, errUsage):
		return 2
	}
	if err == nil {
		err = serve(ctx, s, stdout, stderr)
	}
	if failed, ok := errors.AsType[*exec.ExitError](err); ok && failed.ExitCode() > 0 {
		return failed.ExitCode()
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "ylem-sandbox: %s\n", err)
		return 1
	}
	return 0
}

const (
	defaultAddr     = "127.0.0.1:7339" // a self-hosted Ylem has the same port
	defaultClientID = "6b1d7a52-8c2e-4d3f-9a61-0f5e2c7b9d10"
	defaultSecret   = "sandbox"
	// maxSpeed leaves a token, which lives a day, some seconds.
	maxSpeed = 10_000
)

// parse reads the command line.
func parse(args []string, stdout, stderr io.Writer) (s settings, err error) {
	flags := flag.NewFlagSet("ylem-sandbox", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&s.addr, "addr", defaultAddr, "`address` to listen on; port 0 is a free one")
	flags.StringVar(&s.client.ID, "client-id", defaultClientID, "`ID` of the OAuth client")
	flags.StringVar(&s.client.Secret, "client-secret", defaultSecret, "`secret` of the OAuth client")
	flags.Func("dialect", "form of the API: open-source, as a self-hosted Ylem, or reference, as the hosted service is documented (default open-source)",
		func(text string) error {
			dialect, ok := map[string]ylemtest.Dialect{"open-source": ylemtest.OpenSource, "reference": ylemtest.Reference}[text]
			if !ok {
				return errors.New("it is open-source or reference")
			}
			s.dialect = dialect
			return nil
		})
	flags.Float64Var(&s.speed, "speed", 1, "let time pass `N` times as fast: with 3600, an hour passes in a second")
	file := flags.String("scenario", "", "`file` with pipelines and their past runs, in place of the built-in ones")
	printScenario := flags.Bool("print-scenario", false, "print the built-in scenario, to begin your own with, and exit")
	flags.BoolVar(&s.oneTaskRunner, "one-task-runner", false, "run the tasks of all pipelines one after the other, as a real Ylem does, and not side by side")
	flags.BoolVar(&s.quiet, "quiet", false, "log only the requests that are refused")

	err = flags.Parse(args)
	s.command = flags.Args()
	switch {
	case errors.Is(err, flag.ErrHelp):
		help(flags, stdout)
		return s, err
	case err == nil && (!(s.speed > 0) || s.speed > maxSpeed):
		err = fmt.Errorf("-speed must be more than 0, and at most %d", maxSpeed)
	case err == nil && (s.client.ID == "" || s.client.Secret == ""):
		err = errors.New("-client-id and -client-secret must not be empty")
	}
	if err != nil {
		_, _ = fmt.Fprintf(stderr, "ylem-sandbox: %s\nSee ylem-sandbox -help.\n", err)
		return s, errUsage
	}
	if *printScenario {
		_, err = stdout.Write(scenario.BuiltInJSON())
		return s, errors.Join(err, flag.ErrHelp)
	}
	if *file == "" {
		s.scenario = scenario.BuiltIn()
		return s, nil
	}
	text, err := os.ReadFile(*file)
	if err != nil {
		return s, err
	}
	if s.scenario, err = scenario.Parse(text); err != nil {
		err = fmt.Errorf("%s:\n  %s", *file, strings.ReplaceAll(err.Error(), "\n", "\n  "))
	}
	return s, err
}

func help(flags *flag.FlagSet, w io.Writer) {
	_, _ = fmt.Fprint(w, `ylem-sandbox serves a Ylem in memory, to try and to test Terraform configurations on without an account.

	ylem-sandbox [flags]                 serves until Ctrl-C, and prints what to export
	ylem-sandbox [flags] COMMAND [ARGS]  serves while the command runs, with the variables set,
	                                     as in: ylem-sandbox -quiet terraform test

Each request is logged on standard error, with the reason if it was refused.

Flags:

`)
	flags.SetOutput(w)
	flags.PrintDefaults()
	_, _ = fmt.Fprintf(w, `
With -speed, a quiet_period and timeouts of the provider still take their time, because they are measured by its own
clock. Set final_task_uuids and a short poll_interval.

Format of a scenario, by an example with every field (JSON has no comments: leave them out):

%s
Whatever is left out has a default; {} is a scenario without pipelines. An unknown field is an error. Durations are
written as in "1h30m".
`, scenario.Format)
}
