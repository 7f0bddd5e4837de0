package rootfs

import (
	"errors"
	"fmt"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// maxLinks is how many links one name may lead through, as in the kernel.
const maxLinks = 40

// target finds the place of a mount inside the root and makes it where it is missing: a folder, or an empty file
// for a mount that is no folder. With plain, no link may lead there: a proc or sys file system anywhere but at its
// own place would leave a container's mounts unprotected.
func (r *Root) target(name string, isDir, plain bool) (*os.File, error) {
	if path.Clean("/"+name) == "/" {
		return nil, fmt.Errorf("cannot mount over the root itself: %w", unix.EINVAL)
	}
	f, err := r.find(name, plain)
	if errors.Is(err, unix.ENOENT) {
		if err := r.makeTarget(name, isDir); err != nil {
			return nil, fmt.Errorf("create mount point: %w", err)
		}
		f, err = r.find(name, plain)
	}
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		f.Close()
		return nil, err
	}
	if (st.Mode&unix.S_IFMT == unix.S_IFDIR) != isDir {
		f.Close()
		return nil, unix.ENOTDIR
	}
	return f, nil
}

func (r *Root) find(name string, plain bool) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if plain {
		how.Resolve |= unix.RESOLVE_NO_SYMLINKS
	}
	for {
		fd, err := unix.Openat2(int(r.dir.Fd()), strings.TrimLeft(name, "/"), &how)
		switch {
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN):
		case plain && errors.Is(err, unix.ELOOP):
			return nil, fmt.Errorf("%s must be an ordinary directory, not a link: %w", name, unix.ENOTDIR)
		case err != nil:
			return nil, err
		default:
			return os.NewFile(uintptr(fd), name), nil
		}
	}
}

// makeTarget walks to name and makes what is missing on the way, following links, also those that lead to nothing
// yet, as a process inside the root would.
func (r *Root) makeTarget(name string, isDir bool) error {
	var done []string // without links and dots
	links := 0
	left := strings.Split(name, "/")
	for len(left) > 0 {
		part := left[0]
		left = left[1:]
		switch part {
		case "", ".":
			continue
		case "..":
			done = done[:max(0, len(done)-1)]
			continue
		}
		link, err := r.step(done, part, isDir || anyPart(left))
		if err != nil {
			return err
		}
		if link == "" {
			done = append(done, part)
			continue
		}
		if links++; links > maxLinks {
			return unix.ELOOP
		}
		if strings.HasPrefix(link, "/") {
			done = nil
		}
		left = append(strings.Split(link, "/"), left...)
	}
	return nil
}

// Stub is a folder, or an empty file, that was made to mount something on.
type Stub struct {
	// Dir is the folder it was made in, a path without links from the root; Name is its own.
	Dir, Name string
	Folder    bool
	// Before and After are what the folder it was made in was like.
	Before, After sys.Stat
}

// Stubs are those made so far, in this order.
func (r *Root) Stubs() []Stub { return r.made }

func anyPart(parts []string) bool {
	for _, p := range parts {
		if p != "" && p != "." {
			return true
		}
	}
	return false
}

// step makes part in the folder that done names, or tells where the link leads that it is.
func (r *Root) step(done []string, part string, isDir bool) (link string, err error) {
	dir, err := sys.OpenPathInRoot(r.dir, strings.Join(done, "/"), false)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	stub := Stub{Dir: strings.Join(done, "/"), Name: part, Folder: isDir}
	if stub.Before, err = sys.StatAt(sys.Borrow(dir), ""); err != nil {
		return "", err
	}
	if isDir {
		err = unix.Mkdirat(int(dir.Fd()), part, 0o755)
	} else {
		err = unix.Mknodat(int(dir.Fd()), part, unix.S_IFREG|0o644, 0)
	}
	if err == nil {
		stub.After, err = sys.StatAt(sys.Borrow(dir), "")
		r.made = append(r.made, stub)
		return "", err
	}
	if !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EROFS) {
		return "", err
	}
	link, linkErr := sys.ReadlinkAt(sys.Borrow(dir), part)
	switch {
	case linkErr == nil:
		return link, nil
	case errors.Is(linkErr, unix.ENOENT):
		return "", err
	}
	return "", nil
}

// MakeDir makes a folder inside the root, with its parents, unless there is something of that name.
func (r *Root) MakeDir(name string) error {
	f, err := r.find(name, false)
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, unix.ENOENT) {
		return err
	}
	made := r.made
	err = r.makeTarget(name, true)
	r.made = made // it is wanted for itself
	return err
}

// linkMountTable gives a root of layers /etc/mtab, where old programs read the mount table, unless its image has one. It must be
// called before anything is mounted there, which may be the host's.
func (r *Root) linkMountTable() error {
	if r.settings.Overlay == nil || r.settings.Overlay.Upper == "" {
		return nil
	}
	etc, err := r.find("/etc", false)
	if err == nil {
		err = unix.Symlinkat("/proc/mounts", int(etc.Fd()), "mtab")
		etc.Close()
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return nil
	}
	return err
}
