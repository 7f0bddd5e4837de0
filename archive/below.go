package archive

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// overlayPrefix begins the names of the attributes that belong to overlayfs itself.
const overlayPrefix = "trusted.overlay."

// below opens what lies below directory d; NoFD when nothing does, or nothing that shows through.
func (u *unpacker) below(d *directory) sys.FD {
	if u.o.Below == nil || d.covered() {
		return sys.NoFD
	}
	path := d.path()
	if path == "" {
		path = "."
	}
	fd, err := sys.OpenDirBelow(sys.Borrow(u.o.Below), path)
	if err != nil {
		return sys.NoFD
	}
	return fd
}

// stepBelow goes to name, which the archive itself does not have: along a link that lies below, or to a new
// directory, which is like the one below if there is one.
func (u *unpacker) stepBelow(at *directory, name string) (kid *directory, target string, err error) {
	dir, err := u.tree.handle(at)
	if err != nil {
		return nil, "", err
	}
	low := u.below(at)
	defer low.Close()
	var attrs *attributes
	if low != sys.NoFD {
		st, err := sys.StatAt(low, name)
		switch {
		case err == nil && st.Kind() == sys.KindSymlink:
			target, err = sys.ReadlinkAt(low, name)
			return nil, target, err
		case err == nil && st.Kind() == sys.KindDir:
			if attrs, err = readAttributes(low, name, &st); err != nil {
				return nil, "", err
			}
		case err != nil && !errors.Is(err, fs.ErrNotExist):
			return nil, "", err
		}
	}
	if err := sys.MkdirAt(dir, name, 0o755); err != nil {
		return nil, "", err
	}
	kid, err = u.made(at, name, 0o755)
	if err == nil && attrs != nil {
		kid.attrs = attrs
	}
	return kid, "", err
}

// copyUp brings file name of directory d, which lies below, into the tree.
func (u *unpacker) copyUp(d *directory, name string) error {
	low := u.below(d)
	if low == sys.NoFD {
		return fs.ErrNotExist
	}
	defer low.Close()
	dir, err := u.tree.handle(d)
	if err != nil {
		return err
	}
	st, err := sys.StatAt(low, name)
	if err != nil {
		return err
	}
	if st.Whiteout() || st.Kind() == sys.KindDir {
		return fs.ErrNotExist
	}
	return copyEntry(dir, low, name, &st)
}

// readAttributes reads what name in dir is; st is its stat.
func readAttributes(dir sys.FD, name string, st *sys.Stat) (*attributes, error) {
	a := &attributes{mode: st.Mode & 0o7777, uid: int(st.UID), gid: int(st.GID), atime: st.Atim, mtime: st.Mtim}
	names, err := sys.ListXattrAt(dir, name)
	if err != nil {
		return nil, err
	}
	for _, attr := range names {
		if strings.HasPrefix(attr, overlayPrefix) {
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
func (a *attributes) set(dir sys.FD, name string, link bool) error {
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
