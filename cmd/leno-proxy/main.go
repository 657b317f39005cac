// Command leno-proxy is the data plane of the Leno service mesh and nothing
// else.
package main

import (
	"os"

	"github.com/leno-mesh/leno/proxy/agent"
)

// version is written by the linker (-X main.version=...).
var version string

func main() { os.Exit(agent.Main(os.Args[1:], version)) }
