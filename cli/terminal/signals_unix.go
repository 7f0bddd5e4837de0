//go:build !windows

package terminal

import (
	"os"
	"syscall"
)

// TerminationSignals ask a program to end.
func TerminationSignals() []os.Signal { return []os.Signal{syscall.SIGINT, syscall.SIGTERM} }

// resizeSignals tell that the terminal has another size.
func resizeSignals() []os.Signal { return []os.Signal{syscall.SIGWINCH} }

// signalName gives the name the API knows a signal by. Those that the system sends the client for its own sake
// have none: they are not the container's business.
func signalName(s os.Signal) (string, bool) {
	names := map[syscall.Signal]string{
		syscall.SIGABRT: "ABRT", syscall.SIGALRM: "ALRM", syscall.SIGBUS: "BUS", syscall.SIGCONT: "CONT", syscall.SIGFPE: "FPE",
		syscall.SIGHUP: "HUP", syscall.SIGILL: "ILL", syscall.SIGINT: "INT", syscall.SIGIO: "IO", syscall.SIGPROF: "PROF",
		syscall.SIGQUIT: "QUIT", syscall.SIGSEGV: "SEGV", syscall.SIGSYS: "SYS", syscall.SIGTERM: "TERM", syscall.SIGTRAP: "TRAP",
		syscall.SIGTSTP: "TSTP", syscall.SIGTTIN: "TTIN", syscall.SIGTTOU: "TTOU", syscall.SIGUSR1: "USR1", syscall.SIGUSR2: "USR2",
		syscall.SIGVTALRM: "VTALRM", syscall.SIGWINCH: "WINCH", syscall.SIGXCPU: "XCPU", syscall.SIGXFSZ: "XFSZ",
	}
	n, ok := s.(syscall.Signal)
	if !ok {
		return "", false
	}
	name, ok := names[n]
	return name, ok
}
