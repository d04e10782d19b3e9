// The Terraform provider for Ylem, the open-source data-pipeline platform.
package main

import (
	"flag"
	"log"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/ylem-co/terraform-provider-ylem/internal/provider"
)

// version is set when a release is built.
var version = "dev"

func main() {
	debug := flag.Bool("debug", false, "wait for a debugger such as delve: print how Terraform attaches to this process")
	flag.Parse()

	var opts []tf6server.ServeOpt
	if *debug {
		opts = append(opts, tf6server.WithManagedDebug())
	}
	err := tf6server.Serve("registry.terraform.io/ylem-co/ylem", provider.NewServer(version), opts...)
	if err != nil {
		log.Fatal(err)
	}
}
