package run

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// mostRead is how much of a file one call gives: what fits in a message, and a byte to tell that there is more.
const mostRead = 16<<20 + 1

// at finds a file inside a root that a process may be changing meanwhile; links lead nowhere else.
func at(root *os.File, name string) (*os.File, fs.FileInfo, error) {
	if !path.IsAbs(name) {
		return nil, nil, invalid("can't make %s relative to /", name)
	}
	f, err := sys.OpenPathInRoot(root, strings.TrimPrefix(path.Clean(name), "/"), true)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", name, err)
	}
	info, err := f.Stat()
	if err != nil {
		f.Close()
		return nil, nil, err
	}
	return f, info, nil
}

func readFile(root *os.File, name string, part *gwclient.FileRange) ([]byte, error) {
	found, info, err := at(root, name)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	if !info.Mode().IsRegular() {
		return nil, invalid("%s is not a regular file", name)
	}
	f, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", found.Fd())) // the very one that was found
	if err != nil {
		return nil, err
	}
	defer f.Close()
	from, n := int64(0), int64(mostRead)
	if part != nil {
		if part.Offset < 0 || part.Length < 0 {
			return nil, invalid("invalid range for %s", name)
		}
		from, n = int64(part.Offset), min(n, int64(part.Length))
	}
	raw, err := io.ReadAll(io.NewSectionReader(f, from, n))
	if err == nil && len(raw) == mostRead && (part == nil || part.Length > mostRead) {
		return nil, invalid("%s exceeds maximum allowed size of %d bytes", name, mostRead-1)
	}
	return raw, err
}

func statFile(root *os.File, name string, users *runtime.UserMap) (*types.Stat, error) {
	f, info, err := at(root, name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return statOf(info, path.Base(name), "", users), nil
}

func statOf(info fs.FileInfo, name, link string, users *runtime.UserMap) *types.Stat {
	st := &types.Stat{Path: name, Mode: uint32(info.Mode() &^ fs.ModeSocket), ModTime: info.ModTime().UnixNano(), Linkname: link}
	st.Uid, st.Gid = ownerOf(info, users)
	if info.Mode().IsRegular() {
		st.Size = info.Size()
	}
	return st
}

func readDir(root *os.File, name string, users *runtime.UserMap) (all []*types.Stat, err error) {
	found, _, err := at(root, name)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	dir, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", found.Fd()))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			continue // removed meanwhile
		}
		link := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if link, err = sys.ReadlinkAt(sys.Borrow(dir), e.Name()); err != nil {
				continue
			}
		}
		all = append(all, statOf(info, e.Name(), link, users))
	}
	slices.SortFunc(all, func(a, b *types.Stat) int { return strings.Compare(a.Path, b.Path) })
	return all, nil
}
