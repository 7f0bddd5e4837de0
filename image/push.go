package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/auxprogress"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/image/push"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// PushOptions tells how Push works.
type PushOptions struct {
	// Platform chooses the one manifest to be pushed; nil is the whole image, as far as it is here or in the registry.
	Platform    *ocispec.Platform
	Credentials remote.Credentials
	// Insecure takes the registry for one that needs no valid TLS; for PushTo.
	Insecure bool
	// Progress, when set, gets what dockerd would stream to the client; it is called by one goroutine at a time.
	Progress func(js.Message)
}

// pushed is what dockerd's classic image store tells at the end, and programs read.
type pushed struct {
	Tag    string
	Digest digest.Digest
	Size   int64
}

// Push has an image in the registry that its name says; a repository without tag or digest means all its tags. What is there is
// not sent again. Of an image for several platforms whose content is not complete, here or there, the manifest of this host goes
// out alone, as dockerd has it, and the client is told.
func (s *Store) Push(ctx context.Context, reference string, o PushOptions) error {
	name, err := ref.Parse(reference)
	if err != nil {
		return err
	}
	out := progress.NewReporter(o.Progress)
	defer out.Close()
	out.Say("", "The push refers to repository ["+name.Repository()+"]")
	names := []ref.Name{name}
	if name.Tag == "" && name.Digest == "" {
		if names = s.tagsOf(name); len(names) == 0 {
			return errdefs.ErrNotFound.WithMessage("An image does not exist locally with the tag: " + name.FamiliarRepository())
		}
	}
	for _, n := range names {
		if err := s.pushName(ctx, n, o, out); err != nil {
			return err
		}
	}
	return nil
}

// PushTo has target and all it leads to in the repository of name, whether it has a name here or not, and lets name point to it there; a name
// with a digest only brings it there. The caller holds a lease on it.
func (s *Store) PushTo(ctx context.Context, name ref.Name, target ocispec.Descriptor, o PushOptions) error {
	out := progress.NewReporter(o.Progress)
	defer out.Close()
	hold := s.Lease()
	defer hold.Release()
	err := s.pushTarget(ctx, name, target, o, out, hold)
	if err == nil {
		s.emit("push", name.Familiar(), map[string]string{"name": name.FamiliarRepository()})
	}
	return err
}

// tagsOf lists the tagged names of a repository, sorted.
func (s *Store) tagsOf(repository ref.Name) []ref.Name {
	var out []ref.Name
	for _, full := range s.withAllTags([]string{repository.String()}) {
		if n, err := ref.Parse(full); err == nil && n.Tag != "" {
			out = append(out, n)
		}
	}
	return out
}

func (s *Store) pushName(ctx context.Context, name ref.Name, o PushOptions, out *progress.Reporter) error {
	f, ok := findName(s.names.snapshot(), name)
	if !ok {
		return errdefs.ErrNotFound.WithMessage("tag does not exist: " + name.Familiar())
	}
	if name.Digest != "" {
		name = name.WithDigest(name.Digest)
	}
	hold := s.Lease()
	defer hold.Release()
	target := f.target
	if o.Platform != nil {
		v, err := choosePushed(s.variants(target), s.isHere, o.Platform, name)
		if err != nil {
			return err
		}
		target = v.desc
	}
	err := s.pushTarget(ctx, name, target, o, out, hold)
	if errors.Is(err, push.ErrMissing) {
		target, err = s.pushInstead(ctx, name, target, err, o, out, hold)
	}
	if err != nil {
		return err
	}
	tag := name.Tag
	if name.Digest != "" {
		tag = name.Digest.String()
	}
	out.Say("", fmt.Sprintf("%s: digest: %s size: %d", tag, target.Digest, target.Size))
	aux(out, pushed{tag, target.Digest, target.Size})
	s.emit("push", name.Familiar(), map[string]string{"name": name.FamiliarRepository()})
	return nil
}

// pushInstead pushes one manifest of an index that is not complete.
func (s *Store) pushInstead(ctx context.Context, name ref.Name, index ocispec.Descriptor, missing error, o PushOptions, out *progress.Reporter, hold *Lease) (ocispec.Descriptor, error) {
	if o.Platform == nil && oci.IsIndex(index.MediaType) {
		v, err := choosePushed(s.variants(index), s.isHere, nil, name)
		if err == nil {
			if err = s.pushTarget(ctx, name, v.desc, o, out, hold); err == nil {
				aux(out, auxprogress.ManifestPushedInsteadOfIndex{ManifestPushedInsteadOfIndex: true, OriginalIndex: index, SelectedManifest: v.desc})
			}
			return v.desc, err
		}
		if !errdefs.IsNotFound(err) {
			return index, err
		}
	}
	aux(out, auxprogress.ContentMissing{ContentMissing: true, Desc: index})
	return index, missing
}

func (s *Store) pushTarget(ctx context.Context, name ref.Name, target ocispec.Descriptor, o PushOptions, out *progress.Reporter, hold *Lease) error {
	var c push.Content
	s.gather(target, &c, 0)
	for _, d := range slices.Concat(c.Blobs, c.Documents) {
		hold.Add(d.Digest)
	}
	if name.Digest != "" { // and perhaps only a part of what it stands for
		name = name.WithDigest(target.Digest)
	}
	pusher := s.push
	if o.Insecure {
		client, err := s.remote.Trusting(name.Host)
		if err != nil {
			return err
		}
		defer client.Close()
		pusher = pusher.Through(client)
	}
	return pusher.Push(ctx, name, c, o.Credentials, out)
}

// cacheConfig describes a build cache; an index may list it with the cache's layers, all of them blobs.
const cacheConfig = "application/vnd.buildkit.cacheconfig.v0"

// gather adds desc and all below it to what is pushed, each once, what others point to first.
func (s *Store) gather(desc ocispec.Descriptor, c *push.Content, depth int) {
	has := func(list []ocispec.Descriptor, d digest.Digest) bool {
		return slices.ContainsFunc(list, func(o ocispec.Descriptor) bool { return o.Digest == d })
	}
	if has(c.Documents, desc.Digest) || depth > maxDepth {
		return
	}
	if doc, err := s.document(desc); err == nil {
		desc.MediaType = doc.MediaType
		for _, child := range doc.Children() {
			switch {
			case doc.Index != nil && !oci.IsLayer(child.MediaType) && child.MediaType != cacheConfig:
				s.gather(child, c, depth+1)
			case !has(c.Blobs, child.Digest) && !isForeign(child):
				c.Blobs = append(c.Blobs, child)
			}
		}
	}
	c.Documents = append(c.Documents, desc)
}

// isForeign tells whether a layer is to be had from its URLs only.
func isForeign(d ocispec.Descriptor) bool {
	return len(d.URLs) > 0 && oci.IsForeign(d.MediaType)
}

// isHere tells whether all content of a variant is in the store.
func (s *Store) isHere(v variant) bool { return s.firstMissing(v) == "" }

// choosePushed picks the variant to be pushed alone: of those that are here the one for platform, or else the only one, or the
// best for this host.
func choosePushed(list []variant, here func(variant) bool, platform *ocispec.Platform, name ref.Name) (variant, error) {
	var fit []variant
	best, bestRank := -1, 0
	for _, v := range list {
		if v.attestation || !here(v) || platform != nil && oci.Rank(*platform, v.platform()) != 0 {
			continue
		}
		if rank := oci.RankHost(v.platform()); rank >= 0 && (best < 0 || rank < bestRank) {
			best, bestRank = len(fit), rank
		}
		fit = append(fit, v)
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) == 0 && platform != nil:
		return variant{}, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image with reference %s was found but does not provide the specified platform (%s)", name.Familiar(), oci.FormatPlatform(*platform)))
	case len(fit) == 0:
		return variant{}, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("image with reference %s was found but does not provide any platform", name.Familiar()))
	case platform != nil:
		return variant{}, errdefs.ErrConflict.WithMessage("multiple manifests found for platform " + oci.FormatPlatform(*platform))
	case best >= 0:
		return fit[best], nil
	}
	return variant{}, errdefs.ErrConflict.WithMessage("multiple matching manifests found but no specific platform requested")
}

// aux sends what is meant for programs.
func aux(out *progress.Reporter, what any) {
	if raw, err := json.Marshal(what); err == nil {
		out.Send(js.Message{Aux: (*json.RawMessage)(&raw)})
	}
}
