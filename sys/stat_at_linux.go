package sys

import (
	"time"

	"golang.org/x/sys/unix"
)

// Stat is what the kernel knows of a file.
type Stat struct {
	// Mode holds the kind (see the Kind constants) and the permission bits, as stat(2) has them.
	Mode           uint32
	UID, GID       uint32
	Size, Blocks   int64 // Blocks of 512 bytes
	Dev, Ino, Rdev uint64
	Links          uint64
	Atim, Mtim     Timespec
}

// Kinds of file in Stat.Mode.
const (
	KindMask    = unix.S_IFMT
	KindFile    = unix.S_IFREG
	KindDir     = unix.S_IFDIR
	KindSymlink = unix.S_IFLNK
	KindChar    = unix.S_IFCHR
	KindBlock   = unix.S_IFBLK
	KindFifo    = unix.S_IFIFO
	KindSocket  = unix.S_IFSOCK
)

// Kind is the kind of file.
func (s *Stat) Kind() uint32 { return s.Mode & KindMask }

// Whiteout tells that the file is overlayfs' sign that nothing is there.
func (s *Stat) Whiteout() bool { return s.Kind() == KindChar && s.Rdev == 0 }

// ModTime is when the content last changed.
func (s *Stat) ModTime() time.Time { return time.Unix(s.Mtim.Unix()) }

// StatAt looks at name in dir, without following a link; the empty name is dir itself.
func StatAt(dir FD, name string) (Stat, error) {
	var st unix.Stat_t
	flags := unix.AT_SYMLINK_NOFOLLOW
	if name == "" {
		flags = unix.AT_EMPTY_PATH
	}
	if err := unix.Fstatat(int(dir), name, &st, flags); err != nil {
		return Stat{}, pathError("stat", name, err)
	}
	return Stat{
		Mode: st.Mode, UID: st.Uid, GID: st.Gid, Size: st.Size, Blocks: st.Blocks,
		Dev: uint64(st.Dev), Ino: st.Ino, Rdev: uint64(st.Rdev), Links: uint64(st.Nlink), Atim: st.Atim, Mtim: st.Mtim,
	}, nil
}
