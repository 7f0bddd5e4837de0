// Package limits keeps the limit of open files this process was started with.
//
// The Go runtime raises the soft limit to the hard one when package os is initialised, and gives children it starts
// itself the old one back; whoever starts processes by other means must do the same. This package imports nothing
// that imports os, and its path sorts before os, so it is initialised earlier and still sees the old value.
package limits

import "syscall"

// OpenFiles is the limit of open files before the Go runtime raised it, and whether it could be read.
var OpenFiles, OpenFilesKnown = atStart()

func atStart() (syscall.Rlimit, bool) {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return l, err == nil
}
