package archive

import (
	"container/list"
	"strings"

	"github.com/cove-containers/cove/sys"
)

const (
	// maxPath is the longest path that a process can name at once.
	maxPath = 4095
	// maxOpen is how many directories a tree keeps open.
	maxOpen = 64
	// maxHops is how many links a path may lead through, as in the kernel.
	maxHops = 40
)

// directory is a directory that Unpack knows: it made it or passed through it. Knowing them saves asking the kernel.
type directory struct {
	name   string
	parent *directory // nil for the root
	kids   map[string]*directory
	fd     sys.FD
	open   *list.Element // its place among the open directories
	length int           // of the path from the root

	perm   uint32      // permission bits that it has now
	attrs  *Attributes // that it is to have in the end; nil leaves it as it is
	listed bool        // the archive says what it is
	found  bool        // it was there before
	opaque bool        // nothing below shows through
	fresh  bool        // it replaced something: what is below it has nothing to do with it
}

// path is the directory's path from the root, without links; the root is empty.
func (d *directory) path() string {
	if d.parent == nil {
		return ""
	}
	return d.parent.join(d.name)
}

func (d *directory) join(name string) string {
	if d.parent == nil {
		return name
	}
	return d.path() + "/" + name
}

// within tells whether d is top or lies below it.
func (d *directory) within(top *directory) bool {
	for ; d != nil; d = d.parent {
		if d == top {
			return true
		}
	}
	return false
}

// covered tells that nothing below shows through d.
func (d *directory) covered() bool {
	for ; d != nil; d = d.parent {
		if d.opaque || d.fresh {
			return true
		}
	}
	return false
}

// tree is the directories below a root, the ones used last being open.
type tree struct {
	root *directory
	open list.List // of *directory, the last used first
}

func newTree(root sys.FD) *tree {
	return &tree{root: &directory{fd: root, found: true}}
}

func (t *tree) close() {
	for e := t.open.Front(); e != nil; e = e.Next() {
		t.shut(e.Value.(*directory))
	}
	t.open.Init()
}

func (t *tree) shut(d *directory) {
	d.fd.Close()
	d.fd, d.open = sys.NoFD, nil
}

// add makes directory name known in parent.
func (t *tree) add(parent *directory, name string) (*directory, error) {
	length := parent.length + 1 + len(name)
	if length > maxPath {
		return nil, invalid("path of %d bytes is too long", length)
	}
	d := &directory{name: name, parent: parent, fd: sys.NoFD, length: length}
	if parent.kids == nil {
		parent.kids = map[string]*directory{}
	}
	parent.kids[name] = d
	return d, nil
}

// handle opens d as a place to work from; it stays open until maxOpen others were used.
func (t *tree) handle(d *directory) (sys.FD, error) {
	switch {
	case d.parent == nil:
		return d.fd, nil
	case d.open != nil:
		t.open.MoveToFront(d.open)
		return d.fd, nil
	}
	from, path := d.parent, d.name
	for from.parent != nil && from.open == nil {
		path = from.name + "/" + path
		from = from.parent
	}
	fd, err := sys.OpenDirBelow(from.fd, path)
	if err != nil {
		return sys.NoFD, err
	}
	if t.open.Len() == maxOpen {
		last := t.open.Back()
		t.open.Remove(last)
		t.shut(last.Value.(*directory))
	}
	d.fd, d.open = fd, t.open.PushFront(d)
	return fd, nil
}

// forget drops d and all below it.
func (t *tree) forget(d *directory) {
	for e := t.open.Front(); e != nil; {
		next, known := e.Next(), e.Value.(*directory)
		if known.within(d) {
			t.open.Remove(e)
			t.shut(known)
		}
		e = next
	}
	delete(d.parent.kids, d.name)
}

// split takes the last component off a path; it is empty when the path means the root or a directory as such ("a/..").
func split(path string) (parent, base string) {
	for {
		path = strings.TrimRight(path, "/")
		if path == "." {
			return "", ""
		}
		rest, ok := strings.CutSuffix(path, "/.")
		if !ok {
			break
		}
		path = rest
	}
	i := strings.LastIndexByte(path, '/')
	if base = path[i+1:]; base == ".." {
		return path, ""
	}
	return path[:i+1], base
}
