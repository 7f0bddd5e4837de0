package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

func (u *unpacker) file(ctx context.Context, parent *directory, name string, h *header) error {
	fd := sys.NoFD
	err := u.place(parent, name, func(dir sys.FD) (err error) {
		fd, err = sys.CreateAt(dir, name, h.mode&0o777)
		return err
	})
	if err != nil {
		return err
	}
	defer fd.Close()
	if h.sparse {
		err = u.writeSparse(ctx, fd, h)
	} else {
		err = u.write(ctx, fd)
	}
	if err != nil {
		return err
	}
	if u.foreign(h) {
		if err := fd.Chown(int(h.uid), int(h.gid)); err != nil {
			return err
		}
	}
	if u.masked(h.mode) {
		if err := fd.Chmod(h.mode); err != nil {
			return err
		}
	}
	for _, x := range h.xattrs { // last, since a change of owner takes capabilities away
		if err := u.attributeSet(h.name, fd.SetXattr(x.name, x.value)); err != nil {
			return err
		}
	}
	return sys.TimesAt(fd, "", h.accessed(), h.mtime)
}

// write copies the entry's content.
func (u *unpacker) write(ctx context.Context, fd sys.FD) error {
	for {
		piece, err := u.in.content()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if err := u.count(ctx, len(piece)); err != nil {
			return err
		}
		if _, err := fd.Write(piece); err != nil {
			return fmt.Errorf("write: %w", err)
		}
	}
}

// writeSparse copies the entry's content to where it belongs; what lies between stays a hole.
func (u *unpacker) writeSparse(ctx context.Context, fd sys.FD, h *header) error {
	var piece []byte
	for _, s := range h.spans {
		if _, err := fd.Seek(s.offset, io.SeekStart); err != nil {
			return err
		}
		for left := s.size; left > 0; {
			if len(piece) == 0 {
				var err error
				if piece, err = u.in.content(); err != nil {
					return unexpected(err)
				}
				if err := u.count(ctx, len(piece)); err != nil {
					return err
				}
			}
			n := min(left, int64(len(piece)))
			if _, err := fd.Write(piece[:n]); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			piece = piece[n:]
			left -= n
		}
	}
	return fd.Truncate(h.size)
}

func (u *unpacker) count(ctx context.Context, n int) error {
	u.report.Bytes += int64(n)
	u.report.Disk += int64(n+diskBlock-1) &^ (diskBlock - 1)
	if u.o.MaxBytes > 0 && u.report.Bytes > u.o.MaxBytes {
		return invalid("more than %d bytes", u.o.MaxBytes)
	}
	return ctx.Err()
}

func (u *unpacker) hardLink(parent *directory, name string, h *header) error {
	path, base := split(h.link)
	if base == "" {
		return invalid("hard link to directory %q", h.link)
	}
	from, err := u.walk(path, false)
	if err == nil {
		done, err := u.link(parent, name, from, base)
		if err != nil || done {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if u.o.Below == nil {
		if !u.o.Whiteouts {
			return invalid("hard link target %q does not exist", h.link)
		}
		if len(u.report.Missing) < maxListed {
			u.report.Missing = append(u.report.Missing, Link{Name: parent.join(name), Target: h.link})
		}
		return nil
	}
	if from, err = u.walk(path, true); err != nil {
		return err
	}
	done, err := u.link(parent, name, from, base)
	if err != nil || done {
		return err
	}
	if err := u.copyUp(from, base); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return invalid("hard link target %q does not exist", h.link)
		}
		return fmt.Errorf("copy hard link target %q: %w", h.link, err)
	}
	_, err = u.link(parent, name, from, base)
	return err
}

// link links to file base of directory from; done is false when there is none.
func (u *unpacker) link(parent *directory, name string, from *directory, base string) (done bool, err error) {
	if from.kids[base] != nil {
		return false, invalid("hard link to a directory")
	}
	if kid := parent.kids[name]; kid != nil && from.within(kid) {
		return false, invalid("hard link in place of its target's directory")
	}
	if _, err := u.tree.handle(parent); err != nil {
		return false, err
	}
	dir, err := u.tree.handle(from)
	if err != nil {
		return false, err
	}
	if u.hiding || u.o.Below != nil {
		if st, err := sys.StatAt(dir, base); err == nil && st.Whiteout() {
			return false, nil
		}
	}
	if from == parent && base == name {
		_, err := sys.StatAt(dir, base)
		return err == nil, nil
	}
	err = u.place(parent, name, func(to sys.FD) error { return sys.LinkAt(dir, base, to, name) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if errors.Is(err, fs.ErrPermission) {
		return false, fmt.Errorf("hard link to what cannot have one: %w: %w", err, errdefs.ErrInvalidArgument)
	}
	return err == nil, err
}

func (u *unpacker) symlink(parent *directory, name string, h *header) error {
	if h.link == "" {
		return invalid("link without target")
	}
	return u.place(parent, name, func(dir sys.FD) error {
		if err := sys.SymlinkAt(h.link, dir, name); err != nil {
			return err
		}
		return u.dress(dir, name, h, true)
	})
}

// node makes a device or a fifo.
func (u *unpacker) node(parent *directory, name string, h *header) error {
	mode := h.mode & 0o777
	switch h.kind {
	case '3':
		mode |= sys.KindChar
	case '4':
		mode |= sys.KindBlock
	case '6':
		mode |= sys.KindFifo
	}
	if h.kind != '6' && (h.major < 0 || h.major > 0xfff || h.minor < 0 || h.minor > 0xfffff) {
		return invalid("device %d:%d", h.major, h.minor)
	}
	return u.place(parent, name, func(dir sys.FD) error {
		if err := sys.MknodAt(dir, name, mode, sys.DeviceNumber(uint32(h.major), uint32(h.minor))); err != nil {
			return err
		}
		return u.dress(dir, name, h, false)
	})
}

// dress sets what the archive says about something just made that is neither a directory nor an open file.
func (u *unpacker) dress(dir sys.FD, name string, h *header, link bool) error {
	if u.foreign(h) {
		if err := sys.ChownAt(dir, name, int(h.uid), int(h.gid)); err != nil {
			return err
		}
	}
	if !link && u.masked(h.mode) {
		if err := sys.ChmodAt(dir, name, h.mode); err != nil {
			return err
		}
	}
	for _, x := range h.xattrs {
		if err := u.attributeSet(h.name, sys.SetXattrAt(dir, name, x.name, x.value)); err != nil {
			return err
		}
	}
	return sys.TimesAt(dir, name, h.accessed(), h.mtime)
}

// foreign tells that a new file is not the entry's owner's already. In a layer no directory passes on its group,
// since directories get their bits in the end.
func (u *unpacker) foreign(h *header) bool {
	return h.uid != 0 || h.gid != 0 || !u.asRoot || !u.o.Whiteouts
}

// masked tells that a file made with a mode does not have it yet.
func (u *unpacker) masked(mode uint32) bool { return mode&^0o777 != 0 || mode&u.umask != 0 }

// attributeSet notes an extended attribute that could not be set because there is no place for it.
func (u *unpacker) attributeSet(name string, err error) error {
	if err == nil || !sys.NoXattr(err) {
		return err
	}
	const enough = 100
	if n := len(u.report.NoAttr); n < enough && (n == 0 || u.report.NoAttr[n-1] != name) {
		u.report.NoAttr = append(u.report.NoAttr, name)
	}
	return nil
}

// settle gives directory d, which is name in dir, what it is to be.
func (u *unpacker) settle(dir sys.FD, name string, d *directory) error {
	if u.o.Whiteouts && (d.opaque || d.fresh) && d.parent != nil {
		if err := sys.SetXattrAt(dir, name, opaqueAttribute, []byte("y")); err != nil {
			return err
		}
	}
	a := d.attrs
	if a == nil {
		return nil
	}
	if a.uid != 0 || a.gid != 0 || !u.asRoot || !u.o.Whiteouts || d.found {
		if err := sys.ChownAt(dir, name, a.uid, a.gid); err != nil {
			return err
		}
	}
	if d.found || d.perm != a.mode {
		if err := sys.ChmodAt(dir, name, a.mode); err != nil {
			return err
		}
	}
	for _, x := range a.xattrs {
		if err := u.attributeSet(d.path(), sys.SetXattrAt(dir, name, x.name, x.value)); err != nil {
			return err
		}
	}
	return sys.TimesAt(dir, name, a.atime, a.mtime)
}
