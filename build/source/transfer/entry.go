package transfer

import (
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/sys"
)

// maxName is how long a name may be on any file system here, maxPath a whole path.
const (
	maxName = 255
	maxPath = 4096
)

// parse reads an entry of the listing and refuses what no folder holds.
func parse(st *types.Stat) (entry, error) {
	if err := checkPath(st.Path); err != nil {
		return entry{}, err
	}
	const none = 1<<32 - 1 // to the kernel this means: leave it as it is
	if st.Uid == none || st.Gid == none {
		return entry{}, invalid("%q: owner %d:%d", st.Path, st.Uid, st.Gid)
	}
	at := time.Unix(0, st.ModTime)
	e := entry{
		path: st.Path, target: st.Linkname, size: st.Size, uid: int(st.Uid), gid: int(st.Gid), xattrs: st.Xattrs,
		mtime: sys.Timespec{Sec: at.Unix(), Nsec: int64(at.Nanosecond())},
	}
	mode := fs.FileMode(st.Mode)
	e.mode = uint32(mode.Perm())
	for own, bit := range map[fs.FileMode]uint32{fs.ModeSetuid: 0o4000, fs.ModeSetgid: 0o2000, fs.ModeSticky: 0o1000} {
		if mode&own != 0 {
			e.mode |= bit
		}
	}
	switch mode.Type() {
	case 0:
		e.mode |= sys.KindFile
	case fs.ModeDir:
		e.mode |= sys.KindDir
	case fs.ModeSymlink:
		e.mode |= sys.KindSymlink
	case fs.ModeNamedPipe:
		e.mode |= sys.KindFifo
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		e.mode |= sys.KindBlock
		if mode&fs.ModeCharDevice != 0 {
			e.mode ^= sys.KindBlock ^ sys.KindChar
		}
		if st.Devmajor < 0 || st.Devmajor > 0xfff || st.Devminor < 0 || st.Devminor > 0xfffff || st.Devmajor|st.Devminor == 0 {
			return entry{}, invalid("%q: device %d:%d", st.Path, st.Devmajor, st.Devminor)
		}
		e.rdev = sys.DeviceNumber(uint32(st.Devmajor), uint32(st.Devminor))
	default:
		return entry{}, invalid("%q: mode %s", st.Path, mode)
	}
	if e.mode&sys.KindMask == sys.KindSymlink && (e.target == "" || len(e.target) >= maxPath || strings.Contains(e.target, "\x00")) {
		return entry{}, invalid("%q: link to %q", st.Path, st.Linkname)
	}
	if e.mode&sys.KindMask == sys.KindFile && e.target != "" {
		if err := checkPath(e.target); err != nil {
			return entry{}, err
		}
	}
	for attr := range e.xattrs {
		if strings.HasPrefix(attr, "trusted.overlay.") {
			return entry{}, invalid("%q: extended attribute %s belongs to the file system", st.Path, attr)
		}
	}
	return e, nil
}

// checkPath refuses paths that are not plain lists of names.
func checkPath(p string) error {
	if p == "" || p != path.Clean(p) || path.IsAbs(p) || len(p) >= maxPath || strings.Contains(p, "\x00") {
		return invalid("path %q", p)
	}
	for name := range strings.SplitSeq(p, "/") {
		if name == "." || name == ".." || len(name) > maxName {
			return invalid("path %q", p)
		}
	}
	return nil
}

// like tells whether the entry is what is there: the same kind, mode, owner and extended attributes, which a file's time does not
// tell of (setcap(8) changes one alone), and the same size and time.
func (e entry) like(n *content.Node) bool {
	st := n.Stat()
	mode := e.mode
	if e.mode&sys.KindMask == sys.KindSymlink {
		mode = st.Mode&^sys.KindMask | sys.KindSymlink
	}
	if mode != st.Mode || uint32(e.uid) != st.UID || uint32(e.gid) != st.GID || e.mtime != st.Mtim || content.Xattrs(e.xattrs) != n.Xattrs() {
		return false
	}
	switch st.Kind() {
	case sys.KindFile:
		return e.size == st.Size
	case sys.KindSymlink:
		return e.target == n.Target()
	case sys.KindChar, sys.KindBlock:
		return e.rdev == st.Rdev
	}
	return true
}

// apply gives name in dir the entry's attributes.
func (e entry) apply(dir sys.FD, name string) error {
	if e.uid != 0 || e.gid != 0 {
		if err := sys.ChownAt(dir, name, e.uid, e.gid); err != nil {
			return err
		}
	}
	if e.mode&sys.KindMask != sys.KindSymlink {
		if err := sys.ChmodAt(dir, name, e.mode&0o7777); err != nil {
			return err
		}
	}
	var old []string
	if e.mode&sys.KindMask == sys.KindDir { // it may be one that is kept
		var err error
		if old, err = sys.ListXattrAt(dir, name); err != nil {
			return err
		}
	}
	for _, attr := range old {
		if _, kept := e.xattrs[attr]; kept || !content.Counts(attr) {
			continue
		}
		if err := sys.RemoveXattrAt(dir, name, attr); err != nil {
			return err
		}
	}
	for attr, value := range e.xattrs {
		if err := sys.SetXattrAt(dir, name, attr, value); err != nil && !sys.NoXattr(err) {
			return err
		}
	}
	return sys.TimesAt(dir, name, e.mtime, e.mtime)
}
