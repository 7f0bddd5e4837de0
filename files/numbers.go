package files

import (
	"fmt"
	"os"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// numbers tell how a running container's users and groups are numbered in its view. Nil ones change nothing; the files of a
// container that does not run lie on the disk with the container's own numbers.
type numbers struct{ *runtime.UserMap }

// readNumbers reads those of a process; nil where it lives in the engine's own user namespace.
func readNumbers(pid int) (*numbers, error) {
	its, err := os.Stat(fmt.Sprintf("/proc/%d/ns/user", pid))
	if err != nil {
		return nil, err
	}
	own, err := os.Stat("/proc/self/ns/user")
	if err != nil || os.SameFile(its, own) {
		return nil, err
	}
	m, err := runtime.ReadUserMap(pid)
	if err != nil {
		return nil, err
	}
	return &numbers{m}, nil
}

// actAsRoot makes what the calling thread creates in the view belong to the container's root.
func (n *numbers) actAsRoot() error {
	if n == nil {
		return nil
	}
	return sys.ActAs(n.Root())
}

// inward turns the container's numbers into those of the view.
func (n *numbers) inward() archive.Numbers {
	if n == nil {
		return nil
	}
	return func(uid, gid int) (int, int, error) {
		u, known := n.User(uint32(uid))
		if !known {
			return 0, 0, fmt.Errorf("container ID %d cannot be mapped to a host ID", uid)
		}
		g, known := n.Group(uint32(gid))
		if !known {
			return 0, 0, fmt.Errorf("container ID %d cannot be mapped to a host ID", gid)
		}
		return int(u), int(g), nil
	}
}

// nobody is who files belong to in the container whose owner it does not know.
const nobody = 65534

// outward is the other way round.
func (n *numbers) outward() archive.Numbers {
	if n == nil {
		return nil
	}
	return func(uid, gid int) (int, int, error) {
		u, known := n.UserInside(uint32(uid))
		if !known {
			u = nobody
		}
		g, known := n.GroupInside(uint32(gid))
		if !known {
			g = nobody
		}
		return int(u), int(g), nil
	}
}
