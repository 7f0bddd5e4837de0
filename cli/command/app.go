// Package command is what all commands share: one run of the program with its streams, its configuration and its
// daemon, checks of arguments, errors with exit codes, and the parts that many commands are made of.
package command

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"github.com/cove-containers/cove/cli/config"
	"github.com/cove-containers/cove/client"
	"github.com/cove-containers/cove/release"
	"github.com/spf13/cobra"
)

// Name is what the program calls itself in its messages: as it was called, when that is "docker", so that scripts written for docker
// read what they expect.
var Name = nameOf(os.Args[0])

func nameOf(program string) string {
	if base := strings.TrimSuffix(filepath.Base(program), ".exe"); base == "docker" {
		return base
	}
	return "cove"
}

// Version is the program's own, with what it was built of.
func Version() string { return release.Version + ", build " + release.Commit }

// App is one run of the program: its streams, and what commands share.
type App struct {
	In       *os.File
	Out, Err io.Writer
	Stdout   *os.File // what Out writes to, when that is a file
	Args     []string // what the program was called with
	Global   Flags
	// Build makes the command that builds images, in the program that can. In others it is nil, and that program is run.
	Build    func(*App) *cobra.Command
	settings *config.File
	daemon   *client.Client
	restore  atomic.Pointer[func()] // gives the terminal back
}

// StatusError ends the program with a code; the text, which may be empty, is printed as it is.
type StatusError struct {
	Code  int
	Text  string
	Cause error
}

func (e *StatusError) Error() string { return e.Text }

func (e *StatusError) Unwrap() error { return e.Cause }

// Exit is the error that ends the program with code and says nothing.
func Exit(code int) error {
	if code == 0 {
		return nil
	}
	return &StatusError{Code: code}
}
