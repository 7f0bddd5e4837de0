package terminal

import (
	"os"
	"syscall"
)

// TerminationSignals ask a program to end.
func TerminationSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

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
