package runtime

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/rootfs"
)

// idMap is how a user namespace's users and groups are numbered outside. A nil one changes nothing.
type idMap struct{ users, groups []specs.LinuxIDMapping }

func (m *idMap) user(id uint32) (uint32, bool) {
	if m == nil {
		return id, true
	}
	return outside(m.users, id)
}

func (m *idMap) group(id uint32) (uint32, bool) {
	if m == nil {
		return id, true
	}
	return outside(m.groups, id)
}

func outside(list []specs.LinuxIDMapping, id uint32) (uint32, bool) {
	for _, m := range list {
		if id >= m.ContainerID && id-m.ContainerID < m.Size {
			return m.HostID + id - m.ContainerID, true
		}
	}
	return 0, false
}

// owner is who the namespace's root is outside; the first user it knows where it has no root.
func (m *idMap) owner() *rootfs.Owner {
	if m == nil {
		return nil
	}
	uid, known := m.user(0)
	if !known {
		uid = m.users[0].HostID
	}
	gid, known := m.group(0)
	if !known {
		gid = m.groups[0].HostID
	}
	return &rootfs.Owner{UID: uid, GID: gid}
}

// write gives the user namespace of a process its mappings.
func (m *idMap) write(pid int) error {
	for file, list := range map[string][]specs.LinuxIDMapping{"uid_map": m.users, "gid_map": m.groups} {
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

// readIDMap reads the mappings of a user namespace that exists, from one of its processes or its file.
func readIDMap(pid int) (*idMap, error) {
	m := &idMap{}
	for file, into := range map[string]*[]specs.LinuxIDMapping{"uid_map": &m.users, "gid_map": &m.groups} {
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
	if len(m.users) == 0 || len(m.groups) == 0 {
		return nil, errdefs.ErrInvalidArgument.WithMessage("the user namespace has no mappings")
	}
	return m, nil
}

// openUsers makes a user namespace with these mappings that nobody lives in.
func (m *idMap) openUsers() (*os.File, error) {
	pid, stop, err := holder(unix.CLONE_NEWUSER)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	defer stop()
	if err := m.write(pid); err != nil {
		return nil, err
	}
	return os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
}

// mapIDs opens a user namespace for a mount's mappings; without any, the container's own count.
func (c *creation) mapIDs(users, groups []specs.LinuxIDMapping) (*os.File, error) {
	m := &idMap{users, groups}
	if len(users) == 0 {
		m = c.birth.users
	}
	if m == nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("a mount shall map users and groups, and nothing says how")
	}
	return m.openUsers()
}
