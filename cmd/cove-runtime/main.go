// Command cove-runtime is the small static program beside a container. As "shim" it supervises one container for the
// daemon; as "init" it is process 1 of a container made with --init; and with the verbs of the OCI runtime
// specification it stands in for runc.
package main

import (
	"fmt"
	"os"
	goruntime "runtime"

	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
)

func main() {
	// The first thread stays as the process was started, whatever goroutines do with theirs.
	goruntime.LockOSThread()
	if runtime.IsInit(os.Args) {
		os.Exit(runtime.Init(os.Args))
	}
	verb := ""
	if len(os.Args) > 1 {
		verb = os.Args[1]
	}
	switch verb {
	case "shim":
		os.Exit(shim.Main(os.Args[2:]))
	case "steps":
		os.Exit(shim.StepsMain())
	case "init":
		os.Exit(runtime.Init(os.Args[1:]))
	case "hello":
		hello(os.Stdout)
	case "--version", "-v":
		fmt.Println("cove-runtime version " + release.Version)
		fmt.Println("spec: " + ociVersion)
	default:
		os.Exit(ociMain(os.Args[1:]))
	}
}
