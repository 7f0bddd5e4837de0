package sys

import (
	"bytes"
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// Entry is a name in a directory; Dir tells that it surely is one itself.
type Entry struct {
	Name string
	Dir  bool
}

// ReadDirectory reads all names of an open directory from where its offset stands, in the file system's order,
// without "." and "..".
func ReadDirectory(dir FD) ([]Entry, error) {
	const header = 19 // inode 8, offset 8, length 2, type 1
	var all []Entry
	buf := make([]byte, 32<<10)
	for {
		n, err := unix.Getdents(int(dir), buf)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, pathError("read directory", "", err)
		}
		if n == 0 {
			return all, nil
		}
		for rest := buf[:n]; len(rest) > header; {
			size := int(binary.NativeEndian.Uint16(rest[16:]))
			if size <= header || size > len(rest) {
				return nil, pathError("read directory", "", unix.EIO)
			}
			name, _, _ := bytes.Cut(rest[header:size], []byte{0})
			if s := string(name); s != "." && s != ".." {
				all = append(all, Entry{Name: s, Dir: rest[18] == unix.DT_DIR})
			}
			rest = rest[size:]
		}
	}
}
