// Command leno runs and operates a service mesh.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/leno-mesh/leno/cli"
	"github.com/leno-mesh/leno/proxy/agent"
)

// version is written by the linker (-X main.version=...).
var version string

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	env := cli.System(version)
	env.Proxy = func(args []string) int { return agent.Main(args, env.Version) }
	return cli.Main(ctx, env, os.Args[1:])
}
