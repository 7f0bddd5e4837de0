// Package limits keeps the limit of open files this process was started with.
//
// The Go runtime raises the soft limit to the hard one when package syscall is initialised, and gives children it
// starts itself the old one back; whoever starts processes by other means must do the same. This package imports
// nothing, so it is initialised before syscall and still sees the old value: packages are initialised as soon as
// what they import is, in the order of their paths. The runtime's tests would notice if that changed.
package limits

import "unsafe"

// Limit is a resource limit, laid out as the kernel's struct rlimit64.
type Limit struct{ Soft, Hard uint64 }

// OpenFiles is the limit of open files before the Go runtime raised it, and whether it could be read.
var OpenFiles, OpenFilesKnown = atStart()

//go:linkname rawSyscall6 syscall.RawSyscall6
func rawSyscall6(number, a1, a2, a3, a4, a5, a6 uintptr) (r1, r2, errno uintptr)

// openFiles is RLIMIT_NOFILE.
const openFiles = 7

func atStart() (Limit, bool) {
	var l Limit
	if prlimit64 == 0 {
		return l, false
	}
	_, _, errno := rawSyscall6(prlimit64, 0, openFiles, 0, uintptr(unsafe.Pointer(&l)), 0, 0)
	return l, errno == 0
}
