package sys

import (
	"runtime"

	"golang.org/x/sys/unix"
)

// OnOwnThread runs f on an operating system thread of its own, which ends with f: f may enter namespaces, change its
// root and mask at will (after unshare(CLONE_FS)), and no other code of this process ever runs there. Children f
// clones live on.
func OnOwnThread(f func() error) error {
	done := make(chan error, 1)
	go throwaway(f, done)
	return <-done
}

// throwaway never unlocks its thread, so the Go runtime ends the thread together with the goroutine. The process's
// first thread cannot end and must stay pristine (/proc/PID/ns and /proc/PID/root show it), so f goes elsewhere
// while this goroutine keeps that thread busy.
func throwaway(f func() error, done chan<- error) {
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		done <- f()
		return
	}
	defer runtime.UnlockOSThread()
	elsewhere := make(chan error)
	go throwaway(f, elsewhere)
	done <- <-elsewhere
}

// OnOtherThread runs f on a thread whose namespaces are this process's own: for a function of OnOwnThread that needs
// something done outside.
func OnOtherThread(f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	return <-done
}
