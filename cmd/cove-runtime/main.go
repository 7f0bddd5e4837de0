// Command cove-runtime is the small static program beside a container: its supervisor (shim), and the OCI runtime.
package main

import (
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
)

func main() {
	// The first thread stays as the process was started, whatever goroutines do with theirs.
	goruntime.LockOSThread()
	if runtime.IsInit(os.Args) {
		os.Exit(runtime.Init(os.Args))
	}
	if len(os.Args) < 2 {
		fmt.Fprintln(os.Stderr, "usage: cove-runtime VERB [ARG...]")
		os.Exit(2)
	}
	switch os.Args[1] {
	case "shim":
		os.Exit(shim.Main(os.Args[2:]))
	case "init":
		os.Exit(runtime.Init(os.Args[1:]))
	case "hello":
		hello(os.Stdout)
	case "--version":
		fmt.Println("cove-runtime version " + api.EngineVersion)
	default:
		fmt.Fprintf(os.Stderr, "cove-runtime: no verb %q\n", os.Args[1])
		os.Exit(2)
	}
}
