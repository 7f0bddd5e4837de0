package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

const (
	whiteoutPrefix  = ".wh."
	aufsPrefix      = ".wh..wh."
	opaqueMarker    = ".wh..wh..opq"
	opaqueAttribute = "trusted.overlay.opaque"
	diskBlock       = 4096
	maxListed       = 10_000 // names in a list of the report
)

// Unpack reads a tar stream up to its end-of-archive mark and puts its entries into root, a directory that may be
// opened with O_PATH. A later entry wins over an earlier one of the same name. What does not fit the format is
// errdefs.ErrInvalidArgument; a stream that ends too soon is io.ErrUnexpectedEOF. On error the tree is left half made.
func Unpack(ctx context.Context, root *os.File, r io.Reader, o Options) (Report, error) {
	defer runtime.KeepAlive(root) // the descriptor is used without it
	u := &unpacker{
		o: o, in: newTarReader(r), tree: newTree(sys.Borrow(root)),
		umask: sys.Umask(), asRoot: os.Geteuid() == 0, aufs: map[string]bool{}, copied: map[string]bool{},
	}
	now := time.Now()
	u.now = sys.Timespec{Sec: now.Unix(), Nsec: int64(now.Nanosecond())}
	defer u.tree.close()
	if err := u.begin(); err != nil {
		return u.report, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return u.report, err
		}
		h, err := u.in.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return u.report, fmt.Errorf("unpack: %w", err)
		}
		if err := u.entry(ctx, h); err != nil {
			if sys.IsBadName(err) && !errdefs.IsInvalidArgument(err) {
				err = fmt.Errorf("%w: %w", err, errdefs.ErrInvalidArgument)
			}
			return u.report, fmt.Errorf("unpack %q: %w", h.name, err)
		}
	}
	if err := u.finish(); err != nil {
		return u.report, fmt.Errorf("unpack: %w", err)
	}
	return u.report, nil
}

// unpacker is one Unpack going on.
type unpacker struct {
	o       Options
	in      *tarReader
	tree    *tree
	start   *directory // that the archive's names start from
	report  Report
	umask   uint32
	asRoot  bool
	now     sys.Timespec
	implied int64           // directories made that no entry had listed by then
	hiding  bool            // a whiteout was made
	aufs    map[string]bool // names in the root to remove in the end
	copied  map[string]bool // paths of files brought up from below
}

// begin finds the directory that the archive's names start from.
func (u *unpacker) begin() (err error) {
	u.start = u.tree.root
	if u.o.Into != "" {
		u.start, err = u.walk(u.o.Into, false)
	}
	if err != nil {
		return fmt.Errorf("unpack into %q: %w", u.o.Into, err)
	}
	return nil
}

func (u *unpacker) entry(ctx context.Context, h *header) error {
	u.report.Entries++
	u.report.Newest = max(u.report.Newest, h.mtime.Sec)
	if u.o.MaxEntries > 0 && u.report.Entries+u.implied > u.o.MaxEntries {
		return invalid("more than %d entries", u.o.MaxEntries)
	}
	if err := u.check(h); err != nil {
		return err
	}
	dir, base := split(h.name)
	parent, err := u.walk(dir, true)
	if err != nil {
		return err
	}
	if base == "" {
		if h.kind != '5' {
			return invalid("is a directory")
		}
		if u.o.Into == "" {
			u.list(parent, h)
		}
		return nil
	}
	if u.o.Whiteouts {
		if done, err := u.hide(parent, base, h); done || err != nil {
			return err
		}
	}
	switch h.kind {
	case '0':
		return u.file(ctx, parent, base, h)
	case '1':
		return u.hardLink(parent, base, h)
	case '2':
		return u.symlink(parent, base, h)
	case '5':
		return u.directory(parent, base, h)
	default:
		return u.node(parent, base, h)
	}
}

// check refuses what no file system could hold.
func (u *unpacker) check(h *header) error {
	if u.o.Owner != nil {
		h.uid, h.gid = int64(u.o.Owner.UID), int64(u.o.Owner.GID)
	}
	if u.o.Numbers != nil {
		uid, gid, err := u.o.Numbers(int(h.uid), int(h.gid))
		if err != nil {
			return invalid("%v", err)
		}
		h.uid, h.gid = int64(uid), int64(gid)
	}
	const none = 1<<32 - 1 // to the kernel this means: leave it as it is
	if h.uid < 0 || h.uid >= none || h.gid < 0 || h.gid >= none {
		return invalid("owner %d:%d", h.uid, h.gid)
	}
	if len(h.name) > maxPath {
		return invalid("name of %d bytes is too long", len(h.name))
	}
	if u.o.Into != "" {
		if err := u.inside(h); err != nil {
			return err
		}
	}
	for i, x := range h.xattrs {
		switch own := strings.TrimPrefix(x.name, overlayPrefix); {
		case own == x.name:
		case !u.o.Whiteouts:
			return invalid("extended attribute %s belongs to the file system", x.name)
		default:
			h.xattrs[i].name = overlayPrefix + "overlay." + own
		}
	}
	return nil
}

// inside shortens the entry's names to what they mean without regard to links, and refuses those that lead out.
func (u *unpacker) inside(h *header) error {
	names := []*string{&h.name}
	if h.kind == '1' {
		names = append(names, &h.link)
	}
	for _, name := range names {
		clean := path.Clean(strings.TrimLeft(*name, "/"))
		if clean == ".." || strings.HasPrefix(clean, "../") {
			return invalid("%q is outside of %q", *name, u.o.Into)
		}
		*name = clean
	}
	return nil
}

// hide does what a whiteout says, if the entry is one.
func (u *unpacker) hide(parent *directory, base string, h *header) (done bool, err error) {
	hidden, ok := strings.CutPrefix(base, whiteoutPrefix)
	switch {
	case !ok && h.kind == '3' && h.major == 0 && h.minor == 0: // overlayfs' own form, from somebody's upper directory
		hidden = base
	case !ok:
		return false, nil
	case base == opaqueMarker:
		parent.opaque = true
		return true, nil
	case hidden == "" || hidden == "." || hidden == "..":
		return false, invalid("invalid whiteout name %q", base)
	case strings.HasPrefix(base, aufsPrefix):
		return false, u.reserved(parent, base)
	}
	if kid := parent.kids[hidden]; kid != nil {
		kid.fresh = true
		return true, nil
	}
	dir, err := u.tree.handle(parent)
	if err != nil {
		return false, err
	}
	u.hiding = true
	err = sys.MknodAt(dir, hidden, sys.KindChar, 0)
	if !errors.Is(err, fs.ErrExist) {
		return true, err
	}
	if whole := parent.join(hidden); u.copied[whole] { // not the layer's own, but the target of a hard link
		delete(u.copied, whole)
		if err := sys.UnlinkAt(dir, hidden); err != nil {
			return true, err
		}
		return true, sys.MknodAt(dir, hidden, sys.KindChar, 0)
	}
	return true, nil // the layer's own file replaces the one below
}

// place makes something at name in parent, and first removes what an earlier entry may have put there.
func (u *unpacker) place(parent *directory, name string, make func(dir sys.FD) error) error {
	for tries := 0; ; tries++ {
		dir, err := u.tree.handle(parent)
		if err != nil {
			return err
		}
		err = make(dir)
		if !errors.Is(err, fs.ErrExist) || tries == 3 {
			return err
		}
		if err := u.clear(dir, parent, name); err != nil {
			return err
		}
	}
}

// clear removes name in parent, which something other than a directory is to replace.
func (u *unpacker) clear(dir sys.FD, parent *directory, name string) error {
	kid := parent.kids[name]
	if kid == nil || u.o.KeepTypes {
		st, err := sys.StatAt(dir, name)
		if err != nil {
			return err
		}
		if st.Kind() == sys.KindDir && u.o.KeepTypes {
			return invalid("cannot overwrite directory %q with non-directory", "/"+parent.join(name))
		}
		if st.Kind() != sys.KindDir {
			return sys.UnlinkAt(dir, name)
		}
	}
	if kid != nil {
		u.tree.forget(kid)
	}
	return sys.RemoveTreeAt(dir, name)
}

func (u *unpacker) directory(parent *directory, name string, h *header) error {
	if kid := parent.kids[name]; kid != nil {
		u.list(kid, h)
		return nil
	}
	dir, err := u.tree.handle(parent)
	if err != nil {
		return err
	}
	perm := h.mode&0o777 | 0o700 // what it may not have is taken away in the end
	err = sys.MkdirAt(dir, name, perm)
	if err == nil {
		kid, err := u.made(parent, name, perm)
		if err == nil {
			u.list(kid, h)
		}
		return err
	}
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	st, err := sys.StatAt(dir, name)
	if err != nil {
		return err
	}
	var kid *directory
	switch {
	case st.Kind() == sys.KindDir:
		kid, err = u.tree.add(parent, name)
		if err == nil {
			kid.found = true
		}
	case u.o.KeepTypes:
		err = invalid("cannot overwrite non-directory %q with directory", "/"+parent.join(name))
	default:
		kid, err = u.replace(parent, name, perm)
	}
	if err == nil {
		u.list(kid, h)
	}
	return err
}

// list notes what the archive says a directory is; it is set once everything is in it.
func (u *unpacker) list(d *directory, h *header) {
	d.listed = true
	d.attrs = &Attributes{kind: sys.KindDir, mode: h.mode, uid: int(h.uid), gid: int(h.gid), atime: h.accessed(), mtime: h.mtime, xattrs: h.xattrs}
}

// accessed is the time of last access, which few archives tell.
func (h *header) accessed() sys.Timespec {
	if h.hasAtime {
		return h.atime
	}
	return h.mtime
}

// finish sets what directories are, deepest knowledge last: writing into them is over.
func (u *unpacker) finish() error {
	root := u.tree.root
	for name := range u.aufs {
		if kid := root.kids[name]; kid != nil {
			u.tree.forget(kid)
		}
		if err := sys.RemoveTreeAt(root.fd, name); err != nil {
			return err
		}
	}
	u.report.Opaque = root.opaque
	if !root.listed {
		u.report.Implied = append(u.report.Implied, "")
	}
	if err := u.finishKids(root, root.opaque); err != nil {
		return err
	}
	slices.Sort(u.report.Implied)
	return u.settle(root.fd, "", root)
}

func (u *unpacker) finishKids(d *directory, covered bool) error {
	for name, kid := range d.kids {
		if !kid.listed && !kid.found && !kid.fresh && !covered && len(u.report.Implied) < maxListed {
			u.report.Implied = append(u.report.Implied, kid.path())
		}
		if err := u.finishKids(kid, covered || kid.opaque || kid.fresh); err != nil {
			return err
		}
		dir, err := u.tree.handle(d)
		if err != nil {
			return err
		}
		if err := u.settle(dir, name, kid); err != nil {
			return err
		}
	}
	return nil
}
