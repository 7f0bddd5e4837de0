package file

import (
	"context"
	"errors"

	"slices"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/sys"
)

// comparer makes a layer of what makes one file system of another, where neither lies on the other.
type comparer struct {
	copier
	lower, upper *content.Pile
}

func (d *diff) compare(ctx context.Context, env *step.Env, lower, upper layer.Pile) (_ layer.Pile, err error) {
	c := &comparer{copier: copier{ctx: ctx, links: map[fileID]string{}}}
	if c.lower, err = d.parts.Content.Open(lower); err != nil {
		return nil, err
	}
	if c.upper, err = d.parts.Content.Open(upper); err != nil {
		return nil, err
	}
	from, err := d.parts.Layers.OpenPile(ctx, upper)
	if err != nil {
		return nil, err
	}
	defer from.Close()
	name := env.Lease.Name()
	if err := d.parts.Layers.Build(ctx, name, nil); err != nil {
		return nil, err
	}
	root, err := d.parts.Layers.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	c.copier.root = root.Dir
	to := &level{dir: sys.Borrow(root.Dir)}
	top, err := sys.OpenListAt(sys.Borrow(from.Dir), ".")
	if err == nil {
		err = c.compareKids(c.lower.Root(), c.upper.Root(), top, to)
		top.Close()
	}
	if err = errors.Join(err, root.Close()); err != nil {
		return nil, err
	}
	if _, err := d.parts.Layers.Seal(ctx, name); err != nil {
		return nil, err
	}
	return layer.Pile{name}, nil
}

// compareKids compares the directories low and up, of which up is open as from.
func (c *comparer) compareKids(low, up *content.Node, from sys.FD, to *level) error {
	lows, err := list(c.lower, low)
	if err != nil {
		return err
	}
	ups, err := list(c.upper, up)
	if err != nil {
		return err
	}
	for name, kid := range lows {
		if ups[name] == nil {
			if err := c.open(to, false); err != nil {
				return err
			}
			if err := sys.MknodAt(to.dir, kid.Name(), sys.KindChar, 0); err != nil {
				return err
			}
		}
	}
	for _, name := range sorted(ups) {
		if err := c.kid(lows[name], ups[name], from, to); err != nil {
			return err
		}
	}
	return nil
}

func (c *comparer) kid(low, up *content.Node, from sys.FD, to *level) error {
	dirs := low != nil && low.Stat().Kind() == sys.KindDir && up.Stat().Kind() == sys.KindDir
	if low == nil || !dirs && !c.same(low, up) {
		return c.entry(pair{from: from, fromName: up.Name(), to: to, toName: up.Name()}, true)
	}
	if !dirs {
		return nil
	}
	dir, err := sys.OpenListAt(from, up.Name())
	if err != nil {
		return err
	}
	defer dir.Close()
	l := &level{above: to, name: up.Name(), path: join(to.path, up.Name()), dir: sys.NoFD, source: dir, stat: *up.Stat()}
	defer func() { l.dir.Close() }()
	if !sameHeader(low, up) {
		if err := c.open(l, false); err != nil {
			return err
		}
	}
	if err := c.compareKids(low, up, dir, l); err != nil {
		return err
	}
	if l.dir == sys.NoFD {
		return nil
	}
	return c.attributes(l.dir, "", dir, "", up.Stat())
}

// same tells whether two files are; content is compared by size and time, as that of layers is told apart everywhere.
func (c *comparer) same(a, b *content.Node) bool {
	x, y := a.Stat(), b.Stat()
	return sameHeader(a, b) && x.Size == y.Size && x.Mtim == y.Mtim && x.Rdev == y.Rdev && a.Target() == b.Target()
}

func sameHeader(a, b *content.Node) bool {
	x, y := a.Stat(), b.Stat()
	return x.Mode == y.Mode && x.UID == y.UID && x.GID == y.GID && a.Xattrs() == b.Xattrs()
}

func list(p *content.Pile, n *content.Node) (map[string]*content.Node, error) {
	kids := map[string]*content.Node{}
	if n == nil {
		return kids, nil
	}
	all, err := p.Kids(n)
	for _, kid := range all {
		kids[kid.Name()] = kid
	}
	return kids, err
}

func sorted(kids map[string]*content.Node) []string {
	names := make([]string, 0, len(kids))
	for name := range kids {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
