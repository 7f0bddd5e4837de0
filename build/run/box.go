package run

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// box is what processes of a step live in: its file systems and its network. Whoever makes one closes it.
type box struct {
	runner *Runner
	env    *step.Env
	id     string
	what   string // the step, for descriptions of what it leaves
	fresh  bool   // cache mounts begin anew

	hostname     string
	extraHosts   []*pb.HostIP
	ulimits      []*pb.Ulimit
	cgroupParent string
	devices      []*pb.CDIDevice
	limits       *step.Limits

	namespaces shim.Namespaces  // made for it, where it has a user namespace of its own
	users      *runtime.UserMap // that one's; nil: the host's
	as         *sys.Mapping     // of layers

	net      lan
	tree     *os.File            // the root, which the step's mounts are put on
	root     *layer.Root         // what it shows, without them,
	selected string              // at this path
	readOnly bool                // it shall not be written to
	mounts   []spec.Mount        // on the root
	sources  map[string]*os.File // detached mounts that these name
	caches   map[string]*cache.Mount
	views    []*layer.Root // for each mount asked for what it shows, where that is a tree of layers
	written  []writtenLayer
	built    []string // all layers made, those to be forgotten too
	outputs  []output

	undo []func() error
}

// writtenLayer is a layer that the box writes to.
type writtenLayer struct {
	name  string
	below layer.Pile
	root  bool
	mount int // which of the step's
}

// output is what a mount gives to others: a layer made here, or what it was.
type output struct {
	index int64
	pile  layer.Pile
}

func (r *Runner) box(env *step.Env, id, what string) *box {
	return &box{
		runner: r, env: env, id: id, what: what, hostname: defaultHostname, limits: env.Limits,
		sources: map[string]*os.File{}, caches: map[string]*cache.Mount{},
	}
}

func (b *box) push(f func() error) { b.undo = append(b.undo, f) }

// close lets go of everything, what came last first.
func (b *box) close() error {
	var err error
	for _, f := range slices.Backward(b.undo) {
		err = errors.Join(err, f())
	}
	b.undo = nil
	return err
}

// prepare makes the mounts; in are the file systems that they take as inputs.
func (b *box) prepare(ctx context.Context, mounts []*pb.Mount, in []step.Ref, cwd string) error {
	if err := b.openUsers(); err != nil {
		return err
	}
	b.views = make([]*layer.Root, len(mounts))
	for i, m := range mounts {
		var pile layer.Pile
		if m.Input >= 0 {
			if int(m.Input) >= len(in) {
				return invalid("mount %s: there is no input %d", m.Dest, m.Input)
			}
			pile = in[m.Input].Pile
		}
		if err := b.mount(ctx, i, m, pile, target(m.Dest, cwd)); err != nil {
			return err
		}
	}
	if b.tree == nil {
		return invalid("there is no root mount")
	}
	return nil
}

// target is where a mount goes: below the working directory if it does not say from the root.
func target(dest, cwd string) string {
	if path.IsAbs(dest) {
		return path.Clean(dest)
	}
	return path.Join("/", cwd, dest)
}

func (b *box) mount(ctx context.Context, i int, m *pb.Mount, pile layer.Pile, at string) (err error) {
	switch m.MountType {
	case pb.MountType_BIND:
		err = b.bind(ctx, i, m, pile, at)
	case pb.MountType_CACHE:
		err = b.cache(ctx, m, pile, at)
	case pb.MountType_TMPFS:
		err = b.tmpfs(m, at)
	case pb.MountType_SECRET:
		err = b.secret(ctx, m, at)
	case pb.MountType_SSH:
		err = b.agent(ctx, m, at)
	default:
		return invalid("unknown mount type %s", m.MountType)
	}
	if err == nil && at == pb.RootMount && m.MountType != pb.MountType_BIND {
		return invalid("invalid mount type %s for %s", m.MountType, m.Dest)
	}
	return err
}

// bind shows a pile: as it is where it is only read, else by a layer on it, which becomes an output or is forgotten.
func (b *box) bind(ctx context.Context, i int, m *pb.Mount, pile layer.Pile, at string) error {
	root := at == pb.RootMount
	handedOn := m.Output != int64(pb.SkipOutput)
	if m.Readonly && m.Input >= 0 && !root {
		view, err := b.runner.parts.Layers.OpenPileAs(ctx, pile, b.as)
		if err != nil {
			return err
		}
		b.push(view.Close)
		if handedOn {
			b.outputs = append(b.outputs, output{m.Output, pile})
		}
		return b.show(i, m, view, at)
	}
	name := b.env.Lease.Name()
	b.built = append(b.built, name)
	if err := b.runner.parts.Layers.Build(ctx, name, pile); err != nil {
		return err
	}
	view, err := b.runner.parts.Layers.RootAs(ctx, name, b.as)
	if err != nil {
		return err
	}
	b.push(view.Close)
	if handedOn {
		b.written = append(b.written, writtenLayer{name, pile, root, i})
		b.outputs = append(b.outputs, output{m.Output, append(slices.Clone(pile), name)})
	}
	if root {
		b.readOnly = m.Readonly
	}
	return b.show(i, m, view, at)
}

// show takes a tree in as the root, or as a mount on it.
func (b *box) show(i int, m *pb.Mount, view *layer.Root, at string) error {
	b.views[i] = view
	selected := path.Join("/", m.Selector)
	tree, err := view.Copy(strings.TrimPrefix(selected, "/"))
	if err != nil {
		return fmt.Errorf("mount %s of %s: %w", selected, m.Dest, err)
	}
	b.push(tree.Close)
	if at == pb.RootMount {
		b.tree, b.selected, b.root = tree, m.Selector, view
		return nil
	}
	b.detached(tree, spec.Mount{Target: at, ReadOnly: m.Readonly})
	return nil
}

// detached puts a mount of our own on the root.
func (b *box) detached(tree *os.File, m spec.Mount) {
	m.Type, m.Source, m.NonRecursive = "bind", fmt.Sprintf("mount-%d", len(b.sources)), true
	b.sources[m.Source] = tree
	b.mounts = append(b.mounts, m)
}

// cache shows a folder that outlives the build. What the input holds is what it begins with.
func (b *box) cache(ctx context.Context, m *pb.Mount, pile layer.Pile, at string) error {
	if m.CacheOpt == nil {
		return invalid("missing cache mount options")
	}
	key := m.CacheOpt.ID
	if len(pile) > 0 {
		key += ":" + strings.Join(pile, " ")
	}
	taken := b.caches[key] // a step that mounts it twice does not wait for itself
	if taken == nil {
		request := cache.MountRequest{Key: key, Description: b.describe(m), Fill: b.filling(ctx, key, pile)}
		switch m.CacheOpt.Sharing {
		case pb.CacheSharingOpt_PRIVATE:
			request.Sharing = cache.Private
		case pb.CacheSharingOpt_LOCKED:
			request.Sharing = cache.Locked
		}
		if b.fresh {
			request.Fresh = b.build()
		}
		var err error
		if taken, err = b.runner.parts.Mounts.Take(ctx, request); err != nil {
			return err
		}
		b.caches[key] = taken
		b.push(func() error { taken.Release(); return nil })
	}
	if m.Output != int64(pb.SkipOutput) && m.Input >= 0 {
		b.outputs = append(b.outputs, output{m.Output, pile})
	}
	b.mounts = append(b.mounts, spec.Mount{
		Type: "bind", Source: taken.Dir, Subpath: strings.TrimPrefix(path.Join("/", m.Selector), "/"), Target: at,
		Owned: true, ReadOnly: m.Readonly, NonRecursive: true,
	})
	return nil
}

func (b *box) describe(m *pb.Mount) string {
	text := fmt.Sprintf("cached mount %s from %s", m.Dest, b.what)
	if m.CacheOpt.ID != m.Dest {
		text += fmt.Sprintf(" with id %q", m.CacheOpt.ID)
	}
	return text
}

// build is what tells builds apart here: the client's session, or else the step itself.
func (b *box) build() string {
	if b.env.Group != nil {
		if sessions := b.env.Group.SessionIterator(); sessions != nil {
			if id := sessions.NextSession(); id != "" {
				return id
			}
		}
	}
	return b.id
}

// filling copies a pile into a new folder, with what the root directory is. Without a pile, what the build has imported fills it.
func (b *box) filling(ctx context.Context, id string, pile layer.Pile) func(*os.File) error {
	if len(pile) == 0 {
		return b.importing(ctx, id)
	}
	return func(dir *os.File) error {
		from, err := b.runner.parts.Layers.OpenPile(ctx, pile)
		if err != nil {
			return err
		}
		defer from.Close()
		return copyTree(ctx, dir, from.Dir)
	}
}

// importing fills a folder that need not begin as anything from a cache elsewhere. What cannot be had of that begins empty.
func (b *box) importing(ctx context.Context, id string) func(*os.File) error {
	fill := b.env.Imported(id)
	if fill == nil || b.fresh {
		return nil
	}
	return func(dir *os.File) error {
		err := fill(ctx, dir)
		if err == nil || ctx.Err() != nil {
			return err
		}
		if b.env.Warn != nil {
			b.env.Warn("the cache mount begins empty: "+err.Error(), "")
		}
		names, err := dir.Readdirnames(-1)
		for _, name := range names {
			err = errors.Join(err, sys.RemoveTreeAt(sys.Borrow(dir), name))
		}
		return err
	}
}

func (b *box) tmpfs(m *pb.Mount, at string) error {
	var options []string
	if size := m.GetTmpfsOpt().GetSize(); size > 0 {
		options = append(options, fmt.Sprintf("size=%d", size))
	}
	b.mounts = append(b.mounts, spec.Mount{Type: "tmpfs", Source: "tmpfs", Target: at, Options: append(options, "nosuid"), ReadOnly: m.Readonly})
	return nil
}

// start has the process that begins the box run.
func (b *box) start(ctx context.Context, c command, streams [3]*os.File, terminal shim.StepConfig) (*shim.Step, error) {
	doc, err := b.document(c)
	if err != nil {
		return nil, err
	}
	cfg := terminal
	cfg.ID, cfg.Spec, cfg.User, cfg.SeccompCache = b.id, doc, userOf(c.user), b.runner.parts.Config.SeccompCache
	cfg.Tree, cfg.Sources, cfg.NetNS, cfg.UserNS, cfg.Streams = b.tree, b.sources, b.net.ns, b.namespaces.Users, streams
	return b.runner.parts.Steps.Run(ctx, cfg)
}

// userOf is the user as the runtime looks it up; nobody said means root.
func userOf(user string) string {
	if user == "" {
		return "0"
	}
	return user
}
