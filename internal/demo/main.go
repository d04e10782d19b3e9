// Command demo shows the provider at work without an account: it builds it, serves a Ylem in memory, and drives
// terraform as a user does. With -serve it only serves.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/ylem-co/terraform-provider-ylem/internal/terraformcli"
)

func main() { os.Exit(run()) }

// run returns the exit code, so that every clean-up is done before the process ends.
func run() int {
	serveOnly := flag.Bool("serve", false, "only serve a Ylem in memory, and print how to reach it")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	do := demonstrate
	if *serveOnly {
		do = serve
	}
	switch err := do(ctx); {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(os.Stderr, "\nInterrupted. Nothing is left behind.")
	default:
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %s\n", err)
	}
	return 1
}

// serve serves the demo's Ylem until it is interrupted.
func serve(ctx context.Context) error {
	root, err := terraformcli.ModuleRoot(ctx)
	if err != nil {
		return err
	}
	server, client := newYlem()
	defer server.Close()

	fmt.Printf(`A Ylem in memory is served until Ctrl-C. To use it in another shell:

export YLEM_API_URL=%s
export YLEM_API_CLIENT_ID=%s
export YLEM_API_CLIENT_SECRET=%s

Its pipelines, with the runs of some months:

`, server.URL, client.ID, client.Secret)
	for _, p := range pipelines() {
		fmt.Printf("%s  %s\n", p.UUID, pipelineNames[p.UUID])
		for _, t := range p.Tasks {
			fmt.Printf("  %s  task %s\n", t.UUID, t.Type)
		}
	}
	fmt.Printf(`
For terraform to take the provider that "make build" builds, without terraform init, write this to a file, and set
TF_CLI_CONFIG_FILE to its path:

%s`, terraformcli.DevOverrides(root))

	<-ctx.Done()
	return nil
}
