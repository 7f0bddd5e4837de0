package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/patternmatcher"
	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/cove-containers/cove/sys"
)

// fileID tells two names of one file from names of two.
type fileID struct{ dev, ino uint64 }

// copier copies what one source of an action leads to.
type copier struct {
	ctx              context.Context
	root             *os.File // of the destination
	making           making   // for directories on the way, whose owner and time are also those of all that is copied
	perm             *uint32
	set              *mode.Set
	include, exclude *patternmatcher.PatternMatcher
	replace          bool
	links            map[fileID]string // path below root of files that have more names
	buf              []byte
}

// pair is a name to be copied and where to.
type pair struct {
	from     sys.FD
	fromName string // "": from itself
	to       *level // the directory it goes into
	toName   string // "": to itself
	// candidate is the path as patterns see it, "" for what the action's source itself is.
	candidate        string
	include, exclude patternmatcher.MatchInfo
}

// level is a directory of the destination, which may have to be made when something goes into it.
type level struct {
	above  *level
	name   string // in above
	path   string // below the root
	dir    sys.FD // NoFD as long as nobody needed it
	source sys.FD // the directory it is a copy of
	stat   sys.Stat
	fresh  bool // was made here
}

// newCopier reads an action's options.
func newCopier(ctx context.Context, root *os.File, a *pb.FileActionCopy, o *owner) (*copier, error) {
	c := &copier{ctx: ctx, root: root, replace: a.AlwaysReplaceExistingDestPaths, links: map[fileID]string{}}
	c.making = making{perm: 0o755, owner: o, time: timestamp(a.Timestamp)}
	switch {
	case a.ModeStr != "":
		set, err := mode.ParseWithUmask(a.ModeStr, 0)
		if err != nil {
			return nil, invalid("invalid mode %q: %v", a.ModeStr, err)
		}
		c.set = &set
	case a.Mode != -1:
		perm := uint32(a.Mode) & 0o7777
		c.perm, c.making.perm = &perm, perm&0o777
	}
	var err error
	if c.include, err = newMatcher("include", a.IncludePatterns); err != nil {
		return nil, err
	}
	c.exclude, err = newMatcher("exclude", a.ExcludePatterns)
	return c, err
}

func newMatcher(what string, patterns []string) (*patternmatcher.PatternMatcher, error) {
	if len(patterns) == 0 {
		return nil, nil
	}
	m, err := patternmatcher.New(patterns)
	if err != nil {
		return nil, invalid("invalid %s patterns %q: %v", what, patterns, err)
	}
	return m, nil
}

// entry copies one name with all below it. overwrite gives a directory that is there already the source's attributes.
func (c *copier) entry(p pair, overwrite bool) error {
	if err := c.ctx.Err(); err != nil {
		return context.Cause(c.ctx)
	}
	wanted, excluded, err := c.match(&p)
	if err != nil {
		return err
	}
	deeper := c.include != nil || c.exclude != nil && c.exclude.Exclusions()
	if !wanted && !deeper {
		return nil
	}
	st, err := sys.StatAt(p.from, p.fromName)
	if err != nil {
		return err
	}
	dir := st.Kind() == sys.KindDir
	if !wanted && !dir {
		return nil
	}
	if wanted {
		if err := c.open(p.to, overwrite); err != nil {
			return err
		}
		if err := c.clear(p, dir); err != nil {
			return err
		}
	}
	if dir {
		return c.directory(p, &st, wanted, excluded, overwrite)
	}
	return c.file(p, &st)
}

// match asks the patterns.
func (c *copier) match(p *pair) (wanted, excluded bool, err error) {
	if p.candidate == "" {
		return true, false, nil
	}
	wanted = true
	if c.include != nil {
		if wanted, p.include, err = c.include.MatchesUsingParentResults(p.candidate, p.include); err != nil {
			return false, false, err
		}
	}
	if c.exclude != nil {
		if excluded, p.exclude, err = c.exclude.MatchesUsingParentResults(p.candidate, p.exclude); err != nil {
			return false, false, err
		}
	}
	return wanted && !excluded, excluded, nil
}

// clear removes what stands where something is to be copied to, or tells why it must not.
func (c *copier) clear(p pair, dir bool) error {
	if p.toName == "" {
		if !dir {
			return fmt.Errorf("cannot replace to directory %s with file", path.Join("/", p.to.path))
		}
		return nil
	}
	there, err := sys.StatAt(p.to.dir, p.toName)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	was := there.Kind() == sys.KindDir
	switch {
	case dir && was:
		return nil
	case c.replace:
		return sys.RemoveTreeAt(p.to.dir, p.toName)
	case dir:
		return fmt.Errorf("cannot copy to non-directory: %s", path.Join("/", p.to.path, p.toName))
	case was:
		return fmt.Errorf("cannot replace to directory %s with file", path.Join("/", p.to.path, p.toName))
	}
	return sys.UnlinkAt(p.to.dir, p.toName)
}

// open makes sure that a directory of the destination is there.
func (c *copier) open(l *level, overwrite bool) error {
	if l.dir != sys.NoFD {
		return nil
	}
	if err := c.open(l.above, overwrite); err != nil {
		return err
	}
	return c.enter(l, overwrite)
}

// enter makes or opens directory l in the one above it.
func (c *copier) enter(l *level, overwrite bool) error {
	if l.name != "" {
		err := sys.MkdirAt(l.above.dir, l.name, 0o700)
		if l.fresh = err == nil; err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	fd, err := sys.OpenListAt(l.above.dir, orDot(l.name))
	if sys.IsNotDir(err) {
		return fmt.Errorf("cannot copy to non-directory: %s", path.Join("/", l.path))
	}
	if err != nil {
		return err
	}
	l.dir = fd
	if !l.fresh && overwrite {
		return sys.ChmodAt(l.dir, "", l.stat.Mode&0o7777)
	}
	return nil
}

func orDot(name string) string {
	if name == "" {
		return "."
	}
	return name
}

func (c *copier) directory(p pair, st *sys.Stat, wanted, excluded, overwrite bool) error {
	from, err := sys.OpenListAt(p.from, orDot(p.fromName))
	if err != nil {
		return err
	}
	defer from.Close()
	l := &level{above: p.to, name: p.toName, path: path.Join(p.to.path, p.toName), dir: sys.NoFD, source: from, stat: *st}
	defer func() { l.dir.Close() }()
	if wanted {
		if err := c.enter(l, overwrite); err != nil {
			return err
		}
	}
	if !excluded || c.exclude.Exclusions() {
		if err := c.kids(p, from, l); err != nil {
			return err
		}
	}
	switch {
	case l.dir == sys.NoFD:
		return nil
	case l.fresh || wanted && overwrite:
		return c.attributes(l.dir, "", from, "", st)
	case wanted: // the source's own top: only its time shows
		return c.times(l.dir, "", st)
	}
	return nil
}

func (c *copier) kids(p pair, from sys.FD, l *level) error {
	entries, err := sys.ReadDirectory(from)
	if err != nil {
		return err
	}
	slices.SortFunc(entries, func(a, b sys.Entry) int { return strings.Compare(a.Name, b.Name) })
	for _, e := range entries {
		kid := pair{
			from: from, fromName: e.Name, to: l, toName: e.Name,
			candidate: path.Join(p.candidate, e.Name), include: p.include, exclude: p.exclude,
		}
		if err := c.entry(kid, true); err != nil {
			return err
		}
	}
	return nil
}

// file copies what is no directory; nothing stands in its place.
func (c *copier) file(p pair, st *sys.Stat) error {
	id := fileID{st.Dev, st.Ino}
	if st.Kind() == sys.KindFile && st.Links > 1 {
		if first, ok := c.links[id]; ok {
			return c.link(first, p)
		}
		c.links[id] = path.Join(p.to.path, p.toName)
	}
	switch st.Kind() {
	case sys.KindFile:
		return c.regular(p, st)
	case sys.KindSymlink:
		target, err := sys.ReadlinkAt(p.from, p.fromName)
		if err != nil {
			return err
		}
		if err := sys.SymlinkAt(target, p.to.dir, p.toName); err != nil {
			return err
		}
	default:
		if err := sys.MknodAt(p.to.dir, p.toName, st.Mode, st.Rdev); err != nil {
			return err
		}
	}
	return c.attributes(p.to.dir, p.toName, p.from, p.fromName, st)
}

// link gives a file that was copied before one more name.
func (c *copier) link(first string, p pair) error {
	parent, base := path.Split(first)
	dir, err := sys.OpenDirBelow(sys.Borrow(c.root), orDot(strings.TrimSuffix(parent, "/")))
	if err != nil {
		return err
	}
	defer dir.Close()
	return sys.LinkAt(dir, base, p.to.dir, p.toName)
}

// small is up to which size a file is read and written by two calls.
const small = 256 << 10

func (c *copier) regular(p pair, st *sys.Stat) error {
	in, err := sys.OpenFileAt(p.from, p.fromName)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := sys.CreateAt(p.to.dir, p.toName, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if st.Size <= small && st.Blocks*512 >= st.Size {
		err = c.little(out, in)
	} else {
		err = sys.CopyContent(out, in, st.Size)
	}
	if err != nil {
		return err
	}
	return c.attributes(out, "", in, "", st)
}

func (c *copier) little(out, in sys.FD) error {
	if c.buf == nil {
		c.buf = make([]byte, small+1)
	}
	for {
		n, err := in.Read(c.buf)
		if n > 0 {
			if _, err := out.Write(c.buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// attributes gives a copy the owner, mode, extended attributes and times it shall have.
func (c *copier) attributes(to sys.FD, name string, from sys.FD, fromName string, st *sys.Stat) error {
	uid, gid := int(st.UID), int(st.GID)
	if o := c.making.owner; o != nil {
		uid, gid = o.uid, o.gid
	}
	if err := sys.ChownAt(to, name, uid, gid); err != nil {
		return err
	}
	if st.Kind() != sys.KindSymlink {
		if err := sys.ChmodAt(to, name, c.permission(st.Mode)); err != nil {
			return err
		}
	}
	attrs, err := sys.ListXattrAt(from, fromName)
	if err != nil {
		return err
	}
	for _, attr := range attrs {
		value, err := sys.GetXattrAt(from, fromName, attr)
		if err != nil {
			return err
		}
		if err := sys.SetXattrAt(to, name, attr, value); err != nil && !sys.NoXattr(err) {
			return err
		}
	}
	return c.times(to, name, st)
}

func (c *copier) times(to sys.FD, name string, st *sys.Stat) error {
	if t := c.making.time; t != nil {
		return sys.TimesAt(to, name, *t, *t)
	}
	at := sys.Timespec{Sec: st.Mtim.Sec} // layers of images have no fractions
	return sys.TimesAt(to, name, at, at)
}

// permission is what the mode of a copy of something with this mode shall be.
func (c *copier) permission(was uint32) uint32 {
	switch {
	case c.set != nil:
		return fromMode(c.set.Apply(toMode(was)))
	case c.perm != nil:
		return *c.perm
	}
	return was & 0o7777
}

// toMode is a mode of stat(2) as Go has it.
func toMode(m uint32) fs.FileMode {
	out := fs.FileMode(m & 0o777)
	for bit, own := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&bit != 0 {
			out |= own
		}
	}
	if m&sys.KindMask == sys.KindDir {
		out |= fs.ModeDir
	}
	return out
}

// fromMode is a mode's permission bits, set-id and sticky included, as stat(2) has them.
func fromMode(m fs.FileMode) uint32 {
	out := uint32(m.Perm())
	for bit, own := range map[uint32]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if m&own != 0 {
			out |= bit
		}
	}
	return out
}
