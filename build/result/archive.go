package result

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/core/content"
	"github.com/moby/buildkit/session"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/session/filesync"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc/codes"

	"github.com/cove-containers/cove/ref"
)

// archive sends the image to the client: as one tar, or blob by blob to a folder of its.
func (x *export) archive(ctx context.Context, m *made, names []ref.Name, response map[string]string) error {
	return x.client(ctx, func(ctx context.Context, c session.Caller) error {
		if !x.o.tar {
			return x.sendBlobs(ctx, c, m)
		}
		defer x.step("sending tarball")()
		return x.send(ctx, c, response, func(w io.Writer) error { return x.writeBundle(ctx, w, m, names) })
	})
}

// client lets do have the client that wants the result.
func (x *export) client(ctx context.Context, do func(ctx context.Context, c session.Caller) error) error {
	if x.env.Sessions == nil || x.env.Group == nil {
		return invalid("the %s exporter needs a session with the client to send it what was built", x.o.kind)
	}
	var failed error
	err := x.env.Sessions.Any(ctx, x.env.Group, func(ctx context.Context, _ string, c session.Caller) error {
		failed = do(ctx, c)
		return nil // nobody else wants it
	})
	return errors.Join(err, failed)
}

// send streams something to the file that the client has for this exporter. A client that has it already says so.
func (x *export) send(ctx context.Context, c session.Caller, response map[string]string, write func(io.Writer) error) error {
	w, err := filesync.CopyFileWriter(ctx, response, x.id, c)
	if err == nil {
		err = write(w)
		if closed := w.Close(); err == nil {
			err = closed
		}
	}
	if grpcerrors.Code(err) == codes.AlreadyExists {
		return nil
	}
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// writeBundle writes an archive that is an OCI layout and, for Docker, one of its own archives at once.
func (x *export) writeBundle(ctx context.Context, w io.Writer, m *made, names []ref.Name) error {
	t := tar.NewWriter(w)
	for _, dir := range []string{"blobs/", "blobs/sha256/"} {
		if err := t.WriteHeader(&tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
			return err
		}
	}
	list := slices.Clone(m.content)
	slices.SortFunc(list, func(a, b ocispec.Descriptor) int { return strings.Compare(string(a.Digest), string(b.Digest)) })
	for _, d := range list {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := x.writeBlob(t, d); err != nil {
			return err
		}
	}
	documents := map[string]any{
		"index.json": m.layoutIndex(names), ocispec.ImageLayoutFile: ocispec.ImageLayout{Version: ocispec.ImageLayoutVersion},
	}
	order := []string{"index.json", ocispec.ImageLayoutFile}
	if x.o.kind == Docker {
		documents["manifest.json"] = m.dockerManifest(names)
		order = []string{"index.json", "manifest.json", ocispec.ImageLayoutFile}
	}
	for _, name := range order {
		body, err := json.Marshal(documents[name])
		if err != nil {
			return err
		}
		if err := writeFile(t, name, int64(len(body)), bytes.NewReader(body)); err != nil {
			return err
		}
	}
	return t.Close()
}

func (x *export) writeBlob(t *tar.Writer, d ocispec.Descriptor) error {
	f, size, err := x.Blobs.Open(d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	return writeFile(t, blobName(d.Digest), size, f)
}

func writeFile(t *tar.Writer, name string, size int64, r io.Reader) error {
	if err := t.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err := io.Copy(t, r)
	return err
}

func blobName(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// layoutIndex is index.json: the image once for each of its names.
func (m *made) layoutIndex(names []ref.Name) ocispec.Index {
	index := ocispec.Index{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageIndex}
	entry := func(more map[string]string) {
		d := m.root
		d.Annotations = map[string]string{ocispec.AnnotationCreated: m.created.Format(time.RFC3339)}
		for _, from := range []map[string]string{m.root.Annotations, more} {
			for k, v := range from {
				d.Annotations[k] = v
			}
		}
		index.Manifests = append(index.Manifests, d)
	}
	for _, n := range names {
		entry(map[string]string{"io.containerd.image.name": n.String(), ocispec.AnnotationRefName: n.Tag})
	}
	if len(names) == 0 {
		entry(nil)
	}
	return index
}

// dockerManifest is manifest.json.
func (m *made) dockerManifest(names []ref.Name) any {
	type entry struct {
		Config   string
		RepoTags []string
		Layers   []string
	}
	v := m.images[0]
	e := entry{Config: blobName(v.config.Digest), RepoTags: []string{}, Layers: []string{}}
	for _, n := range names {
		e.RepoTags = append(e.RepoTags, n.Familiar())
	}
	for _, l := range v.layers {
		e.Layers = append(e.Layers, blobName(l.Desc.Digest))
	}
	return []entry{e}
}

// sendBlobs brings what the image consists of into the content store that the client has for it, what others point to first.
func (x *export) sendBlobs(ctx context.Context, c session.Caller, m *made) error {
	store := sessioncontent.NewCallerStore(c, "export")
	for _, d := range m.content {
		if err := x.sendBlob(ctx, store, d); err != nil {
			return fmt.Errorf("send %s to the client: %w", d.Digest, err)
		}
	}
	return nil
}

func (x *export) sendBlob(ctx context.Context, store content.Store, d ocispec.Descriptor) error {
	defer x.step("copying %s", d.Digest)()
	f, size, err := x.Blobs.Open(d.Digest)
	if err != nil {
		return err
	}
	defer f.Close()
	d.Size = size
	return content.WriteBlob(ctx, store, d.Digest.String(), f, d)
}
