// Command demo shows the provider at work without an account: it builds it, serves a Ylem in memory, and drives
// terraform as a user does.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() { os.Exit(run()) }

// run returns the exit code, so that every clean-up is done before the process ends.
func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	switch err := demonstrate(ctx); {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, ctx.Err()):
		fmt.Fprintln(os.Stderr, "\nInterrupted. Nothing is left behind.")
	default:
		fmt.Fprintf(os.Stderr, "\nThe demo failed: %s\n", err)
	}
	return 1
}
