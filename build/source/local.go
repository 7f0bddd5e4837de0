package source

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build/source/transfer"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/sys"
)

// local is a folder of the client's.
type local struct {
	m                        *Maker
	name, session            string
	include, exclude, follow []string
	hint                     string // what the client calls it, besides its name
	all                      bool   // every file is sent, whether it looks changed or not
}

// longest is how many layers a folder's state may consist of before they are made one.
const longest = 16

func (m *Maker) local(name string, attrs map[string]string) (step.Op, error) {
	l := &local{m: m, name: name}
	for key, value := range attrs {
		var err error
		switch key {
		case pb.AttrLocalSessionID:
			l.session = value
			if prefix, id, ok := strings.Cut(value, ":"); ok {
				l.name, l.session = prefix+"-"+name, id
			}
		case pb.AttrIncludePatterns:
			err = json.Unmarshal([]byte(value), &l.include)
		case pb.AttrExcludePatterns:
			err = json.Unmarshal([]byte(value), &l.exclude)
		case pb.AttrFollowPaths:
			err = json.Unmarshal([]byte(value), &l.follow)
		case pb.AttrSharedKeyHint:
			l.hint = value
		case pb.AttrLocalDiffer:
			l.all = value == pb.AttrLocalDifferNone
		case pb.AttrMetadataTransfer:
			if value == "true" || value == "1" {
				err = errdefs.ErrNotImplemented.WithMessage("transfer of metadata alone is not supported")
			}
		}
		if err != nil {
			return nil, fmt.Errorf("local source %s: %s: %w", name, key, err)
		}
	}
	return l, nil
}

// Key is of this session alone: what the folder holds is known when it has come.
func (l *local) Key(_ context.Context, env *step.Env) (step.Key, error) {
	id := l.session
	if id == "" && env.Group != nil {
		id = env.Group.SessionIterator().NextSession()
	}
	if id == "" {
		return step.Key{}, invalid("could not access local files without session")
	}
	return step.Key{Digest: keyOf("local.1", id, l.name, l.include, l.exclude, l.follow, l.hint), Fresh: true}, nil
}

// Run brings the state of the folder that a former build has left up to date, as a layer on top of it.
func (l *local) Run(ctx context.Context, env *step.Env, _ []step.Ref) (step.Outcome, error) {
	pile, err := l.anyone(ctx, env)
	if err != nil {
		return step.Outcome{}, err
	}
	key, err := l.m.parts.Content.Digest(ctx, pile)
	if err != nil {
		return step.Outcome{}, err
	}
	return step.Outcome{Refs: []step.Ref{{Pile: pile}}, Key: key, Kind: cache.Local, Unkept: true}, nil
}

// anyone asks the session that the folder belongs to, and where that is gone the others who build the same.
func (l *local) anyone(ctx context.Context, env *step.Env) (pile layer.Pile, err error) {
	if l.session != "" {
		soon, cancel := context.WithTimeout(ctx, 5*time.Second)
		caller, err := env.Sessions.Get(soon, l.session, false)
		cancel()
		if err == nil {
			pile, err = l.fetch(caller.Context(ctx), env, caller)
			if !refused(err) {
				return pile, err
			}
		}
	}
	if env.Group == nil {
		return nil, invalid("could not access local files without session")
	}
	err = env.Sessions.Any(ctx, env.Group, func(ctx context.Context, _ string, caller session.Caller) error {
		pile, err = l.fetch(ctx, env, caller)
		return err
	})
	return pile, err
}

// refused tells that a client does not have the folder at all.
func refused(err error) bool {
	s, ok := status.FromError(err)
	return ok && s.Code() == codes.NotFound
}

// keys are the names of the folder's state in the cache: that of just these patterns, and that of any.
func (l *local) keys(shared string) (exact, any digest.Digest) {
	any = keyOf("local.state.1", l.name, l.hint, shared)
	return keyOf("local.state.1", any, l.include, l.exclude, l.follow), any
}

// fetch takes in what has changed.
func (l *local) fetch(ctx context.Context, env *step.Env, caller session.Caller) (layer.Pile, error) {
	if !caller.Supports(session.MethodURL(filesync.FileSync_ServiceDesc.ServiceName, "diffcopy")) {
		return nil, errdefs.ErrNotFound.WithMessage("no local sources enabled")
	}
	exact, shared := l.keys(caller.SharedKey())
	old, known := env.Lease.Lookup(exact)
	if !known {
		old, known = env.Lease.Lookup(shared)
	}
	var below layer.Pile
	if known && len(old.Piles) == 1 {
		below = old.Piles[0]
	}
	if err := l.m.remind(below); err != nil {
		return nil, err
	}
	w := &writing{m: l.m, env: env, below: below}
	result, err := l.receive(ctx, env, caller, w)
	if err = errors.Join(err, w.finish(ctx, result, err)); err != nil {
		return nil, err
	}
	if !result.Changed && known {
		env.Lease.Alias(exact, old.Key)
		env.Lease.Alias(shared, old.Key)
		return below, nil
	}
	record := cache.Record{Kind: cache.Local, Description: "local source for " + l.name, Piles: [][]string{w.pile}, Own: w.own}
	env.Lease.Save(exact, record)
	env.Lease.Alias(shared, exact)
	return w.pile, nil
}

// receive runs the transfer.
func (l *local) receive(ctx context.Context, env *step.Env, caller session.Caller, w *writing) (transfer.Result, error) {
	old, err := l.m.parts.Content.Open(w.below)
	if err != nil {
		return transfer.Result{}, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := filesync.NewFileSyncClient(caller.Conn()).DiffCopy(metadata.NewOutgoingContext(ctx, l.request()))
	if err != nil {
		return transfer.Result{}, err
	}
	shown := newMeter(env, "transferring "+l.name+":", 0)
	result, err := transfer.Receive(ctx, stream, transfer.Options{
		Old: old, Begin: func() (*os.File, error) { return w.begin(ctx) }, All: l.all, Progress: shown.set,
	})
	shown.end()
	stream.CloseSend()
	return result, err
}

// request is what the client is asked for, as it expects it in the headers of a call.
func (l *local) request() metadata.MD {
	md := metadata.MD{"dir-name": {l.name}}
	for key, list := range map[string][]string{"include-patterns": l.include, "exclude-patterns": l.exclude, "followpaths": l.follow} {
		if list != nil {
			md[key] = slices.Clone(list)
		}
	}
	for key, list := range md {
		plain := !slices.ContainsFunc(list, func(s string) bool {
			return strings.ContainsFunc(s, func(r rune) bool { return r > unicode.MaxASCII })
		})
		if plain {
			continue
		}
		for i := range list {
			list[i] = url.QueryEscape(list[i])
		}
		md[key+"-encoded"] = []string{"1"}
	}
	return md
}

// writing is a layer on top of a former state, made when there is a difference.
type writing struct {
	m           *Maker
	env         *step.Env
	below, pile layer.Pile
	own         []string
	root        *layer.Root
}

func (w *writing) begin(ctx context.Context) (*os.File, error) {
	name := w.env.Lease.Name()
	if err := w.m.parts.Layers.Build(ctx, name, w.below); err != nil {
		return nil, err
	}
	root, err := w.m.parts.Layers.Root(ctx, name)
	if err != nil {
		return nil, err
	}
	w.root, w.own, w.pile = root, []string{name}, append(slices.Clip(w.below), name)
	return root.Dir, nil
}

// finish seals what was written, unless that failed. A layer that did not come to its end is removed with the step.
func (w *writing) finish(ctx context.Context, result transfer.Result, failed error) error {
	if failed == nil && w.root == nil && len(w.below) == 0 { // an empty folder is something, too
		if _, err := w.begin(ctx); err != nil {
			return err
		}
	}
	if w.root == nil {
		return nil
	}
	var err error
	if failed == nil { // the folder itself has no time; this one depends on nothing but what it holds
		err = sys.TimesAt(sys.Borrow(w.root.Dir), "", result.Newest, result.Newest)
	}
	err = errors.Join(err, w.root.Close())
	if failed != nil || err != nil {
		return err
	}
	if _, err := w.m.parts.Layers.SealAsIs(ctx, w.own[0]); err != nil {
		return err
	}
	if err := w.m.learn(w.pile, result.Contents); err != nil {
		return err
	}
	if len(w.pile) > longest {
		return w.flatten(ctx)
	}
	return nil
}

// learn tells the digests of the topmost layer's files to whoever asks for them, now and after the daemon's next start.
func (m *Maker) learn(p layer.Pile, contents map[string]digest.Digest) error {
	if len(contents) == 0 {
		return nil
	}
	if err := m.parts.Content.Learn(p, contents); err != nil {
		return err
	}
	return m.recall.keep(p[len(p)-1], contents)
}

// remind does so with what former processes have found out about layers.
func (m *Maker) remind(p layer.Pile) error {
	for i, name := range p {
		if !m.recall.first(name) {
			continue
		}
		if contents := m.recall.read(name); len(contents) > 0 {
			if err := m.parts.Content.Learn(p[:i+1], contents); err != nil {
				return err
			}
		}
	}
	return nil
}

// flatten makes one layer of a state that has been changed many times.
func (w *writing) flatten(ctx context.Context) error {
	from, err := w.m.parts.Layers.OpenPile(ctx, w.pile)
	if err != nil {
		return err
	}
	defer from.Close()
	name := w.env.Lease.Name()
	if err := w.m.parts.Layers.Build(ctx, name, nil); err != nil {
		return err
	}
	to, err := w.m.parts.Layers.Root(ctx, name)
	if err != nil {
		return err
	}
	err = archive.CopyTree(ctx, to.Dir, from.Dir, archive.CopyOptions{Root: true})
	if err = errors.Join(err, to.Close()); err != nil {
		return err
	}
	if _, err := w.m.parts.Layers.SealAsIs(ctx, name); err != nil {
		return err
	}
	old, err := w.m.parts.Content.Open(w.pile)
	if err != nil {
		return err
	}
	contents, err := old.Contents()
	if err != nil {
		return err
	}
	w.pile, w.own = layer.Pile{name}, []string{name}
	return w.m.learn(w.pile, contents)
}
