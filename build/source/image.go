package source

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/ref"
)

// base is an image that a build starts from or copies from.
type base struct {
	m        *Maker
	name     ref.Name
	platform *ocispec.Platform // nil: this host's
	mode     string            // one of pb.AttrImageResolveMode…
	checksum digest.Digest
	limit    int     // of layers, from the lowest; 0: all
	layout   *layout // where it comes from, if from no registry
}

func (m *Maker) image(text string, attrs map[string]string, platform *ocispec.Platform) (step.Op, error) {
	name, err := ref.Parse(text)
	if err != nil {
		return nil, err
	}
	b := &base{m: m, name: name.WithDefaultTag(), platform: platform}
	b.mode = attrs[pb.AttrImageResolveMode]
	if sum := attrs[pb.AttrImageChecksum]; sum != "" {
		if b.checksum, err = digest.Parse(sum); err != nil {
			return nil, invalid("invalid image checksum %q: %v", sum, err)
		}
	}
	if b.limit, err = layerLimit(attrs[pb.AttrImageLayerLimit]); err != nil {
		return nil, err
	}
	return b, nil
}

func layerLimit(text string) (int, error) {
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, invalid("invalid layer limit %q", text)
	}
	return n, nil
}

// found is an image with what it takes to have its layers.
type found struct {
	*image.Image
	here    bool // under a name, with its layers
	options image.PullOptions
}

// find looks for the image here, unless it must be asked for, and then where it comes from. Of that the documents and the
// config are here afterwards.
func (b *base) find(ctx context.Context, env *step.Env, hold *image.Lease) (*found, error) {
	local := b.layout == nil && b.mode != pb.AttrImageResolveModeForcePull
	if local {
		img, err := b.here(ctx)
		fits := err == nil && b.fits(img)
		if fits {
			err = b.m.parts.Images.Protect(img, hold)
		}
		if fits && err == nil {
			return &found{Image: img, here: true}, b.check(img)
		}
		if err != nil && !errdefs.IsNotFound(err) {
			return nil, err
		}
	}
	o := image.PullOptions{Platform: b.platform}
	if b.layout != nil {
		o.Origin = b.layout.with(env)
	} else {
		o.Credentials = credentials(ctx, env, b.name)
	}
	img, err := b.m.parts.Images.Ask(ctx, b.name, o, hold)
	if err != nil {
		return nil, err
	}
	return &found{Image: img, options: o}, b.check(img)
}

// here is the image of this name, or the one that dockerd's own builder takes the name for: an ID, whole or as lists show it.
func (b *base) here(ctx context.Context) (*image.Image, error) {
	img, err := b.m.parts.Images.Get(ctx, b.name.String(), b.platform)
	if id := asID(b.name); id != "" && errdefs.IsNotFound(err) {
		return b.m.parts.Images.Get(ctx, id, b.platform)
	}
	return img, err
}

// asID is the ID that a Dockerfile may mean by a name; "" if it can mean none.
func asID(n ref.Name) string {
	path, library := strings.CutPrefix(n.Repository(), "docker.io/library/")
	switch {
	case !library:
	case n.Digest != "":
		return n.Digest.String() // the front end adds it when it has found the image
	case path == "sha256" && ref.IsHexID(n.Tag):
		return "sha256:" + n.Tag
	case n.Tag == ref.DefaultTag && len(path) == shownDigits && strings.Trim(path, "0123456789abcdef") == "":
		return path
	}
	return ""
}

// shownDigits is how much of an ID lists show.
const shownDigits = 12

// fits tells whether an image here will do: one that was asked for without a platform may be of another.
func (b *base) fits(img *image.Image) bool {
	return b.name.Digest == "" || img.ID == b.name.Digest || img.Manifest.Digest == b.name.Digest
}

func (b *base) check(img *image.Image) error {
	if b.checksum != "" && img.ID != b.checksum {
		return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("image digest %s for %s does not match expected digest %s", img.ID, b.name.Familiar(), b.checksum))
	}
	return nil
}

// layers are those of the image that the step wants.
func (b *base) layers(img *image.Image) []digest.Digest {
	if b.limit > 0 && b.limit < len(img.DiffIDs) {
		return img.DiffIDs[:b.limit]
	}
	return img.DiffIDs
}

// Key is of the layers: an image that is called or described differently makes the same step.
func (b *base) Key(ctx context.Context, env *step.Env) (step.Key, error) {
	hold := b.m.held.add(b.m.parts.Images)
	img, err := b.find(ctx, env, hold)
	if err != nil {
		return step.Key{}, err
	}
	return step.Key{Digest: keyOf("image.1", b.layers(img.Image))}, nil
}

// Run has the layers unpacked. They have no name that anybody sees; what the cache holds stays.
func (b *base) Run(ctx context.Context, env *step.Env, _ []step.Ref) (step.Outcome, error) {
	hold := b.m.parts.Images.Lease()
	defer hold.Release()
	img, err := b.find(ctx, env, hold)
	if err != nil {
		return step.Outcome{}, err
	}
	defer env.Part("resolve " + b.name.String())()
	hold.Add(img.DiffIDs...)
	for _, l := range img.Layers {
		hold.Add(l.Digest)
	}
	pile := layer.Images(b.layers(img.Image))
	env.Lease.Hold(pile...)
	if err := b.bring(ctx, env, img); err != nil {
		return step.Outcome{}, fmt.Errorf("fetch %s: %w", b.name.Familiar(), err)
	}
	return step.Outcome{Refs: []step.Ref{{Pile: pile}}, Description: "pulled from " + b.name.String()}, nil
}

// bring has the image's layers unpacked. One that is here may lack some of them, if it is of a platform nobody ran yet.
func (b *base) bring(ctx context.Context, env *step.Env, img *found) error {
	if img.here {
		err := b.m.parts.Images.Unpacked(ctx, img.Image)
		if !errdefs.IsNotFound(err) {
			return err
		}
		img.options = image.PullOptions{Platform: b.platform, Credentials: credentials(ctx, env, b.name)}
	}
	t := &tally{env: env, began: map[string]time.Time{}}
	return b.m.parts.Images.Bring(ctx, img.Image, b.name, img.options, t.report)
}

// resolveImage tells a front end what an image is.
func (m *Maker) resolveImage(ctx context.Context, env *step.Env, op *pb.SourceOp, text string, opt sourceresolver.Opt) (*sourceresolver.ResolveImageResponse, error) {
	made, err := m.image(text, op.GetAttrs(), nil)
	if err != nil {
		return nil, err
	}
	b := made.(*base)
	if o := opt.ImageOpt; o != nil {
		b.platform = o.Platform
		if o.ResolveMode != "" {
			b.mode = o.ResolveMode
		}
	}
	return b.resolve(ctx, env)
}

func (b *base) resolve(ctx context.Context, env *step.Env) (*sourceresolver.ResolveImageResponse, error) {
	img, err := b.find(ctx, env, b.m.held.add(b.m.parts.Images))
	if err != nil {
		return nil, err // of which image, front ends say
	}
	config, err := b.m.parts.Images.ConfigOf(img.Image)
	if err != nil {
		return nil, err
	}
	return &sourceresolver.ResolveImageResponse{Digest: img.ID, Config: config}, nil
}

// tally tells the clients of a build how the layers of an image come in.
type tally struct {
	env *step.Env

	mu    sync.Mutex
	began map[string]time.Time
}

func (t *tally) report(c image.Coming) {
	if t.env.Progress == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	l := c.Layer
	download, extract := l.Digest.String(), "extracting "+l.Digest.String()
	switch {
	case c.Done:
		t.say(download, l.Size, l.Size, true)
		t.say(extract, 0, 0, true)
	case c.Extracting:
		t.say(download, l.Size, l.Size, true)
		t.say(extract, c.Current, c.Total, false)
	default:
		t.say(download, c.Current, c.Total, false)
	}
}

// say reports a part of the work. What has ended is not said again.
func (t *tally) say(id string, current, total int64, done bool) {
	began, ok := t.began[id]
	if ok && began.IsZero() {
		return
	}
	if !ok {
		began = time.Now()
		t.began[id] = began
	}
	s := step.Status{ID: id, Current: current, Total: total, Started: &began}
	if done {
		now := time.Now()
		s.Completed = &now
		t.began[id] = time.Time{}
	}
	t.env.Progress(s)
}

// recent keeps the documents of the images asked for last from being swept before a build comes to fetch the layers.
type recent struct {
	mu     sync.Mutex
	leases []*image.Lease
}

// maxRecent is how many such images there are.
const maxRecent = 64

// add begins a lease and ends the oldest.
func (r *recent) add(images *image.Store) *image.Lease {
	l := images.Lease()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.leases = append(r.leases, l)
	if len(r.leases) > maxRecent {
		r.leases[0].Release()
		r.leases = slices.Delete(r.leases, 0, 1)
	}
	return l
}
