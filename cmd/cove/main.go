// Command cove is the command line of the Cove container engine.
package main

import (
	"os"

	"github.com/cove-containers/cove/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], nil)) }
