package runtime

import (
	"fmt"
	"unsafe"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/seccomp"
)

// filter is a seccomp program and the flags to install it with.
type filter struct {
	code  []seccomp.Instruction
	flags uint
}

// loadFilter gets a profile's program, compiled or from the cache.
func loadFilter(profile *specs.LinuxSeccomp, cache string) (filter, error) {
	if profile == nil {
		return filter{}, nil
	}
	p, err := seccomp.Load(profile, cache)
	if err != nil {
		return filter{}, fmt.Errorf("seccomp profile: %w", err)
	}
	if p.Notify {
		return filter{}, fmt.Errorf("seccomp listener: %w", errdefs.ErrNotImplemented)
	}
	return filter{p.Code, p.Flags}, nil
}

func (f filter) empty() bool { return len(f.code) == 0 }

const seccompSetModeFilter = 1

// sockFprog is struct sock_fprog, its pointer a number: it may lie where no Go pointer can.
type sockFprog struct {
	length uint16
	filter uintptr
}

// install adds the call that installs the filter.
func (f filter) install(p *program) {
	code := p.bytes(unsafe.Slice((*byte)(unsafe.Pointer(&f.code[0])), len(f.code)*int(unsafe.Sizeof(f.code[0]))))
	prog := &sockFprog{length: uint16(len(f.code)), filter: code}
	p.add("install seccomp filter", unix.SYS_SECCOMP, seccompSetModeFilter, uintptr(f.flags), object(p, prog))
}
