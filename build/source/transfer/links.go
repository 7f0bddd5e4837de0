package transfer

import (
	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/sys"
)

// link is a hard link listed.
type link struct{ path, target string }

// names are those of a file besides its first.
type names struct {
	kept []same // as they were
	anew bool   // all are made anew
}

type inode struct{ dev, ino uint64 }

// taken tells that a file's former state was kept already, for another name: it was one file then, and is two by now.
func (r *receiver) taken(old *content.Node) bool {
	st := old.Stat()
	if st.Kind() != sys.KindFile || st.Links < 2 {
		return false
	}
	id := inode{st.Dev, st.Ino}
	_, taken := r.inodes[id]
	r.inodes[id] = struct{}{}
	return taken
}

// hardLink notes a link, unless it is as it was; it is made when all files are there.
func (r *receiver) hardLink(in *frame, e entry, old *content.Node) error {
	first, ok := r.files[e.target]
	if !ok {
		return invalid("link %q to unknown file %q", e.path, e.target)
	}
	n := r.names[e.target]
	if n == nil {
		n = &names{}
		r.names[e.target] = n
	}
	if !n.anew && first != nil && old != nil && first.Stat().Ino == old.Stat().Ino && first.Stat().Dev == old.Stat().Dev {
		r.files[e.path] = old
		n.kept = append(n.kept, same{in, e, old})
		return nil
	}
	if err := r.relink(e.target); err != nil {
		return err
	}
	return r.link(in, e, old)
}

// relink makes all names of a file anew, but for the first. A name that joins them, or other content, makes the first a file of the uppermost
// layer, and names that are in those below would go on being of another file.
func (r *receiver) relink(first string) error {
	n := r.names[first]
	if n == nil {
		return nil
	}
	kept := n.kept
	n.kept, n.anew = nil, true
	for _, l := range kept {
		if err := r.link(l.in, l.entry, l.old); err != nil {
			return err
		}
	}
	return nil
}

func (r *receiver) link(in *frame, e entry, old *content.Node) error {
	r.files[e.path] = nil
	return r.place(in, e, old, func(sys.FD, string) error {
		r.links = append(r.links, link{e.path, e.target})
		return nil
	})
}

// linkAll makes the hard links that are not as they were.
func (r *receiver) linkAll() error {
	for _, l := range r.links {
		err := r.within(l.target, func(from sys.FD, target string) error {
			return r.within(l.path, func(to sys.FD, name string) error { return sys.LinkAt(from, target, to, name) })
		})
		if err != nil {
			return err
		}
	}
	return nil
}
