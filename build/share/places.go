package share

import (
	"context"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// inRegistry is a cache in a repository of a registry.
type inRegistry struct {
	client  *remote.Client
	name    ref.Name
	session *remote.Session
}

func (s *Sharer) registry(ctx context.Context, env *step.Env, attrs map[string]string) (origin, error) {
	name, err := cacheName(attrs)
	if err != nil {
		return nil, err
	}
	cred, err := result.Credentials(ctx, env, name.Host)
	if err != nil {
		return nil, err
	}
	client := s.Remote
	if isTrue(attrs["registry.insecure"]) {
		if client, err = client.Trusting(name.Host); err != nil {
			return nil, err
		}
	}
	return &inRegistry{client, name, remote.NewSession(cred)}, nil
}

// cacheName reads the name of a cache in a registry.
func cacheName(attrs map[string]string) (ref.Name, error) {
	if attrs["ref"] == "" {
		return ref.Name{}, invalid("missing ref: it names where in a registry the cache is")
	}
	name, err := ref.Parse(attrs["ref"])
	if err == nil && name.Tag == "" && name.Digest == "" {
		name.Tag = "latest"
	}
	return name, err
}

func (r *inRegistry) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	return r.client.Manifest(ctx, r.name, r.session)
}

// Manifest implements image.Origin.
func (r *inRegistry) Manifest(ctx context.Context, name ref.Name) (ocispec.Descriptor, []byte, error) {
	return r.client.Manifest(ctx, r.name.WithDigest(name.Digest), r.session)
}

// Blob implements image.Origin.
func (r *inRegistry) Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	return r.client.Blob(ctx, r.name, desc, offset, r.session)
}

// inFolder is a cache in a folder of a client's, which serves it in its session.
type inFolder struct {
	id     string
	digest digest.Digest // of the document that describes it
	env    *step.Env
}

// storePrefix begins the name under which clients serve the folders of caches.
const storePrefix = "local:"

func folder(_ context.Context, env *step.Env, attrs map[string]string) (origin, error) {
	if attrs["src"] == "" {
		return nil, invalid("local cache importer requires src")
	}
	d := digest.Digest(attrs["digest"])
	if err := oci.CheckDigest(d); err != nil {
		return nil, invalid("local cache importer requires explicit digest")
	}
	return &inFolder{id: storePrefix + attrs["src"], digest: d, env: env}, nil
}

// with calls do with the store of a client that serves the folder.
func with(ctx context.Context, env *step.Env, id string, do func(context.Context, content.Store) error) error {
	if env.Sessions == nil || env.Group == nil {
		return invalid("a cache in a folder needs a session with the client that has it")
	}
	return env.Sessions.Any(ctx, env.Group, func(ctx context.Context, _ string, c session.Caller) error {
		return do(ctx, sessioncontent.NewCallerStore(c, id))
	})
}

func (f *inFolder) root(ctx context.Context) (ocispec.Descriptor, []byte, error) {
	return f.Manifest(ctx, ref.Name{Digest: f.digest})
}

// Manifest implements image.Origin.
func (f *inFolder) Manifest(ctx context.Context, name ref.Name) (desc ocispec.Descriptor, body []byte, err error) {
	desc.Digest = name.Digest
	err = with(ctx, f.env, f.id, func(ctx context.Context, from content.Store) error {
		info, err := from.Info(ctx, name.Digest)
		if err != nil {
			return err
		}
		if desc.Size = info.Size; desc.Size > oci.MaxDocument {
			return invalid("%s of %d bytes is larger than %d", name.Digest, desc.Size, oci.MaxDocument)
		}
		at, err := from.ReaderAt(ctx, desc)
		if err != nil {
			return err
		}
		defer at.Close()
		body, err = io.ReadAll(io.NewSectionReader(at, 0, desc.Size))
		return err
	})
	if err == nil && digest.FromBytes(body) != name.Digest {
		err = invalid("what was given for %s is something else", name.Digest)
	}
	return desc, body, err
}

// Blob implements image.Origin.
func (f *inFolder) Blob(ctx context.Context, desc ocispec.Descriptor, offset int64) (r io.ReadCloser, at int64, err error) {
	err = with(ctx, f.env, f.id, func(ctx context.Context, from content.Store) error {
		whole, err := from.ReaderAt(ctx, desc)
		if err == nil {
			r = section{io.NewSectionReader(whole, offset, desc.Size-offset), whole}
		}
		return err
	})
	return r, offset, err
}

type section struct {
	io.Reader
	io.Closer
}

// cargo is what is to be brought somewhere: blobs of the store, what others point to first, and last what describes the cache.
type cargo struct {
	list []ocispec.Descriptor
	root ocispec.Descriptor
}

// toFolder brings a cache to a folder of the client's.
func (s *Sharer) toFolder(ctx context.Context, env *step.Env, attrs map[string]string, c cargo) error {
	return with(ctx, env, storePrefix+attrs["dest"], func(ctx context.Context, to content.Store) error {
		for _, d := range append(c.list, c.root) {
			if err := s.copyTo(ctx, env, to, d); err != nil {
				return fmt.Errorf("write %s: %w", d.Digest, err)
			}
		}
		return nil
	})
}

func (s *Sharer) copyTo(ctx context.Context, env *step.Env, to content.Store, d ocispec.Descriptor) error {
	defer env.Part("writing " + d.Digest.String())()
	f, _, err := s.Blobs.Open(d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	return content.WriteBlob(ctx, to, d.Digest.String(), f, d)
}

// toRegistry brings a cache to a repository.
func (s *Sharer) toRegistry(ctx context.Context, env *step.Env, attrs map[string]string, c cargo) error {
	name, err := cacheName(attrs)
	if err != nil {
		return err
	}
	cred, err := result.Credentials(ctx, env, name.Host)
	if err != nil {
		return err
	}
	defer env.Part("pushing cache to " + name.Familiar())()
	return s.Images.PushTo(ctx, name, c.root, image.PushOptions{Credentials: cred, Insecure: isTrue(attrs["registry.insecure"])})
}
