package archive

import (
	"errors"
	"io/fs"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// walk finds the directory that path leads to from where the archive's names start, following links inside the root. With make it makes what is missing,
// also what a link points to; without, that is fs.ErrNotExist.
func (u *unpacker) walk(path string, make bool) (*directory, error) {
	at, hops := u.start, 0
	for path != "" {
		var name string
		name, path, _ = strings.Cut(path, "/")
		switch name {
		case "", ".":
			continue
		case "..":
			if at.parent != nil {
				at = at.parent
			}
			continue
		}
		if kid := at.kids[name]; kid != nil {
			at = kid
			continue
		}
		kid, target, err := u.step(at, name, make)
		if err != nil {
			return nil, err
		}
		if kid != nil {
			at = kid
			continue
		}
		if hops++; hops > maxHops {
			return nil, invalid("too many levels of symbolic links at %q", at.join(name))
		}
		if strings.HasPrefix(target, "/") {
			at = u.tree.root
		}
		path = target + "/" + path
	}
	return at, nil
}

// step goes from at to name, which is not known yet: to a directory, or to a link, whose target it returns.
func (u *unpacker) step(at *directory, name string, make bool) (kid *directory, target string, err error) {
	if err := u.reserved(at, name); err != nil {
		return nil, "", err
	}
	dir, err := u.tree.handle(at)
	if err != nil {
		return nil, "", err
	}
	if make && u.o.Below == nil { // most often nothing is there, so this is the first question
		switch err := sys.MkdirAt(dir, name, 0o755); {
		case err == nil:
			u.implied++
			kid, err = u.made(at, name, 0o755)
			return kid, "", err
		case !errors.Is(err, fs.ErrExist):
			return nil, "", err
		}
	}
	st, err := sys.StatAt(dir, name)
	switch {
	case errors.Is(err, fs.ErrNotExist) && make:
		return u.stepBelow(at, name)
	case err != nil:
		return nil, "", err
	case st.Kind() == sys.KindDir:
		kid, err = u.tree.add(at, name)
		if err == nil {
			kid.found = true
		}
		return kid, "", err
	case st.Kind() == sys.KindSymlink:
		target, err = sys.ReadlinkAt(dir, name)
		return nil, target, err
	case !u.o.Whiteouts || !st.Whiteout():
		return nil, "", invalid("%q is not a directory", at.join(name))
	case !make:
		return nil, "", fs.ErrNotExist
	}
	kid, err = u.replace(at, name, 0o755)
	return kid, "", err
}

// made is the known form of a directory just made.
func (u *unpacker) made(parent *directory, name string, perm uint32) (*directory, error) {
	d, err := u.tree.add(parent, name)
	if err != nil {
		return nil, err
	}
	d.perm = perm &^ u.umask
	d.attrs = &Attributes{kind: sys.KindDir, mode: perm, atime: u.now, mtime: u.now}
	u.report.Disk += diskBlock
	return d, nil
}

// replace makes a directory in place of something that is none.
func (u *unpacker) replace(parent *directory, name string, perm uint32) (*directory, error) {
	dir, err := u.tree.handle(parent)
	if err != nil {
		return nil, err
	}
	if err := sys.UnlinkAt(dir, name); err != nil {
		return nil, err
	}
	if err := sys.MkdirAt(dir, name, perm); err != nil {
		return nil, err
	}
	d, err := u.made(parent, name, perm)
	if err == nil {
		d.fresh = true
	}
	return d, err
}

// reserved refuses names that only whiteouts may have. A directory of metadata that AUFS left in old layers is let
// pass, since hard links may lead there, and removed in the end.
func (u *unpacker) reserved(at *directory, name string) error {
	if !u.o.Whiteouts || !strings.HasPrefix(name, whiteoutPrefix) {
		return nil
	}
	if at.parent == nil && strings.HasPrefix(name, aufsPrefix) && name != opaqueMarker {
		u.aufs[name] = true
		return nil
	}
	return invalid("invalid name %q: it is reserved for whiteouts", at.join(name))
}
