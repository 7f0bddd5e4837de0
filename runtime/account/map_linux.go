package account

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// Map is how a user namespace's users and groups are numbered outside. A nil one changes nothing.
type Map struct{ Users, Groups []specs.LinuxIDMapping }

// User is a user's number outside; known tells that there is one.
func (m *Map) User(id uint32) (number uint32, known bool) {
	if m == nil {
		return id, true
	}
	return outside(m.Users, id)
}

// Group is the same of a group.
func (m *Map) Group(id uint32) (number uint32, known bool) {
	if m == nil {
		return id, true
	}
	return outside(m.Groups, id)
}

// UserInside is what a user's number outside is in the namespace; known tells that there is one.
func (m *Map) UserInside(id uint32) (number uint32, known bool) { return inside(m.Users, id) }

// GroupInside is the same of a group.
func (m *Map) GroupInside(id uint32) (number uint32, known bool) { return inside(m.Groups, id) }

func inside(list []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, m := range list {
		if id >= m.HostID && id-m.HostID < m.Size {
			return m.ContainerID + id - m.HostID, true
		}
	}
	return 0, false
}

func outside(list []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, m := range list {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID, true
		}
	}
	return 0, false
}

// Root is who the namespace's root is outside; the first user it knows where it has no root.
func (m *Map) Root() (uid, gid uint32) {
	uid, known := m.User(0)
	if !known {
		uid = m.Users[0].HostID
	}
	if gid, known = m.Group(0); !known {
		gid = m.Groups[0].HostID
	}
	return uid, gid
}

// Write gives the user namespace of a process its mappings.
func (m *Map) Write(pid int) error {
	for file, list := range map[string][]specs.LinuxIDMapping{"uid_map": m.Users, "gid_map": m.Groups} {
		var lines strings.Builder
		for _, l := range list {
			fmt.Fprintf(&lines, "%d %d %d\n", l.ContainerID, l.HostID, l.Size)
		}
		if err := os.WriteFile("/proc/"+strconv.Itoa(pid)+"/"+file, []byte(lines.String()), 0); err != nil {
			return fmt.Errorf("write %s of the user namespace: %w", file, err)
		}
	}
	return nil
}

// ReadMap reads the mappings of the user namespace that a process lives in.
func ReadMap(pid int) (*Map, error) {
	m := &Map{}
	for file, into := range map[string]*[]specs.LinuxIDMapping{"uid_map": &m.Users, "gid_map": &m.Groups} {
		text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + file)
		if err != nil {
			return nil, fmt.Errorf("read %s of the user namespace: %w", file, err)
		}
		for line := range strings.Lines(string(text)) {
			var l specs.LinuxIDMapping
			if _, err := fmt.Sscan(line, &l.ContainerID, &l.HostID, &l.Size); err != nil {
				return nil, fmt.Errorf("read %s of the user namespace: %w", file, err)
			}
			*into = append(*into, l)
		}
	}
	if len(m.Users) == 0 || len(m.Groups) == 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage("the user namespace has no mappings")
	}
	return m, nil
}
