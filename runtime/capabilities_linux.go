package runtime

import (
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/document"
	"github.com/cove-containers/cove/sys"
)

// capabilitySet is a set of capabilities, a bit for each.
type capabilitySet uint64

func (s capabilitySet) has(n int) bool { return s&(1<<uint(n)) != 0 }

func (s capabilitySet) list() []int {
	var out []int
	for n := 0; n < 64; n++ {
		if s.has(n) {
			out = append(out, n)
		}
	}
	return out
}

// capabilityBounds are a process's five sets.
type capabilityBounds struct {
	bounding, effective, permitted, inheritable, ambient capabilitySet
}

// capabilitySets reads the document's sets; a document without them takes all capabilities away. What this system
// does not know nobody can have: see document.UnknownCapabilities.
func capabilitySets(c *specs.LinuxCapabilities) capabilityBounds {
	var b capabilityBounds
	into := []*capabilitySet{&b.bounding, &b.effective, &b.permitted, &b.inheritable, &b.ambient}
	for i, names := range document.CapabilityLists(c) {
		for _, name := range names {
			if n, known := sys.CapabilityNumber(name); known {
				*into[i] |= 1 << uint(n)
			}
		}
	}
	return b
}

// outsideBounding lists what has to be dropped from the bounding set.
func (b capabilityBounds) outsideBounding() []int {
	var out []int
	for n := 0; n <= sys.LastCapability(); n++ {
		if !b.bounding.has(n) {
			out = append(out, n)
		}
	}
	return out
}

// with adds a capability to what the process may use now.
func (b capabilityBounds) with(n int) capabilityBounds {
	b.permitted |= 1 << uint(n)
	b.effective |= 1 << uint(n)
	return b
}

// set adds the call that sets the process's permitted, effective and inheritable capabilities.
func (b capabilityBounds) set(p *program) {
	header := &unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	data := &[2]unix.CapUserData{
		{Effective: uint32(b.effective), Permitted: uint32(b.permitted), Inheritable: uint32(b.inheritable)},
		{Effective: uint32(b.effective >> 32), Permitted: uint32(b.permitted >> 32), Inheritable: uint32(b.inheritable >> 32)},
	}
	p.add("set capabilities", unix.SYS_CAPSET, object(p, header), object(p, data))
}
