package archive

import (
	"errors"
	"io/fs"
	"runtime"

	"github.com/cove-containers/cove/sys"
)

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
	runtime.KeepAlive(u.o.Below)
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
	var attrs *Attributes
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
	u.implied++
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
	err = copyEntry(dir, low, name, &st)
	if errors.Is(err, fs.ErrExist) { // hidden by the archive itself
		return fs.ErrNotExist
	}
	u.copied[d.join(name)] = err == nil
	return err
}
