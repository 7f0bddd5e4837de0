package source

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/ref"
)

// maxDocument is the largest index or manifest, as from registries.
const maxDocument = 8 << 20

// layout is a folder with images in the client's file system, which it serves in its session.
type layout struct {
	store, session string
}

// layout makes the step for an image of a client's folder. The name in it only matters for messages; the digest decides.
func (m *Maker) layout(text string, attrs map[string]string, platform *ocispec.Platform) (step.Op, error) {
	store, _, ok := strings.Cut(text, "@")
	if !ok {
		return nil, invalid("reference %q must have digest", text)
	}
	if own := attrs[pb.AttrOCILayoutStoreID]; own != "" {
		store = own
	}
	limit, err := layerLimit(attrs[pb.AttrOCILayoutLayerLimit])
	if err != nil {
		return nil, err
	}
	d, err := digest.Parse(text[strings.LastIndex(text, "@")+1:])
	if err != nil {
		return nil, invalid("reference %q must have digest: %v", text, err)
	}
	name := ref.Name{Host: "oci-layout", Path: store, Digest: d}
	return &base{m: m, name: name, platform: platform, limit: limit, layout: &layout{store, attrs[pb.AttrOCILayoutSessionID]}}, nil
}

func (m *Maker) resolveLayout(ctx context.Context, env *step.Env, op *pb.SourceOp, text string, opt sourceresolver.Opt) (*sourceresolver.ResolveImageResponse, error) {
	made, err := m.layout(text, op.GetAttrs(), nil)
	if err != nil {
		return nil, err
	}
	b := made.(*base)
	if o := opt.OCILayoutOpt; o != nil {
		b.platform = o.Platform
		if o.Store.StoreID != "" {
			b.layout.store = o.Store.StoreID
		}
		if o.Store.SessionID != "" {
			b.layout.session = o.Store.SessionID
		}
	}
	return b.resolve(ctx, env)
}

// with is the folder as those who build serve it.
func (l *layout) with(env *step.Env) image.Origin { return &served{layout: *l, env: env} }

type served struct {
	layout
	env *step.Env
}

// ask calls do with the store of a client that has it.
func (s *served) ask(ctx context.Context, do func(ctx context.Context, from content.Store) error) error {
	call := func(ctx context.Context, _ string, caller session.Caller) error {
		return do(ctx, sessioncontent.NewCallerStore(caller, "oci:"+s.store))
	}
	if s.session != "" {
		soon, cancel := context.WithTimeout(ctx, 5*time.Second)
		caller, err := s.env.Sessions.Get(soon, s.session, false)
		cancel()
		if err == nil {
			return call(ctx, s.session, caller)
		}
	}
	if s.env.Group == nil {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("no client serves the OCI layout %q", s.store))
	}
	return s.env.Sessions.Any(ctx, s.env.Group, call)
}

// Manifest reads an index or manifest.
func (s *served) Manifest(ctx context.Context, name ref.Name) (desc ocispec.Descriptor, body []byte, err error) {
	err = s.ask(ctx, func(ctx context.Context, from content.Store) error {
		info, err := from.Info(ctx, name.Digest)
		if err != nil {
			return err
		}
		if info.Size > maxDocument {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("document %s of %d bytes is larger than %d", name.Digest, info.Size, maxDocument))
		}
		desc = ocispec.Descriptor{Digest: name.Digest, Size: info.Size}
		at, err := from.ReaderAt(ctx, desc)
		if err != nil {
			return err
		}
		defer at.Close()
		body, err = io.ReadAll(io.NewSectionReader(at, 0, info.Size))
		return err
	})
	if err != nil {
		return desc, nil, fmt.Errorf("OCI layout %s: %w", s.store, err)
	}
	if got := name.Digest.Algorithm().FromBytes(body); got != name.Digest {
		return desc, nil, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("OCI layout %s: document %s is really %s", s.store, name.Digest, got))
	}
	return desc, body, nil
}

// Blob opens a blob. Whoever reads it verifies it.
func (s *served) Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (rc io.ReadCloser, start int64, err error) {
	err = s.ask(ctx, func(ctx context.Context, from content.Store) error {
		at, err := from.ReaderAt(ctx, desc)
		if err != nil {
			return err
		}
		rc = &section{io.NewSectionReader(at, offset, desc.Size-offset), at}
		return nil
	})
	return rc, offset, err
}

// section is a part of a blob, which is closed with it.
type section struct {
	io.Reader
	io.Closer
}
