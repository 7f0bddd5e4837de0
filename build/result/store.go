package result

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/moby/buildkit/session/auth"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

var errNoExporter = errdefs.ErrNotFound

// storeImage gives the image its names, when all of it is there and on disk, and pushes it.
func (x *export) storeImage(ctx context.Context, m *made, names []ref.Name) error {
	if x.o.store {
		if err := x.unpack(ctx, m); err != nil {
			return err
		}
		local := names
		if x.o.byDigest {
			local = nil
		}
		for _, n := range local {
			defer x.step("naming to %s", n)()
		}
		if x.o.canonical {
			for _, n := range names {
				local = append(local[:len(local):len(local)], n.WithDigest(m.root.Digest))
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.Images.Point(m.root, local...); err != nil {
			return err
		}
	}
	if !x.o.push {
		return nil
	}
	for _, n := range names {
		if err := x.pushTo(ctx, m, n); err != nil {
			return fmt.Errorf("failed to push %s: %w", n, err)
		}
	}
	return nil
}

// unpack has the images' layers ready for containers: what was built here is ready, without a copy.
func (x *export) unpack(ctx context.Context, m *made) error {
	for _, v := range m.images {
		var diffIDs []digest.Digest
		for _, l := range v.layers {
			x.hold.Add(l.DiffID, l.Desc.Digest)
			diffIDs = append(diffIDs, l.DiffID)
		}
		if len(v.pile) > 0 {
			if err := x.Layers.Adopt(ctx, v.pile, diffIDs); err != nil {
				return err
			}
		}
		if !x.o.unpack || oci.RankHost(v.platform.Platform) < 0 {
			continue
		}
		end := x.step("unpacking to %s", v.manifest.Digest)
		img := image.Image{ID: m.root.Digest, DiffIDs: diffIDs}
		for _, l := range v.layers {
			img.Layers = append(img.Layers, l.Desc)
		}
		if err := x.Images.Unpacked(ctx, &img); err != nil {
			return err
		}
		end()
	}
	for _, v := range m.images {
		for _, l := range v.layers {
			x.Images.Remember(l.DiffID, l.Desc)
		}
	}
	return nil
}

func (x *export) sweep(ctx context.Context) {
	if _, err := x.Images.Sweep(context.WithoutCancel(ctx)); err != nil && !errdefs.IsUnavailable(err) {
		slog.Warn("what an export has left was not swept", "error", err)
	}
}

// pushTo brings the image to the registry of a name.
func (x *export) pushTo(ctx context.Context, m *made, name ref.Name) error {
	defer x.step("pushing %s", name)()
	cred, err := Credentials(ctx, x.env, name.Host)
	if err != nil {
		return err
	}
	if x.o.byDigest {
		name.Tag = ""
		name = name.WithDigest(m.root.Digest)
	}
	return x.Images.PushTo(ctx, name, ocispec.Descriptor{MediaType: m.root.MediaType, Digest: m.root.Digest, Size: m.root.Size}, image.PushOptions{
		Credentials: cred, Insecure: x.o.insecure, Progress: transfers(x.env),
	})
}

// transfers tells how the parts of a push come along.
func transfers(env *step.Env) func(js.Message) {
	begun := map[string]time.Time{}
	return func(msg js.Message) {
		if msg.ID == "" || env.Progress == nil {
			return
		}
		if begun[msg.ID].IsZero() {
			begun[msg.ID] = time.Now()
		}
		at := begun[msg.ID]
		s := step.Status{ID: "pushing layer " + msg.ID, Started: &at}
		if msg.Progress != nil {
			s.Current, s.Total = msg.Progress.Current, msg.Progress.Total
		}
		if msg.Status == "Pushed" || strings.HasPrefix(msg.Status, "Layer already exists") || strings.HasPrefix(msg.Status, "Mounted from") {
			now := time.Now()
			s.Completed = &now
		}
		env.Progress(s)
	}
}

// Credentials asks the client how it is known to a registry; a client that does not say is nobody there.
func Credentials(ctx context.Context, env *step.Env, host string) (remote.Credentials, error) {
	if env.Sessions == nil || env.Group == nil {
		return remote.Credentials{}, nil
	}
	if host == "docker.io" {
		host = "registry-1.docker.io"
	}
	_, user, secret, err := auth.CredentialsFunc(ctx, env.Sessions, env.Group)(host)
	if err != nil {
		return remote.Credentials{}, fmt.Errorf("ask the client for its credentials at %s: %w", host, err)
	}
	if user == "" {
		return remote.Credentials{IdentityToken: secret}, nil
	}
	return remote.Credentials{Username: user, Password: secret}, nil
}
