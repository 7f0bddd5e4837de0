package sys

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// OpenDirAt opens directory name in dir as a place to work from (O_PATH); name is one component. A link is not
// followed but fails like everything that is no directory: see IsNotDir.
func OpenDirAt(dir FD, name string) (FD, error) {
	return openAt(dir, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// OpenDirBelow is OpenDirAt for a path of several components, none of which may be a link or lead out of dir.
func OpenDirBelow(dir FD, path string) (FD, error) {
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_MAGICLINKS,
	}
	for tries := 0; ; tries++ {
		fd, err := unix.Openat2(int(dir), path, &how)
		switch {
		case err == nil:
			return FD(fd), nil
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.EAGAIN) && tries < 1000: // a rename went on meanwhile
		default:
			return NoFD, &os.PathError{Op: "open", Path: path, Err: err}
		}
	}
}

// OpenListAt is OpenDirAt for a directory whose names are to be read.
func OpenListAt(dir FD, name string) (FD, error) {
	return openAt(dir, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
}

// OpenFileAt opens file name in dir for reading. It neither follows a link nor waits at a fifo.
func OpenFileAt(dir FD, name string) (FD, error) {
	return openAt(dir, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// ChangeFileAt is OpenFileAt for a file that is to be written to as well.
func ChangeFileAt(dir FD, name string) (FD, error) {
	return openAt(dir, name, unix.O_RDWR|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
}

// CreateAt makes file name in dir and opens it for writing; what exists is fs.ErrExist.
func CreateAt(dir FD, name string, perm uint32) (FD, error) {
	return openAt(dir, name, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL|unix.O_NOFOLLOW, perm)
}

// IsNotDir tells that an error of opening a directory means: there is something, but no directory.
func IsNotDir(err error) bool { return errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) }

// IsBadName tells that an error comes from a name or link itself: too long, too many links, a file taken for a directory.
func IsBadName(err error) bool {
	return IsNotDir(err) || errors.Is(err, unix.ENAMETOOLONG) || errors.Is(err, unix.EINVAL)
}

func openAt(dir FD, name string, flags int, perm uint32) (FD, error) {
	for {
		fd, err := unix.Openat(int(dir), name, flags|unix.O_CLOEXEC, perm)
		if err == nil {
			return FD(fd), nil
		}
		if !errors.Is(err, unix.EINTR) {
			return NoFD, &os.PathError{Op: "open", Path: name, Err: err}
		}
	}
}
