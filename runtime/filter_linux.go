package runtime

import (
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/seccomp"
)

// filter is a seccomp program and the flags to install it with.
type filter struct {
	code  []seccomp.Instruction
	flags uint
}

func (f filter) empty() bool { return len(f.code) == 0 }

const seccompSetModeFilter = 1

// install adds the call that installs the filter.
func (f filter) install(p *program) {
	prog := &unix.SockFprog{Len: uint16(len(f.code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&f.code[0]))}
	p.keep = append(p.keep, f.code)
	p.add("install seccomp filter", unix.SYS_SECCOMP, seccompSetModeFilter, uintptr(f.flags), object(p, prog))
}
