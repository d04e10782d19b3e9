// The Terraform provider for Ylem, the open-source data-pipeline platform.
package main

import (
	"cmp"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/ylem-co/terraform-provider-ylem/internal/provider"
)

// version is set when a release is built.
var version = "dev"

func main() {
	attach := flag.Bool("debug", false, "wait for a debugger such as delve: print how Terraform attaches to this process")
	flag.Parse()

	limitLogs()
	// net/http prints what arrives unasked on an idle connection, which may be anything.
	log.SetOutput(io.Discard)
	var opts []tf6server.ServeOpt
	if *attach {
		opts = append(opts, tf6server.WithManagedDebug())
	}
	err := tf6server.Serve("registry.terraform.io/ylem-co/ylem", provider.NewServer(version), opts...)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// limitLogs has only those lines written that Terraform shows. By default, the framework writes each of its steps, and
// Terraform reads and drops them: half the time of a plan with many data sources.
func limitLogs() {
	level := cmp.Or(os.Getenv("TF_LOG_PROVIDER"), os.Getenv("TF_LOG"), "OFF")
	if strings.EqualFold(level, "JSON") { // everything, in another form
		level = "TRACE"
	}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_PROVIDER_YLEM"} {
		if os.Getenv(name) == "" {
			_ = os.Setenv(name, level) // it cannot fail with these names
		}
	}
}
