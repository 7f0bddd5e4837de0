package archive

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// overlayPrefix begins the names of the attributes that belong to overlayfs itself. One of a file in a layer, which may
// hold layers of its own, is written with the prefix twice: that is how overlayfs shows it as it is without obeying it.
const (
	overlayPrefix  = "trusted.overlay."
	overlayEscaped = overlayPrefix + "overlay."
)

// Attributes are what a file is besides its content: owner, mode, times, extended attributes.
type Attributes struct {
	kind, mode   uint32
	uid, gid     int
	atime, mtime sys.Timespec
	xattrs       []xattr
}

// ReadAttributes reads the attributes of path below root; no part of path may be a link, except that the last is then
// what is looked at. The empty path is root itself.
func ReadAttributes(root *os.File, path string) (a *Attributes, err error) {
	err = at(root, path, func(dir sys.FD, name string) error {
		st, err := sys.StatAt(dir, name)
		if err == nil {
			a, err = readAttributes(dir, name, &st)
		}
		return err
	})
	return a, err
}

// Kind is the kind of file, one of the Kind constants of package sys.
func (a *Attributes) Kind() uint32 { return a.kind }

// Plain tells that these are a directory's attributes when nobody said anything about it, times aside: root's, 0755.
func (a *Attributes) Plain() bool {
	return a.kind == sys.KindDir && a.mode == 0o755 && a.uid == 0 && a.gid == 0 && len(a.xattrs) == 0
}

// Apply gives path below root these attributes, under the same rules as ReadAttributes.
func (a *Attributes) Apply(root *os.File, path string) error {
	return at(root, path, func(dir sys.FD, name string) error { return a.set(dir, name, a.kind == sys.KindSymlink) })
}

// at calls do with the directory that path's last component lies in.
func at(root *os.File, path string, do func(dir sys.FD, name string) error) error {
	defer runtime.KeepAlive(root)
	parent, name := split(path)
	if parent == "" {
		return do(sys.Borrow(root), name)
	}
	fd, err := sys.OpenDirBelow(sys.Borrow(root), parent)
	if err != nil {
		return err
	}
	defer fd.Close()
	return do(fd, name)
}

// readAttributes reads what name in dir is; st is its stat.
func readAttributes(dir sys.FD, name string, st *sys.Stat) (*Attributes, error) {
	a := &Attributes{
		kind: st.Kind(), mode: st.Mode & 0o7777, uid: int(st.UID), gid: int(st.GID), atime: st.Atim, mtime: st.Mtim,
	}
	names, err := sys.ListXattrAt(dir, name)
	if err != nil {
		return nil, err
	}
	for _, attr := range names {
		if strings.HasPrefix(attr, overlayPrefix) && !strings.HasPrefix(attr, overlayEscaped) {
			continue
		}
		value, err := sys.GetXattrAt(dir, name, attr)
		if err != nil {
			return nil, err
		}
		a.xattrs = append(a.xattrs, xattr{attr, value})
	}
	return a, nil
}

// set gives name in dir these attributes. A link has neither permission bits nor most extended attributes.
func (a *Attributes) set(dir sys.FD, name string, link bool) error {
	if err := sys.ChownAt(dir, name, a.uid, a.gid); err != nil {
		return err
	}
	if !link { // after the owner, whose change takes set-id bits away
		if err := sys.ChmodAt(dir, name, a.mode); err != nil {
			return err
		}
	}
	for _, x := range a.xattrs {
		if err := sys.SetXattrAt(dir, name, x.name, x.value); err != nil && !sys.NoXattr(err) {
			return fmt.Errorf("set %s: %w", x.name, err)
		}
	}
	return sys.TimesAt(dir, name, a.atime, a.mtime)
}

// Same tells whether these are the same attributes, the time of last access aside.
func (a *Attributes) Same(b *Attributes) bool {
	return a.kind == b.kind && a.mode == b.mode && a.uid == b.uid && a.gid == b.gid && a.mtime == b.mtime &&
		slices.EqualFunc(a.xattrs, b.xattrs, func(x, y xattr) bool { return x.name == y.name && bytes.Equal(x.value, y.value) })
}
