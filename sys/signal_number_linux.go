package sys

import (
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// First and last of the signals without names of their own, as C programs count them.
const (
	firstRealTime = 34
	lastRealTime  = 64
)

// SignalNumber gives a signal's number by its name, as in "SIGTERM" or "SIGRTMIN+1", and 0 for what is none.
func SignalNumber(name string) syscall.Signal {
	if n := unix.SignalNum(name); n != 0 {
		return n
	}
	for prefix, base := range map[string]int{"SIGRTMIN": firstRealTime, "SIGRTMAX": lastRealTime} {
		rest, found := strings.CutPrefix(name, prefix)
		if !found {
			continue
		}
		n, err := strconv.Atoi(rest)
		if rest == "" {
			n, err = 0, nil
		}
		if n += base; err == nil && n >= firstRealTime && n <= lastRealTime {
			return syscall.Signal(n)
		}
	}
	return 0
}
