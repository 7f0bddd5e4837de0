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

// install adds the call that installs the filter.
func (f filter) install(p *program) {
	prog := &unix.SockFprog{Len: uint16(len(f.code)), Filter: (*unix.SockFilter)(unsafe.Pointer(&f.code[0]))}
	p.keep = append(p.keep, f.code)
	p.add("install seccomp filter", unix.SYS_SECCOMP, seccompSetModeFilter, uintptr(f.flags), object(p, prog))
}
