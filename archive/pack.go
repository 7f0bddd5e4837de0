package archive

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/cove-containers/cove/sys"
)

// Pack writes the named files and directories below root, with all they contain, as a tar stream; without names,
// the whole tree except the root itself. The same tree always gives the same bytes: names are sorted. Sockets are
// left out. What changes meanwhile is packed in some state it had, what is removed is left out, and a file that shrinks is
// filled up with zeros; but a name asked for that is not there is fs.ErrNotExist.
func Pack(ctx context.Context, w io.Writer, root *os.File, o PackOptions, names ...string) error {
	defer runtime.KeepAlive(root) // the descriptor is used without it
	p := newPacker(w, o)
	if len(names) == 0 {
		return p.trees(ctx, root)
	}
	for _, name := range names {
		dir, base := split(strings.TrimLeft(name, "/"))
		if base == "" {
			return fmt.Errorf("pack: %q names no file: %w", name, fs.ErrInvalid)
		}
		if err := p.named(ctx, sys.Borrow(root), strings.TrimSuffix(dir, "/"), base); err != nil {
			return fmt.Errorf("pack: %w", err)
		}
	}
	return p.end()
}

// PackLayers is Pack for what several layers on one another, the topmost first, add up to: one layer that is to lie on
// the layers below. It hides only what these have: overlayfs shows a whiteout that lies on nothing.
func PackLayers(ctx context.Context, w io.Writer, roots, below []*os.File) error {
	p := newPacker(w, PackOptions{Whiteouts: true})
	low, err := OpenPile(below...)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer low.Close()
	p.low = &low
	return p.trees(ctx, roots...)
}

func newPacker(w io.Writer, o PackOptions) *packer {
	return &packer{o: o, w: tar.NewWriter(w), links: map[fileID]string{}, buf: make([]byte, 256<<10)}
}

type packer struct {
	o     PackOptions
	w     *tar.Writer
	low   *Pile             // where in the layers below it is; nil where nobody knows
	links map[fileID]string // where a file of several names was first met
	gone  string            // the last name that was left out, because it was not there any more
	buf   []byte
}

func (p *packer) trees(ctx context.Context, roots ...*os.File) error {
	pile, err := OpenPile(roots...)
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	defer pile.Close()
	if p.o.Base != "" {
		err = p.base(ctx, pile)
	} else {
		err = p.kids(ctx, pile, "")
	}
	if err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return p.end()
}

func (p *packer) end() error {
	if err := p.w.Close(); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	return nil
}

// base packs the root itself and what is in it.
func (p *packer) base(ctx context.Context, root Pile) error {
	st, err := sys.StatAt(root[0], "")
	if err != nil {
		return err
	}
	path := strings.TrimSuffix(p.o.Base, "/") + "/"
	if err := p.folder(root[0], path, &st); err != nil {
		return fmt.Errorf("%s: %w", p.o.Base, err)
	}
	return p.kids(ctx, root, path)
}

// named packs one name, which must be there.
func (p *packer) named(ctx context.Context, root sys.FD, dir, base string) error {
	parent, path := root, base
	if dir != "" {
		fd, err := sys.OpenDirBelow(root, dir)
		if err != nil {
			return err
		}
		defer fd.Close()
		parent, path = fd, dir+"/"+base
	}
	if err := p.entry(ctx, Pile{parent}, base, path); err != nil {
		return err
	}
	if p.gone == path {
		return fmt.Errorf("%s: %w", path, fs.ErrNotExist)
	}
	return nil
}

// kids packs what is in a directory, whose path from the root is path with a slash at its end.
func (p *packer) kids(ctx context.Context, dirs Pile, path string) error {
	names, err := dirs.Names()
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := p.entry(ctx, dirs, name, path+name); err != nil {
			return err
		}
	}
	return nil
}

func (p *packer) entry(ctx context.Context, dirs Pile, name, path string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if p.o.Skip != nil && p.o.Skip(path) {
		return nil
	}
	if len(path) > maxPath { // nobody could unpack it, and every level keeps a directory open
		return invalid("path of %d bytes is too long", len(path))
	}
	for range looks {
		switch err := p.look(ctx, dirs, name, path); {
		case errors.Is(err, errChanged):
		case errors.Is(err, fs.ErrNotExist):
			p.gone = path // removed since the directory was read
			return nil
		case err != nil && !errors.Is(err, ctx.Err()):
			return fmt.Errorf("%s: %w", path, err)
		default:
			return err
		}
	}
	p.gone = path // or is, but never stays what it is for a moment
	return nil
}

// looks is how often a name is looked at anew that has become something else between two glances.
const looks = 5

var errChanged = errors.New("changed while it was packed")

// look packs what has a name now; nothing of it is written when that changes meanwhile.
func (p *packer) look(ctx context.Context, dirs Pile, name, path string) error {
	at, st, err := dirs.Find(name)
	if err != nil {
		return err
	}
	dir := dirs[at]
	switch {
	case p.o.Whiteouts && strings.HasPrefix(name, whiteoutPrefix):
		return nil // no image can have it: there the name would hide what lies below
	case st.Whiteout():
		if needed, err := p.hidden(name); err != nil || !needed {
			return err
		}
		return p.whiteout(path[:len(path)-len(name)]+whiteoutPrefix+name, &st)
	case st.Kind() == sys.KindSocket:
		return nil
	case st.Kind() == sys.KindDir:
		return p.directory(ctx, dirs, at, name, path, &st)
	case st.Kind() == sys.KindFile:
		return p.file(dir, name, path)
	}
	return p.special(dir, name, path, &st)
}

// whiteout writes the sign that a name is gone, if wanted.
func (p *packer) whiteout(path string, st *sys.Stat) error {
	if !p.o.Whiteouts {
		return nil
	}
	return p.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: path, Mode: 0o644, ModTime: p.time(st)})
}

func (p *packer) directory(ctx context.Context, dirs Pile, at int, name, path string, st *sys.Stat) error {
	kid, opaque, err := dirs.Open(name, at)
	if sys.IsNotDir(err) {
		return errChanged
	}
	if err != nil {
		return err
	}
	defer kid.Close()
	if len(kid) == 0 {
		return errChanged
	}
	if err := p.folder(kid[0], path+"/", st); err != nil {
		return err
	}
	hides, leave, err := p.descend(name, opaque)
	if err != nil {
		return err
	}
	defer leave()
	if hides {
		if err := p.whiteout(path+"/"+opaqueMarker, st); err != nil {
			return err
		}
	}
	return p.kids(ctx, kid, path+"/")
}

// descend follows into a directory of the layers below, until leave. hides tells that one which is opaque hides
// something there.
func (p *packer) descend(name string, opaque bool) (hides bool, leave func(), err error) {
	if p.low == nil {
		return opaque, func() {}, nil
	}
	from := p.low
	at, st, err := from.Find(name)
	there := err == nil && st.Kind() == sys.KindDir
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, nil, err
	}
	var kid Pile
	if there && !opaque {
		if kid, _, err = from.Open(name, at); err != nil {
			return false, nil, err
		}
	}
	p.low = &kid
	return there && opaque, func() { p.low = from; kid.Close() }, nil
}

// hidden tells whether a whiteout of this name hides something.
func (p *packer) hidden(name string) (bool, error) {
	if p.low == nil {
		return true, nil
	}
	return has(*p.low, name)
}

// folder writes what an open directory is; path ends with a slash.
func (p *packer) folder(fd sys.FD, path string, st *sys.Stat) error {
	h, err := p.header(fd, "", path, st)
	if err != nil {
		return err
	}
	h.Typeflag = tar.TypeDir
	return p.w.WriteHeader(h)
}

func (p *packer) file(dir sys.FD, name, path string) error {
	fd, err := sys.OpenFileAt(dir, name)
	if sys.IsNotDir(err) { // a link by now
		return errChanged
	}
	if err != nil {
		return err
	}
	defer fd.Close()
	st, err := sys.StatAt(fd, "")
	if err != nil {
		return err
	}
	if st.Kind() != sys.KindFile {
		return errChanged
	}
	if done, err := p.link(path, &st); done || err != nil {
		return err
	}
	h, err := p.header(fd, "", path, &st)
	if err != nil {
		return err
	}
	h.Typeflag, h.Size = tar.TypeReg, st.Size
	if err := p.w.WriteHeader(h); err != nil {
		return err
	}
	return p.content(fd, st.Size)
}

func (p *packer) content(fd sys.FD, left int64) error {
	for left > 0 {
		buf := p.buf[:min(left, int64(len(p.buf)))]
		n, err := fd.Read(buf)
		if err == io.EOF {
			clear(buf)
			n, err = len(buf), nil
		}
		if err != nil {
			return err
		}
		if _, err := p.w.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
	}
	return nil
}

// special writes what has no content: links, devices, fifos.
func (p *packer) special(dir sys.FD, name, path string, st *sys.Stat) error {
	if done, err := p.link(path, st); done || err != nil {
		return err
	}
	h, err := p.header(dir, name, path, st)
	if err != nil {
		return err
	}
	switch st.Kind() {
	case sys.KindSymlink:
		h.Typeflag = tar.TypeSymlink
		if h.Linkname, err = sys.ReadlinkAt(dir, name); err != nil {
			return err
		}
	case sys.KindFifo:
		h.Typeflag = tar.TypeFifo
	case sys.KindChar, sys.KindBlock:
		h.Typeflag = tar.TypeChar
		if st.Kind() == sys.KindBlock {
			h.Typeflag = tar.TypeBlock
		}
		major, minor := sys.DeviceNumbers(st.Rdev)
		h.Devmajor, h.Devminor = int64(major), int64(minor)
	}
	return p.w.WriteHeader(h)
}

// link writes one more name of a file that is packed already.
func (p *packer) link(path string, st *sys.Stat) (done bool, err error) {
	if st.Links < 2 {
		return false, nil
	}
	id := fileID{st.Dev, st.Ino}
	first, ok := p.links[id]
	if !ok {
		p.links[id] = path
		return false, nil
	}
	uid, gid, err := p.o.Numbers.of(int(st.UID), int(st.GID))
	if err != nil {
		return true, err
	}
	return true, p.w.WriteHeader(&tar.Header{
		Typeflag: tar.TypeLink, Name: path, Linkname: first, Mode: int64(st.Mode & 0o7777), Uid: uid, Gid: gid, ModTime: p.time(st),
	})
}

func (p *packer) header(dir sys.FD, name, path string, st *sys.Stat) (*tar.Header, error) {
	a, err := readAttributes(dir, name, st)
	if err != nil {
		return nil, err
	}
	uid, gid, err := p.o.Numbers.of(a.uid, a.gid)
	if err != nil {
		return nil, err
	}
	h := &tar.Header{Name: path, Mode: int64(a.mode), Uid: uid, Gid: gid, ModTime: p.time(st)}
	if p.o.Fraction {
		h.Format = tar.FormatPAX
	}
	for _, x := range a.xattrs {
		if h.PAXRecords == nil {
			h.PAXRecords = map[string]string{}
		}
		name := x.name
		if own, ok := strings.CutPrefix(name, overlayEscaped); ok && p.o.Whiteouts {
			name = overlayPrefix + own
		}
		h.PAXRecords[xattrPrefix+name] = string(x.value)
	}
	return h, nil
}

func (p *packer) time(st *sys.Stat) time.Time {
	t := st.ModTime()
	if !p.o.Fraction {
		t = t.Truncate(time.Second)
	}
	return t
}
