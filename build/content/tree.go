package content

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/sys"
)

const opaqueAttribute = "trusted.overlay.opaque"

// tree is one layer as it lies on disk, whiteouts and all.
type tree struct {
	dir   string
	id    identity // what the name stood for
	root  *entry
	count atomic.Int64

	mu   sync.Mutex               // guards the entries' kids, and told
	told map[string]digest.Digest // contents, by path, that were told before the file was looked at
}

// entry is one name in a layer.
type entry struct {
	name   string
	stat   sys.Stat
	target string // of a link
	xattrs string // those that count, one after the other
	opaque bool
	read   bool
	kids   []*entry                      // by name
	sum    atomic.Pointer[digest.Digest] // of a file's content
	// whole is the sum of a directory with all below it, as far as this layer alone has it.
	whole atomic.Pointer[digest.Digest]
}

func newTree(dir string) (*tree, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	root, err := newEntry(sys.Borrow(f), "")
	runtime.KeepAlive(f)
	if err != nil {
		return nil, err
	}
	return &tree{dir: dir, id: identityOf(&root.stat), root: root}, nil
}

// identity tells one directory from another one that has got its name, and perhaps its inode, since.
type identity struct {
	dev, ino uint64
	mtime    sys.Timespec
}

func identityOf(st *sys.Stat) identity { return identity{st.Dev, st.Ino, st.Mtim} }

// same tells whether the directory is still the one that was read.
func (t *tree) same() bool {
	f, err := os.Open(t.dir)
	if err != nil {
		return false
	}
	defer f.Close()
	st, err := sys.StatAt(sys.Borrow(f), "")
	runtime.KeepAlive(f)
	return err == nil && t.id == identityOf(&st)
}

// newEntry reads what name in dir is.
func newEntry(dir sys.FD, name string) (*entry, error) {
	st, err := sys.StatAt(dir, name)
	if err != nil {
		return nil, err
	}
	e := &entry{name: name, stat: st}
	if st.Kind() == sys.KindSymlink {
		if e.target, err = sys.ReadlinkAt(dir, name); err != nil {
			return nil, err
		}
	}
	names, err := sys.ListXattrAt(dir, name)
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, attr := range names {
		if attr == opaqueAttribute {
			value, err := sys.GetXattrAt(dir, name, attr)
			if err != nil {
				return nil, err
			}
			e.opaque = string(value) == "y"
		}
		shown, counts := counted(attr)
		if !counts {
			continue
		}
		value, err := sys.GetXattrAt(dir, name, attr)
		if err != nil {
			return nil, err
		}
		e.xattrs += written(shown, value)
	}
	return e, nil
}

func written(attr string, value []byte) string {
	return fmt.Sprintf("%s=%d:%s", attr, len(value), value)
}

// Xattrs is what [Node.Xattrs] says of a file that was given these extended attributes. Those that no file here can have do not count, as
// a Mac's (com.apple.…).
func Xattrs(of map[string][]byte) string {
	all := ""
	for _, attr := range slices.Sorted(maps.Keys(of)) {
		if Counts(attr) && (strings.HasPrefix(attr, "user.") || strings.HasPrefix(attr, "trusted.") || strings.HasPrefix(attr, "security.")) {
			all += written(attr, of[attr])
		}
	}
	return all
}

// Counts tells whether an extended attribute makes a difference between files: what a host's own labels and lists of access are does not.
func Counts(attr string) bool {
	_, counts := counted(attr)
	return counts
}

// counted tells how an extended attribute of a layer is called in the merged tree, and whether it makes a difference.
func counted(attr string) (name string, counts bool) {
	const overlay = "trusted.overlay."
	if own, ok := strings.CutPrefix(attr, overlay); ok {
		rest, escaped := strings.CutPrefix(own, "overlay.")
		return overlay + rest, escaped
	}
	if strings.HasPrefix(attr, "system.") || strings.HasPrefix(attr, "security.") && attr != "security.capability" {
		return attr, false
	}
	return attr, true
}

// list reads the directory e, which lies at path.
func (t *tree) list(e *entry, at string) ([]*entry, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if e.read {
		return e.kids, nil
	}
	dir, err := t.open(at)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := sys.ReadDirectory(dir)
	if err != nil {
		return nil, err
	}
	kids := make([]*entry, 0, len(names))
	for _, name := range names {
		kid, err := newEntry(dir, name.Name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path.Join("/", at, name.Name), err)
		}
		if known, ok := t.told[path.Join(at, name.Name)]; ok {
			kid.sum.Store(&known)
		}
		kids = append(kids, kid)
	}
	slices.SortFunc(kids, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
	e.kids, e.read = kids, true
	t.count.Add(int64(len(kids)))
	return kids, nil
}

// open opens the directory at a path of the layer for reading its names; nothing on the way may be a link.
func (t *tree) open(at string) (sys.FD, error) {
	root, err := os.Open(t.dir)
	if err != nil {
		return sys.NoFD, err
	}
	defer root.Close()
	if at == "" {
		at = "."
	}
	place, err := sys.OpenDirBelow(sys.Borrow(root), at)
	runtime.KeepAlive(root)
	if err != nil {
		return sys.NoFD, err
	}
	defer place.Close()
	return sys.OpenListAt(place, ".")
}

// content is the digest of what the file e, at path, holds.
func (t *tree) content(ctx context.Context, e *entry, at string) (digest.Digest, error) {
	if known := e.sum.Load(); known != nil {
		return *known, nil
	}
	dir, err := t.open(path.Dir(path.Join("/", at))[1:])
	if err != nil {
		return "", err
	}
	defer dir.Close()
	f, err := sys.OpenFileAt(dir, path.Base(at))
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	buf := make([]byte, 128<<10)
	for {
		if err := ctx.Err(); err != nil {
			return "", context.Cause(ctx)
		}
		n, err := f.Read(buf)
		h.Write(buf[:n])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return "", err
		}
	}
	sum := digest.NewDigest(digest.SHA256, h)
	e.sum.Store(&sum)
	return sum, nil
}

// header is what counts of a file besides its content.
func (e *entry) header() []byte {
	b := binary.BigEndian.AppendUint32(nil, e.stat.Mode)
	b = binary.BigEndian.AppendUint32(b, e.stat.UID)
	b = binary.BigEndian.AppendUint32(b, e.stat.GID)
	if k := e.stat.Kind(); k == sys.KindChar || k == sys.KindBlock {
		b = binary.BigEndian.AppendUint64(b, e.stat.Rdev)
	}
	b = append(b, e.target...)
	b = append(b, 0)
	return append(b, e.xattrs...)
}

// part is a name of a merged tree as one of its layers has it.
type part struct {
	of    *tree
	entry *entry
}

// Node is a file of a pile.
type Node struct {
	path  string // below the root, which is ""
	parts []part // topmost first; only a directory has more than one
	read  bool
	kids  []*Node // by name
	sum   digest.Digest
}

func rootOf(trees []*tree) (*Node, error) {
	n := &Node{}
	for _, t := range trees {
		n.parts = append(n.parts, part{t, t.root})
		if t.root.opaque {
			break
		}
	}
	if len(n.parts) == 0 {
		return nil, nil
	}
	return n, nil
}

// Name is the last part of the node's path.
func (n *Node) Name() string { return n.top().name }

// Stat is what the kernel says of the node; a directory's number of links is that of one layer.
func (n *Node) Stat() *sys.Stat { return &n.top().stat }

// Target is where a link points.
func (n *Node) Target() string { return n.top().target }

// Xattrs stands for the extended attributes that count: two nodes have the same when this is the same.
func (n *Node) Xattrs() string { return n.top().xattrs }

func (n *Node) top() *entry { return n.parts[0].entry }

func (n *Node) isDir() bool { return n.top().stat.Kind() == sys.KindDir }

// Root is the pile's root directory; nil for scratch.
func (p *Pile) Root() *Node { return p.root }

// Kids lists a directory by name.
func (p *Pile) Kids(n *Node) ([]*Node, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.read || !n.isDir() {
		return n.kids, nil
	}
	var kids []*Node
	place := map[string]int{} // in kids, or -1 for what a layer hides from those below
	closed := map[string]bool{}
	for _, part := range n.parts {
		entries, err := part.of.list(part.entry, n.path)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			at, met := place[e.name]
			switch {
			case !met && e.stat.Whiteout():
				place[e.name] = -1
			case !met:
				place[e.name] = len(kids)
				kids = append(kids, n.kid(part.of, e))
				closed[e.name] = e.opaque || e.stat.Kind() != sys.KindDir
			case at >= 0 && !closed[e.name] && e.stat.Kind() == sys.KindDir:
				kids[at].parts = append(kids[at].parts, nodePart(part.of, e))
				closed[e.name] = e.opaque
			case at >= 0:
				closed[e.name] = true
			}
		}
	}
	slices.SortFunc(kids, func(a, b *Node) int { return strings.Compare(a.Name(), b.Name()) })
	n.kids, n.read = kids, true
	return kids, nil
}

func nodePart(t *tree, e *entry) part { return part{t, e} }

func (n *Node) kid(t *tree, e *entry) *Node {
	return &Node{path: path.Join(n.path, e.name), parts: []part{{t, e}}}
}

// find looks for a name in a directory; nil when there is none.
func (p *Pile) find(n *Node, name string) (*Node, error) {
	kids, err := p.Kids(n)
	if err != nil {
		return nil, err
	}
	i, ok := slices.BinarySearchFunc(kids, name, func(kid *Node, name string) int { return strings.Compare(kid.Name(), name) })
	if !ok {
		return nil, nil
	}
	return kids[i], nil
}

// maxLinks is how many links a path may lead through, as in the kernel.
const maxLinks = 40

// walk follows a path from the root; links stay below it. With follow a link at the end is followed, too.
// nil means that nothing is there.
func (p *Pile) walk(name string, follow bool) (*Node, error) {
	if p.root == nil {
		return nil, nil
	}
	way := []*Node{p.root}
	rest := strings.Split(name, "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		at := way[len(way)-1]
		switch {
		case part == "" || part == ".":
			continue
		case part == "..":
			way = way[:max(len(way)-1, 1)]
			continue
		case !at.isDir():
			return nil, nil
		}
		kid, err := p.find(at, part)
		if err != nil || kid == nil {
			return nil, err
		}
		if kid.Stat().Kind() != sys.KindSymlink || !follow && !more(rest) {
			way = append(way, kid)
			continue
		}
		if links++; links > maxLinks {
			return nil, &fs.PathError{Op: "open", Path: name, Err: errors.New("too many levels of symbolic links")}
		}
		if strings.HasPrefix(kid.Target(), "/") {
			way = way[:1]
		}
		rest = append(strings.Split(kid.Target(), "/"), rest...)
	}
	return way[len(way)-1], nil
}

// more tells whether anything follows in a path.
func more(rest []string) bool {
	return slices.ContainsFunc(rest, func(part string) bool { return part != "" })
}

// Find follows a path from the root, and with follow also a link at its end; nothing leads out of the root. What is not there
// is fs.ErrNotExist.
func (p *Pile) Find(name string, follow bool) (*Node, error) {
	n, err := p.walk(name, follow)
	if err == nil && n == nil {
		err = &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return n, err
}

// OpenFile opens a regular file for reading.
func (p *Pile) OpenFile(n *Node) (*os.File, error) {
	if n.Stat().Kind() != sys.KindFile {
		return nil, &fs.PathError{Op: "open", Path: path.Join("/", n.path), Err: errors.New("not a regular file")}
	}
	dir, err := n.parts[0].of.open(path.Dir(path.Join("/", n.path))[1:])
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := sys.OpenFileAt(dir, n.Name())
	if err != nil {
		return nil, err
	}
	return f.File(path.Join("/", n.path)), nil
}

// Contents are the digests of files' contents that are known by now, by path.
func (p *Pile) Contents() (map[string]digest.Digest, error) {
	known := map[string]digest.Digest{}
	if p.root == nil {
		return known, nil
	}
	return known, p.descend(p.root, func(n *Node) (bool, error) {
		if sum := n.top().sum.Load(); sum != nil {
			known[n.path] = *sum
		}
		return true, nil
	})
}

// descend visits a node and, where visit asks for it, what is in it.
func (p *Pile) descend(n *Node, visit func(*Node) (deeper bool, err error)) error {
	deeper, err := visit(n)
	if err != nil || !deeper {
		return err
	}
	kids, err := p.Kids(n)
	if err != nil {
		return err
	}
	for _, kid := range kids {
		if err := p.descend(kid, visit); err != nil {
			return err
		}
	}
	return nil
}
