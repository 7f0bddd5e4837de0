package seccomp

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// architecture is one system call convention a kernel may offer.
type architecture struct {
	name specs.Arch
	// audit is the number the kernel gives a filter; x32 shares x86-64's and has a bit in each call's number.
	audit uint32
	bit   uint32
	calls string
}

// x32Bit marks a system call of the x32 convention.
const x32Bit = 0x4000_0000

var architectures = []architecture{
	{specs.ArchX86_64, 0xc000_003e, 0, callsX86_64},
	{specs.ArchX32, 0xc000_003e, x32Bit, callsX32},
	{specs.ArchX86, 0x4000_0003, 0, callsX86},
	{specs.ArchAARCH64, 0xc000_00b7, 0, callsAARCH64},
	{specs.ArchARM, 0x4000_0028, 0, callsARM},
}

// native is the architecture this program was built for.
func native() specs.Arch {
	return map[string]specs.Arch{
		"amd64": specs.ArchX86_64, "386": specs.ArchX86, "arm64": specs.ArchAARCH64, "arm": specs.ArchARM,
	}[runtime.GOARCH]
}

// chosen lists a profile's architectures, always the native one first. Those this machine cannot run are left out.
func chosen(profile *specs.LinuxSeccomp) ([]architecture, error) {
	family := map[specs.Arch][]specs.Arch{
		specs.ArchX86_64:  {specs.ArchX86_64, specs.ArchX32, specs.ArchX86},
		specs.ArchX86:     {specs.ArchX86},
		specs.ArchAARCH64: {specs.ArchAARCH64, specs.ArchARM},
		specs.ArchARM:     {specs.ArchARM},
	}[native()]
	if family == nil {
		return nil, fmt.Errorf("seccomp on %s: %w", runtime.GOARCH, errdefs.ErrNotImplemented)
	}
	wanted := map[specs.Arch]bool{native(): true}
	for _, a := range profile.Architectures {
		wanted[a] = true
	}
	var all []architecture
	for _, name := range family {
		for _, a := range architectures {
			if a.name == name && wanted[name] {
				all = append(all, a)
			}
		}
	}
	return all, nil
}

// numbers parses an architecture's table of calls.
func (a architecture) numbers() (map[string]uint32, error) {
	m := make(map[string]uint32, 512)
	next := uint32(0)
	for _, word := range strings.Fields(a.calls) {
		name, value, given := strings.Cut(word, "=")
		if given {
			n, err := strconv.ParseUint(value, 10, 32)
			if err != nil {
				return nil, fmt.Errorf("number of system call %s: %w", name, err)
			}
			next = uint32(n)
		}
		m[name] = next | a.bit
		next++
	}
	return m, nil
}
