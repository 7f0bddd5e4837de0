// Package source brings what builds start from: images from here, from registries and from clients; folders of clients;
// files and repositories from the net. A source is asked first what it is, which is cheap, and fetched only when a step
// that is not cached needs it.
package source

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/source/git"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
)

// Parts are what sources come from and go to.
type Parts struct {
	Layers  *layer.Store
	Content *content.Store
	Images  *image.Store
	// Folder is where notes on clients' folders lie, and what git needs between two fetches.
	Folder string
}

// Maker makes steps of sources. It is safe for concurrent use.
type Maker struct {
	parts        Parts
	held         recent
	repositories *git.Store
	turns        turns
	recall       *recall
}

// New makes a maker, and removes from its folder what is of no use any more.
func New(parts Parts) *Maker {
	return &Maker{
		parts: parts, repositories: git.New(filepath.Join(parts.Folder, "git")),
		recall: newRecall(filepath.Join(parts.Folder, "contents"), parts.Layers.Built),
	}
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// Op makes the step that fetches a source, for the platform of its vertex.
func (m *Maker) Op(op *pb.SourceOp, platform *pb.Platform) (step.Op, error) {
	scheme, rest, ok := strings.Cut(op.GetIdentifier(), "://")
	if !ok {
		return nil, invalid("source %q has no scheme", op.GetIdentifier())
	}
	switch scheme {
	case "local":
		return m.local(rest, op.GetAttrs())
	case "docker-image":
		return m.image(rest, op.GetAttrs(), platformOf(platform))
	case "oci-layout":
		return m.layout(rest, op.GetAttrs(), platformOf(platform))
	case "http", "https":
		return m.http(op.GetIdentifier(), op.GetAttrs())
	case "git":
		return m.git(rest, op.GetAttrs())
	}
	return nil, errdefs.ErrNotImplemented.WithMessage(fmt.Sprintf("sources of the kind %q are not supported", scheme))
}

// Resolve tells what a source is: of an image the digest and the config.
func (m *Maker) Resolve(ctx context.Context, env *step.Env, op *pb.SourceOp, opt sourceresolver.Opt) (*sourceresolver.MetaResponse, error) {
	scheme, rest, _ := strings.Cut(op.GetIdentifier(), "://")
	out := &sourceresolver.MetaResponse{Op: op}
	var err error
	switch scheme {
	case "docker-image":
		out.Image, err = m.resolveImage(ctx, env, op, rest, opt)
	case "oci-layout":
		out.Image, err = m.resolveLayout(ctx, env, op, rest, opt)
	case "http", "https":
		out.HTTP, err = m.resolveHTTP(ctx, env, op, opt)
	case "git":
		out.Git, err = m.resolveGit(ctx, env, op, rest, opt)
	}
	return out, err
}

// platformOf is a definition's platform; nil means this host's.
func platformOf(p *pb.Platform) *ocispec.Platform {
	if p == nil || p.GetOS() == "" && p.GetArchitecture() == "" {
		return nil
	}
	return &ocispec.Platform{
		OS: p.GetOS(), Architecture: p.GetArchitecture(), Variant: p.GetVariant(),
		OSVersion: p.GetOSVersion(), OSFeatures: p.GetOSFeatures(),
	}
}

// keyOf is the digest of a list of values, the first telling what they are.
func keyOf(what string, values ...any) digest.Digest {
	h := sha256.New()
	fmt.Fprintln(h, what)
	json.NewEncoder(h).Encode(values) // strings, numbers and lists of such: it cannot fail
	return digest.NewDigest(digest.SHA256, h)
}
