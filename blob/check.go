package blob

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/api"
)

// Check reads every blob and compares it with its digest, and looks for files that are nobody's.
func (s *Store) Check(ctx context.Context, _ bool) (api.Findings, error) {
	var found api.Findings
	blobs, err := os.ReadDir(s.blobs)
	if err != nil {
		return found, fmt.Errorf("check blobs: %w", err)
	}
	for _, e := range blobs {
		d := digest.NewDigestFromEncoded(digest.SHA256, e.Name())
		if d.Validate() != nil || !e.Type().IsRegular() {
			found.Add(stray(filepath.Join(s.blobs, e.Name())))
			continue
		}
		found.Count("blobs", 1)
		problem, err := s.damage(ctx, d)
		switch {
		case ctx.Err() != nil:
			return found, context.Cause(ctx)
		case err != nil:
			found.Add(api.Fault{Kind: "blob", Name: d.String(), Problem: err.Error(), Advice: "look after the disk"})
		case problem != "":
			found.Add(s.damaged(ctx, d, problem))
		}
	}
	parts, err := os.ReadDir(s.ingest)
	if err != nil {
		return found, fmt.Errorf("check blobs: %w", err)
	}
	for _, e := range parts {
		name, isPart := strings.CutSuffix(e.Name(), partSuffix)
		known := strings.HasPrefix(name, newPrefix) || digest.NewDigestFromEncoded(digest.SHA256, name).Validate() == nil
		if !isPart || !known || !e.Type().IsRegular() {
			found.Add(stray(filepath.Join(s.ingest, e.Name())))
			continue
		}
		found.Count("transfers", 1)
	}
	return found, nil
}

// damaged is the fault of a blob that is not what its name says.
func (s *Store) damaged(ctx context.Context, d digest.Digest, problem string) api.Fault {
	return api.Fault{
		Kind: "blob", Name: d.String(), Problem: problem, Remedy: "removed",
		Advice:   "pull or load the images that need it again",
		Persists: func() bool { p, err := s.damage(ctx, d); return err == nil && p != "" },
		Mend: func(ctx context.Context) error {
			p, err := s.damage(ctx, d)
			if err != nil || p == "" {
				return err
			}
			return s.Delete(d)
		},
	}
}

// stray is the fault of a file or folder that no blob store makes.
func stray(path string) api.Fault {
	return api.Fault{
		Kind: "blob", Name: path, Problem: "it is no blob", Remedy: "removed",
		Persists: func() bool { _, err := os.Lstat(path); return err == nil },
		Mend:     func(context.Context) error { return os.RemoveAll(path) },
	}
}

// damage tells what is wrong with a blob, "" when nothing is or it is gone. A disk that cannot be read is an error.
func (s *Store) damage(ctx context.Context, d digest.Digest) (string, error) {
	f, size, err := s.Open(d)
	if errdefs.IsNotFound(err) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("it cannot be read: %w", err)
	}
	defer f.Close()
	hash := digest.SHA256.Digester()
	if _, err := io.Copy(hash.Hash(), reader{ctx, f}); err != nil {
		return "", fmt.Errorf("it cannot be read: %w", err)
	}
	if got := hash.Digest(); got != d {
		return fmt.Sprintf("its %d bytes have the digest %s", size, got), nil
	}
	return "", nil
}

// reader ends with its context.
type reader struct {
	ctx context.Context
	fs.File
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.File.Read(p)
}
