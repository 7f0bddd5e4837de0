// Package bundle reads archives that hold images: OCI layouts and what docker save has written since Docker 1.10.
package bundle

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/image/lease"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// What an archive may ask of this machine's memory.
const (
	maxBundleFiles = 65536
	maxBundleName  = 4096
)

// Image is one image of an archive: what it is and the names it has there.
type Image struct {
	Target ocispec.Descriptor
	Names  []ref.Name
}

// Bundle is the content of an image archive: its files are in the blob store, protected by the lease, its few documents in memory.
type Bundle struct {
	blobs *blob.Store
	hold  *lease.Lease
	// documents are index.json, manifest.json and oci-layout.
	documents map[string][]byte
	files     map[string]ocispec.Descriptor
	// links lead from a path to another inside the archive, or to "" when they lead outside.
	links map[string]string
}

// Read reads an archive, compressed or not, to its end.
func Read(ctx context.Context, blobs *blob.Store, hold *lease.Lease, r io.Reader) (*Bundle, error) {
	b := &Bundle{blobs: blobs, hold: hold, documents: map[string][]byte{}, files: map[string]ocispec.Descriptor{}, links: map[string]string{}}
	plain, err := archive.Decompress(r)
	if err != nil {
		return nil, badArchive(err)
	}
	defer plain.Close()
	entries := tar.NewReader(plain)
	for {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		h, err := entries.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, badArchive(err)
		}
		if err := b.entry(h, entries); err != nil {
			return nil, err
		}
	}
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return nil, badArchive(err)
	}
	return b, nil
}

func badArchive(err error) error {
	switch {
	case errors.Is(err, tar.ErrHeader):
		return errdefs.ErrInvalidArgument.WithMessage("invalid archive: archive/tar: invalid tar header")
	case errors.Is(err, io.ErrUnexpectedEOF):
		return errdefs.ErrInvalidArgument.WithMessage("invalid archive: unexpected EOF: the archive is truncated")
	}
	return fmt.Errorf("read archive: %w", err)
}

func (b *Bundle) entry(h *tar.Header, r io.Reader) error {
	if len(h.Name) > maxBundleName || len(h.Linkname) > maxBundleName {
		return errdefs.ErrInvalidArgument.WithMessage("invalid archive: a name is too long")
	}
	name := strings.TrimPrefix(path.Clean("/"+h.Name), "/")
	switch h.Typeflag {
	case tar.TypeReg:
	case tar.TypeSymlink:
		b.links[name] = inside(path.Dir(name), h.Linkname)
		return b.checkCount()
	case tar.TypeLink:
		b.links[name] = inside(".", h.Linkname)
		return b.checkCount()
	default:
		return nil
	}
	for key := range h.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return errdefs.ErrInvalidArgument.WithMessage("invalid archive: an image archive has no sparse files")
		}
	}
	switch name {
	case "index.json", "manifest.json", "oci-layout", "repositories":
		body, err := io.ReadAll(io.LimitReader(r, oci.MaxDocument+1))
		if err != nil {
			return badArchive(err)
		}
		if len(body) > oci.MaxDocument {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: %s is larger than %d bytes", name, oci.MaxDocument))
		}
		b.documents[name] = body
		return nil
	}
	return b.file(name, h.Size, r)
}

func (b *Bundle) checkCount() error {
	if len(b.files)+len(b.links) > maxBundleFiles {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: more than %d files", maxBundleFiles))
	}
	return nil
}

// inside resolves a link found in folder: the path it leads to in the archive, or "" when it leads outside.
func inside(folder, target string) string {
	if path.IsAbs(target) {
		return ""
	}
	to := path.Join(folder, target)
	if to == ".." || strings.HasPrefix(to, "../") {
		return ""
	}
	return to
}

// file puts a file into the blob store. What is named by its digest must have it.
func (b *Bundle) file(name string, size int64, r io.Reader) error {
	want := blobPath(name)
	if want != "" {
		b.hold.Add(want)
		if n, err := b.blobs.Stat(want); err == nil && n == size {
			b.files[name] = ocispec.Descriptor{Digest: want, Size: size}
			return b.checkCount()
		}
	}
	w, err := b.blobs.New()
	if err != nil {
		return err
	}
	defer w.Close()
	if _, err := io.Copy(w, r); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return badArchive(err)
		}
		return fmt.Errorf("read %s: %w", name, err)
	}
	got := w.Digest()
	if want != "" && got != want {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: %s has digest %s", name, got))
	}
	b.hold.Add(got)
	if err := w.Commit(); err != nil {
		return err
	}
	b.files[name] = ocispec.Descriptor{Digest: got, Size: size}
	return b.checkCount()
}

// blobPath is the digest a path of an OCI layout stands for, or "".
func blobPath(name string) digest.Digest {
	hex, ok := strings.CutPrefix(name, "blobs/sha256/")
	if !ok {
		return ""
	}
	if d := digest.NewDigestFromEncoded(digest.SHA256, hex); d.Validate() == nil {
		return d
	}
	return ""
}

// find follows links to a file of the archive.
func (b *Bundle) find(name string) (ocispec.Descriptor, error) {
	at := inside(".", name)
	for range 16 {
		if at == "" {
			return ocispec.Descriptor{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: %q leads outside of it", name))
		}
		if f, ok := b.files[at]; ok {
			return f, nil
		}
		next, ok := b.links[at]
		if !ok {
			return ocispec.Descriptor{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: it has no file %q", name))
		}
		at = next
	}
	return ocispec.Descriptor{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid archive: too many links at %q", name))
}
