// Command leno runs and operates a service mesh.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/leno-mesh/leno/cli"
)

// version is written by the linker (-X main.version=...).
var version string

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return cli.Main(ctx, cli.System(version), os.Args[1:])
}
