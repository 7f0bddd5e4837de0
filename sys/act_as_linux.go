package sys

import "golang.org/x/sys/unix"

// ActAs makes what the calling thread creates belong to a user and a group; what the thread may do stays as it is. It is for
// threads of their own, see OnOwnThread.
func ActAs(uid, gid uint32) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return err
	}
	if err := unix.Setfsgid(int(gid)); err != nil {
		return err
	}
	if err := unix.Setfsuid(int(uid)); err != nil {
		return err
	}
	// A user who is not root loses what has to do with files.
	return unix.Capset(&header, &sets[0])
}
