package run

import (
	"io/fs"
	"os"
	"syscall"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// openUsers makes the box's user namespace, where it is to have one of its own, and a network namespace that belongs to it. Layers
// are shown as that namespace's: on the disk they have its numbers.
func (b *box) openUsers() error {
	u := b.runner.parts.Config.Users
	if u == nil {
		return nil
	}
	n, err := shim.OpenNamespaces(u.Users, u.Groups, nil, true)
	if err != nil {
		return err
	}
	b.push(func() error { n.Close(); return nil })
	b.namespaces, b.users = n, &runtime.UserMap{Users: u.Users, Groups: u.Groups}
	b.as = &sys.Mapping{Users: n.Users}
	b.as.UID, b.as.GID = b.users.Root()
	return nil
}

// permit refuses what cannot be had in a user namespace of one's own, as for containers.
func (r *Runner) permit(network string, insecure bool) error {
	if r.parts.Config.Users == nil {
		return nil
	}
	return spec.ValidateUsers(&ct.HostConfig{Privileged: insecure, NetworkMode: ct.NetworkMode(network)})
}

// own gives a file of memory, which not every kernel maps, to somebody in the box.
func (b *box) own(path string, uid, gid uint32) error {
	u, known := b.users.User(uid)
	g, also := b.users.Group(gid)
	if !known || !also {
		return invalid("user %d:%d is not mapped in the user namespace", uid, gid)
	}
	return os.Chown(path, int(u), int(g))
}

// nobody is who files belong to in a user namespace that does not know their owner.
const nobody = 65534

// ownerOf is whose a file is that was found in a box with these users.
func ownerOf(info fs.FileInfo, users *runtime.UserMap) (uid, gid uint32) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nobody, nobody
	}
	if users == nil {
		return st.Uid, st.Gid
	}
	if uid, ok = users.UserInside(st.Uid); !ok {
		uid = nobody
	}
	if gid, ok = users.GroupInside(st.Gid); !ok {
		gid = nobody
	}
	return uid, gid
}
