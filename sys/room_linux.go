package sys

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Room watches the space of a file system for who writes to it what a stranger sends: before the last of it is taken, which the
// engine needs for its own records, there is none, unix.ENOSPC. It is for one goroutine.
type Room struct {
	on     FD
	unseen int64
}

// NewRoom watches the file system of an open file, which must stay open.
func NewRoom(on FD) *Room { return &Room{on: on} }

const (
	roomStep  = 4 << 20  // how much may be written between two looks
	roomSpare = 64 << 20 // what is left over, or a fiftieth of a small file system
)

// Write counts what is about to be written.
func (r *Room) Write(p []byte) (int, error) {
	if r.unseen += int64(len(p)); r.unseen < roomStep {
		return len(p), nil
	}
	r.unseen = 0
	return len(p), r.Fits(0)
}

// Fits tells whether size more bytes have room.
func (r *Room) Fits(size int64) error {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(r.on), &st); err != nil {
		return pathError("look for space", "", err)
	}
	free, spare := int64(st.Bavail)*st.Bsize, min(roomSpare, int64(st.Blocks)*st.Bsize/50)
	if size > free-spare {
		return fmt.Errorf("%d bytes are left on the disk, of which %d stay free: %w", free, spare, unix.ENOSPC)
	}
	return nil
}
