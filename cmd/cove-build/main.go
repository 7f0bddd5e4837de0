// Command cove-build is the command line of Cove with the builder's client linked in. "cove build" runs it; what it does
// otherwise is what cove does.
package main

import (
	"os"

	"github.com/cove-containers/cove/cli"
	"github.com/cove-containers/cove/cli/build"
)

func main() { os.Exit(cli.Main(os.Args[1:], build.Command)) }
