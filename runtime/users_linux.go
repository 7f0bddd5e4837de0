package runtime

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"unsafe"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/account"
	"github.com/cove-containers/cove/runtime/rootfs"
	"github.com/cove-containers/cove/sys"
)

// ownerOf is the root of a container whose users are mapped; nil: it is the host's.
func ownerOf(m *account.Map) *rootfs.Owner {
	if m == nil {
		return nil
	}
	uid, gid := m.Root()
	return &rootfs.Owner{UID: uid, GID: gid}
}

// idMap is how the container's user namespace is numbered; nil where it has none.
func (n *namespaces) idMap(l *specs.Linux) (*account.Map, error) {
	m := &account.Map{Users: l.UIDMappings, Groups: l.GIDMappings}
	given := len(m.Users) + len(m.Groups)
	switch {
	case n.users != nil:
		has, err := mappingsOf(n.users)
		if err == nil && given != 0 && !reflect.DeepEqual(m, has) {
			err = errdefs.ErrInvalidArgument.WithMessage("the mappings of the user namespace to join are not those of the document")
		}
		return has, err
	case !n.ownUsers() && given == 0:
		return nil, nil
	case !n.ownUsers():
		return nil, errdefs.ErrInvalidArgument.WithMessage("user namespace mappings specified, but user namespace isn't enabled in the config")
	case len(m.Users) == 0 || len(m.Groups) == 0:
		return nil, errdefs.ErrInvalidArgument.WithMessage("user namespaces enabled, but no mapping of users and of groups is specified")
	}
	return m, nil
}

// mappingsOf reads how a user namespace is numbered, which only its processes' files tell: it gets one for the moment.
func mappingsOf(users *os.File) (*account.Map, error) {
	pid, stop, err := holder(0, users)
	if err != nil {
		return nil, fmt.Errorf("join user namespace: %w", err)
	}
	defer stop()
	return account.ReadMap(pid)
}

// openUsers makes a user namespace with these mappings that nobody lives in.
func openUsers(m *account.Map) (*os.File, error) {
	pid, stop, err := holder(unix.CLONE_NEWUSER, nil)
	if err != nil {
		return nil, fmt.Errorf("make user namespace: %w", err)
	}
	defer stop()
	if err := m.Write(pid); err != nil {
		return nil, err
	}
	return os.Open("/proc/" + strconv.Itoa(pid) + "/ns/user")
}

// NewUserNamespace makes a user namespace in which nobody lives.
func NewUserNamespace(userMap, groupMap []specs.LinuxIDMapping) (*os.File, error) {
	return openUsers(&account.Map{Users: userMap, Groups: groupMap})
}

// NewNetworkNamespace makes a network namespace that belongs to a user namespace. Its loopback is down.
func NewNetworkNamespace(users *os.File) (*os.File, error) {
	pid, stop, err := holder(unix.CLONE_NEWNET, users)
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	defer stop()
	return os.Open("/proc/" + strconv.Itoa(pid) + "/ns/net")
}

// UserMap is how a user namespace's users and groups are numbered outside.
type UserMap = account.Map

// ReadUserMap reads that of the user namespace that a process lives in.
func ReadUserMap(pid int) (*UserMap, error) { return account.ReadMap(pid) }

// mapIDs opens a user namespace for a mount's mappings; without any, the container's own count.
func (c *creation) mapIDs(users, groups []specs.LinuxIDMapping) (*os.File, error) {
	switch {
	case len(users) != 0:
		return openUsers(&account.Map{Users: users, Groups: groups})
	case c.namespaces.users != nil:
		return aboveStandard(c.namespaces.users, 0)
	case c.birth.users == nil:
		return nil, errdefs.ErrInvalidArgument.WithMessage("a mount shall map users and groups, and nothing says how")
	}
	return openUsers(c.birth.users)
}

// joinUsers has the child enter the user namespace that is there already. What that namespace shall own can only be made
// inside, and so a second process comes with it, in place of the first.
func (c *creation) joinUsers(p *program) {
	p.add("hide the runtime", unix.SYS_PRCTL, unix.PR_SET_DUMPABLE, 0)
	p.add("join user namespace", unix.SYS_SETNS, c.namespaces.users.Fd(), unix.CLONE_NEWUSER)
	flags := c.namespaces.withProcess() | unix.CLONE_FILES | unix.CLONE_PARENT | unix.CLONE_PIDFD
	p.add("make namespaces", unix.SYS_CLONE, flags, 0, uintptr(unsafe.Pointer(c.second))).check = onlyZero
}

// takeSecond takes the second process for the container's, once the first one has made it and ended.
func (c *creation) takeSecond(pid int, pidfd *os.File) error {
	first := &Process{pid: pid, pidfd: pidfd}
	err := first.control(func(fd int) error {
		if err := awaitEnd(fd); err != nil || *c.second != 0 {
			return err
		}
		return c.program.listen(int(c.pipes.report.Fd()), markPrepared, fd)
	})
	if _, waitErr := first.Wait(); err != nil || waitErr != nil {
		return errors.Join(err, waitErr)
	}
	if err := unix.SetNonblock(int(*c.second), true); err != nil {
		return err
	}
	second := &Process{pidfd: sys.FD(*c.second).File("pidfd")}
	if second.pid, err = numberOf(int(*c.second)); err != nil {
		return errors.Join(fmt.Errorf("find the container's process: %w", err), second.signal(unix.SIGKILL), second.pidfd.Close())
	}
	c.container.born(second.pid, second.pidfd, &c.program, c.pipes, c.spec.Process.Args[0], "")
	return nil
}

// awaitEnd returns when the process of a descriptor has ended; it is not reaped.
func awaitEnd(pidfd int) error {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// numberOf reads whose descriptor it is.
func numberOf(pidfd int) (int, error) {
	text, err := os.ReadFile("/proc/self/fdinfo/" + strconv.Itoa(pidfd))
	if err != nil {
		return 0, err
	}
	_, after, _ := bytes.Cut(text, []byte("\nPid:"))
	line, _, _ := bytes.Cut(after, []byte("\n"))
	return strconv.Atoi(string(bytes.TrimSpace(line)))
}
