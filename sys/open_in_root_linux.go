package sys

import (
	"errors"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// OpenInRoot opens path as a process chrooted to root would see it: absolute links and ".." stay below root, and
// /proc's magic links are refused. flag and perm are those of os.OpenFile; os.O_RDONLY also opens directories, and
// a fifo is opened without waiting for its other end.
func OpenInRoot(root *os.File, path string, flag int, perm os.FileMode) (*os.File, error) {
	return openInRoot(root, path, uint64(flag)|unix.O_NONBLOCK, perm)
}

// OpenPathInRoot finds path like OpenInRoot without opening what is there (O_PATH): for stat, and as a directory to
// work from. With follow false a link at the end of path is itself what is found.
func OpenPathInRoot(root *os.File, path string, follow bool) (*os.File, error) {
	flags := uint64(unix.O_PATH)
	if !follow {
		flags |= unix.O_NOFOLLOW
	}
	return openInRoot(root, path, flags, 0)
}

func openInRoot(root *os.File, path string, flags uint64, perm os.FileMode) (*os.File, error) {
	if path == "" {
		path = "."
	}
	how := unix.OpenHow{
		Flags:   flags | unix.O_CLOEXEC | unix.O_LARGEFILE,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(perm.Perm())
	}
	defer runtime.KeepAlive(root)
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(int(root.Fd()), path, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN) && tries < 1000: // a rename went on meanwhile
		default:
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}
