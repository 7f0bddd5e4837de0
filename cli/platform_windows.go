package cli

import (
	"os"
	"syscall"
)

// defaultHost is where the daemon listens when nothing else is said.
func defaultHost() string { return "npipe:////./pipe/cove_engine" }

func terminationSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// resizeSignals are none: the size of a console has to be asked for.
func resizeSignals() []os.Signal { return nil }

// signalName gives the name the API knows a signal by.
func signalName(s os.Signal) (string, bool) {
	switch s {
	case os.Interrupt:
		return "INT", true
	case syscall.SIGTERM:
		return "TERM", true
	}
	return "", false
}
