package local

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const xattrPrefix = "SCHILY.xattr."

func portableMode(mode int64) int64 { return mode }

// identify tells which file this is, if it has several names.
func identify(info fs.FileInfo) (fileID, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Nlink < 2 {
		return fileID{}, false
	}
	return fileID{uint64(st.Dev), st.Ino}, true
}

// addAttributes adds the extended attributes that mean something elsewhere: the user's and file capabilities.
func addAttributes(h *tar.Header, p string) {
	names := make([]byte, 64<<10)
	n, err := unix.Llistxattr(p, names)
	if err != nil {
		return
	}
	for name := range strings.SplitSeq(string(names[:n]), "\x00") {
		if !portable(name) {
			continue
		}
		value := make([]byte, 64<<10)
		n, err := unix.Lgetxattr(p, name, value)
		if err != nil {
			continue
		}
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		h.PAXRecords[xattrPrefix+name] = string(value[:n])
	}
}

func portable(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability"
}

// setAttributes sets the extended attributes that the file system and the user's rights allow.
func setAttributes(f *os.File, h *tar.Header) {
	for record, value := range h.PAXRecords {
		if name, ok := strings.CutPrefix(record, xattrPrefix); ok && portable(name) {
			_ = unix.Fsetxattr(int(f.Fd()), name, []byte(value), 0)
		}
	}
}

func makeSpecial(dir *os.File, name string, h *tar.Header) error {
	fd := int(dir.Fd())
	if h.Typeflag == tar.TypeSymlink {
		ts := []unix.Timespec{{Nsec: unix.UTIME_OMIT}, unix.NsecToTimespec(h.ModTime.UnixNano())}
		return unix.UtimesNanoAt(fd, name, ts, unix.AT_SYMLINK_NOFOLLOW)
	}
	kind := map[byte]uint32{tar.TypeChar: unix.S_IFCHR, tar.TypeBlock: unix.S_IFBLK, tar.TypeFifo: unix.S_IFIFO}[h.Typeflag]
	err := unix.Mknodat(fd, name, kind|uint32(h.Mode&0o777), int(unix.Mkdev(uint32(h.Devmajor), uint32(h.Devminor))))
	if errors.Is(err, unix.EPERM) {
		return errors.New("only the superuser may make devices")
	}
	return err
}
