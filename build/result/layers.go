package result

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
)

// packed is a layer as a blob.
type packed struct {
	DiffID digest.Digest
	Desc   ocispec.Descriptor
}

// ofImage tells that a layer's name in a pile is its diff ID.
func ofImage(name string) bool { return strings.Contains(name, ":") }

// layers has all layers of a pile as blobs, those of the image below, so many, as they are. same tells that the blobs say what the layers
// here are: nothing was merged, no time rewritten.
func (x *export) layers(ctx context.Context, p layer.Pile, base int, at *time.Time) (list []Layer, same bool, err error) {
	groups := make([]int, 0, len(p)) // where each layer of the image ends
	for i := range p {
		groups = append(groups, i+1)
	}
	if x.o.squash && len(p) > base {
		groups = append(groups[:base:base], len(p))
	}
	out := make([]packed, len(groups))
	group, gctx := errgroup.WithContext(ctx)
	from := 0
	for i, end := range groups {
		begin := from
		from = end
		group.Go(func() (err error) {
			name := p[end-1]
			switch {
			case end-begin > 1:
				out[i], err = x.pack(gctx, p[:end], end-begin, at)
			case ofImage(name):
				out[i], err = x.existing(gctx, p[:end], digest.Digest(name))
			default:
				out[i], err = x.built(gctx, p[:end], at)
			}
			if err != nil {
				return fmt.Errorf("export layer %s: %w", name, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, false, err
	}
	named := make([]Layer, len(out))
	for i, o := range out {
		named[i] = Layer{Name: p[groups[i]-1], DiffID: o.DiffID, Desc: o.Desc}
	}
	return named, at == nil && len(groups) == len(p), nil
}

// existing finds a blob of an image's layer; where it must be compressed another way, or is gone, it is made.
func (x *export) existing(ctx context.Context, p layer.Pile, diffID digest.Digest) (packed, error) {
	x.hold.Add(diffID)
	forms := x.Images.Blobs(diffID)
	for _, d := range forms {
		x.hold.Add(d.Digest)
	}
	forms = x.Images.Blobs(diffID) // those that a sweep has not taken before they were held
	if d, ok := x.o.compression.choose(forms); ok {
		d.MediaType = oci.LayerType(d.MediaType)
		return packed{DiffID: diffID, Desc: d}, nil
	}
	return x.once(ctx, diffID.String()+" "+x.o.compression.key(), func() (packed, error) {
		if len(forms) > 0 {
			return x.recompress(ctx, forms[0], diffID)
		}
		return x.pack(ctx, p, 1, nil)
	})
}

// recompress makes another blob of a layer.
func (x *export) recompress(ctx context.Context, from ocispec.Descriptor, diffID digest.Digest) (packed, error) {
	f, _, err := x.Blobs.Open(from.Digest)
	if err != nil {
		return packed{}, err
	}
	defer f.Close()
	content, err := archive.Decompress(f)
	if err != nil {
		return packed{}, err
	}
	defer content.Close()
	made, err := x.write(ctx, func(w io.Writer) error {
		_, err := io.Copy(w, content)
		return err
	})
	if err == nil && made.DiffID != diffID {
		err = fmt.Errorf("blob %s does not unpack to layer %s: %w", from.Digest, diffID, errdefs.ErrDataLoss)
	}
	if err == nil {
		x.Images.Remember(diffID, made.Desc)
	}
	return made, err
}

// built has the topmost layer of a pile, which a build has made, as a blob.
func (x *export) built(ctx context.Context, p layer.Pile, at *time.Time) (packed, error) {
	key := p[len(p)-1] + " " + x.o.compression.key()
	if at != nil {
		key += fmt.Sprint(" ", at.Unix())
	}
	return x.once(ctx, key, func() (packed, error) { return x.pack(ctx, p, 1, at) })
}

// once makes a blob unless it is known and there, or somebody is making it.
func (x *export) once(ctx context.Context, key string, do func() (packed, error)) (packed, error) {
	for {
		x.mu.Lock()
		other := x.busy[key]
		if other == nil {
			x.busy[key] = make(chan struct{})
		}
		x.mu.Unlock()
		if other == nil {
			break
		}
		select {
		case <-other:
		case <-ctx.Done():
			return packed{}, context.Cause(ctx)
		}
	}
	defer func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		close(x.busy[key])
		delete(x.busy, key)
	}()
	known, err := x.blobs.Get(key)
	if err == nil {
		x.hold.Add(known.Desc.Digest, known.DiffID)
		if n, err := x.Blobs.Stat(known.Desc.Digest); err == nil && n == known.Desc.Size {
			return known, nil
		}
	} else if !errdefs.IsNotFound(err) {
		return packed{}, err
	}
	made, err := do()
	if err == nil {
		x.blobs.PutLater(key, made)
	}
	return made, err
}

// pack makes a blob of the topmost layers of a pile.
func (x *export) pack(ctx context.Context, p layer.Pile, top int, at *time.Time) (packed, error) {
	return x.write(ctx, func(w io.Writer) error {
		if at == nil {
			return x.Layers.PackPile(ctx, w, p, top)
		}
		return clamped(w, *at, func(w io.Writer) error { return x.Layers.PackPile(ctx, w, p, top) })
	})
}

// write makes a blob of an archive. While it waits for the disk others are packed.
func (x *export) write(ctx context.Context, fill func(io.Writer) error) (out packed, err error) {
	w, err := x.Blobs.New()
	if err != nil {
		return out, err
	}
	defer w.Close()
	if out, err = x.compose(ctx, w, fill); err != nil {
		return out, err
	}
	x.hold.Add(out.Desc.Digest, out.DiffID)
	return out, w.Commit()
}

func (x *export) compose(ctx context.Context, w *blob.Writer, fill func(io.Writer) error) (out packed, err error) {
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return out, context.Cause(ctx)
	}
	c, err := x.o.compression.writer(w)
	if err != nil {
		return out, fmt.Errorf("compress: %w", err)
	}
	content := digest.SHA256.Digester()
	err = fill(io.MultiWriter(content.Hash(), c))
	if closed := c.Close(); err == nil {
		err = closed
	}
	if err == nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	out.DiffID = content.Digest()
	out.Desc = ocispec.Descriptor{MediaType: x.o.compression.mediaType(), Digest: w.Digest(), Size: w.Offset()}
	return out, err
}
