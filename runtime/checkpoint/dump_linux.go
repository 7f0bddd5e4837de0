package checkpoint

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// Source is a running container.
type Source struct {
	// Pid is its first process.
	Pid int
	// Own are the places of mounts that are the container's alone: see Own.
	Own []string
	// Streams are what standard input, output and error were at its start, as links in /proc show it.
	Streams [3]string
}

// kinds are the file systems that belong to the container's own namespaces, or lie in its memory.
var kinds = []string{"proc", "devpts", "mqueue", "tmpfs"}

// Own are the mounts of a document that criu keeps and makes again. All others are there when it restores.
func Own(mounts []specs.Mount) (places []string) {
	for _, m := range mounts {
		bind := slices.ContainsFunc(m.Options, func(o string) bool { return o == "bind" || o == "rbind" })
		if slices.Contains(kinds, m.Type) && !bind {
			places = append(places, strings.TrimRight(m.Destination, "/"))
		}
	}
	return places
}

// Dump keeps the container's state. Where it fails, the container goes on; what is in the folder is no checkpoint.
func Dump(s Source, o Options) error {
	if apart, err := ownNamespace(s.Pid, "user"); err != nil || apart {
		return cmp.Or(err, error(errUsers))
	}
	mounts, err := sys.MountsOf(strconv.Itoa(s.Pid))
	if err != nil {
		return err
	}
	r := record{Mounts: external(mounts, s.Own)}
	ask := []string{}
	for _, place := range r.Mounts {
		ask = append(ask, "mnt["+place+"]:"+place)
	}
	if r.Network, err = ownNamespace(s.Pid, "net"); err != nil {
		return err
	}
	if r.Network {
		inode, err := inodeOf("/proc/" + strconv.Itoa(s.Pid) + "/ns/net")
		if err != nil {
			return err
		}
		ask = append(ask, fmt.Sprintf("net[%d]:%s", inode, networkKey))
	}
	for n, link := range s.Streams {
		key, file, err := streamKey(link)
		if err != nil {
			return err
		}
		r.Streams[n] = key
		if file {
			ask = append(ask, key)
		}
	}
	if r.Program, err = foreignProgram(s.Pid, mounts); err != nil {
		return err
	}
	if r.Program != nil {
		ask = append(ask, r.Program.Key)
	}
	c := &call{options: o, kind: typeDump, log: "dump.log", ask: func(m *message) {
		m.number(optPid, uint64(s.Pid))
		m.yes(optLeaveRunning, o.LeaveRunning)
		m.yes(optLinkRemap, true)
		for _, e := range ask {
			m.text(optExternal, e)
		}
	}}
	if _, err := c.do(); err != nil {
		return err
	}
	return r.write(o.Images)
}

// Streams shows what descriptors of a process (a number, or "self") are.
func Streams(process string, fds ...int) (links [3]string) {
	for n, fd := range fds {
		// What cannot be read is not from outside.
		links[n], _ = os.Readlink("/proc/" + process + "/fd/" + strconv.Itoa(fd))
	}
	return links
}

// networkKey is the name of the network namespace.
const networkKey = "network"

// errUsers refuses what has the mounts that are copied for criu under another user namespace's lock.
var errUsers = errdefs.ErrNotImplemented.WithMessage("checkpoints of containers in a user namespace of their own are not supported")

// ownNamespace tells whether a process has another namespace than this one.
func ownNamespace(pid int, kind string) (bool, error) {
	theirs, err := os.Stat("/proc/" + strconv.Itoa(pid) + "/ns/" + kind)
	if err != nil {
		return false, err
	}
	ours, err := os.Stat("/proc/self/ns/" + kind)
	return err == nil && !os.SameFile(theirs, ours), err
}

func inodeOf(name string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(name, &st); err != nil {
		return 0, &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return st.Ino, nil
}

// streamKey is criu's name of a standard stream that comes from outside the container; file tells that it has to be
// told of it. A pipe it knows by itself. Other files of the outside would have to have the size they had.
func streamKey(link string) (key string, file bool, err error) {
	switch {
	case strings.HasPrefix(link, "pipe:["):
		return link, false, nil
	case link != os.DevNull:
		return "", false, nil
	}
	// The host's, in the mount namespace that the runtime opened it in, which is this thread's.
	key, _, err = fileKey(link)
	return key, true, err
}

// fileKey is criu's name of a file, and the mount it is in.
func fileKey(name string) (key, mount string, err error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, name, 0, unix.STATX_INO|unix.STATX_MNT_ID, &st); err != nil {
		return "", "", &os.PathError{Op: "stat", Path: name, Err: err}
	}
	return fmt.Sprintf("file[%x:%x]", st.Mnt_id, st.Ino), strconv.FormatUint(st.Mnt_id, 10), nil
}

// foreignProgram is what the first process runs where that is none of the container's own, which makes it the runtime's
// init; else nil.
func foreignProgram(pid int, mounts []sys.Mount) (*program, error) {
	exe := "/proc/" + strconv.Itoa(pid) + "/exe"
	key, in, err := fileKey(exe)
	if err != nil || slices.ContainsFunc(mounts, func(m sys.Mount) bool { return m.ID == in }) {
		return nil, err
	}
	digest, err := digestOf(exe)
	return &program{Key: key, Digest: digest}, err
}

// external lists the places of the mounts that are not the container's alone. What shows a file system that is, as
// parts of proc do that are mounted once more to protect them, is the container's, too.
func external(all []sys.Mount, own []string) (places []string) {
	mine := map[string]bool{}
	for _, m := range all {
		if slices.Contains(own, m.Point) {
			mine[m.Device] = true
		}
	}
	for _, m := range all {
		if m.Point != "/" && !mine[m.Device] && !slices.Contains(places, m.Point) {
			places = append(places, m.Point)
		}
	}
	return places
}
