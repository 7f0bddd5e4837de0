// Package layer keeps root file systems: the read-only trees that images are made of, the stacks they form with
// overlayfs, and the writable layer on top of a stack that each container has.
//
//	layers/
//	    FORMAT                         "1"
//	    trees/<hex>/                   a layer's tree, by the hex of its diff ID
//	    fixes/<hex>/                   what one chain of layers needs besides its trees, by the hex of its chain ID
//	    writable/<id>/{upper,work}/    a container's own layer
//	    making/<random>/               trees being made; emptied when the store opens
//	    gone/<random>/                 trees being deleted; emptied when the store opens
//
// A tree is unpacked in making/, compared with its diff ID, synced, renamed to its place and recorded in the
// database, in this order. A tree without record or a record without tree is dropped when the store opens.
package layer

import (
	"context"
	"io"
	"os"

	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/state"
)

// Store is an open folder of layers. It is safe for concurrent use.
type Store struct{ root string }

// Open opens or makes the store in folder root, and removes what an earlier process left half made there.
func Open(root string, db *state.DB) (*Store, error) { return &Store{root: root}, nil }

// Has tells whether the layer is there, whole.
func (s *Store) Has(diffID digest.Digest) bool { return false }

// Size is about what the layer takes on disk, 0 when it is not there.
func (s *Store) Size(diffID digest.Digest) int64 { return 0 }

// Apply unpacks a layer from its uncompressed tar and returns its size. Several calls for one layer share the work:
// whoever comes later waits, and returns without having read its own tar when the first succeeds. The whole of tar
// is read and must hash to diffID. On error nothing is left.
func (s *Store) Apply(ctx context.Context, diffID digest.Digest, tar io.Reader) (int64, error) {
	return 0, nil
}

// Prepare makes the layers fit for lying on one another in this order, lowest first: layers that say nothing about
// a parent directory get its attributes from below, and layers that reach into those below (hard links, links among the parents)
// are unpacked once more on top of them, for which reopen gives their uncompressed tar again.
// It is quick when there is nothing to do or all is done.
func (s *Store) Prepare(ctx context.Context, diffIDs []digest.Digest, reopen func(context.Context, digest.Digest) (io.ReadCloser, error)) error {
	return nil
}

// Stack returns the directories that make up these layers (lowest first) as overlayfs wants them: topmost first, absolute.
// It is errdefs.ErrNotFound when a layer is missing, and errdefs.ErrFailedPrecondition when Prepare must be called first.
func (s *Store) Stack(ctx context.Context, diffIDs []digest.Digest) ([]string, error) {
	return nil, nil
}

// Remove deletes layers. Absent ones are no error. The caller knows that nobody uses them.
func (s *Store) Remove(diffIDs ...digest.Digest) error { return nil }

// Sweep deletes the layers that keep returns false for, except those being made or used by a writable layer, and tells how many and how many bytes.
func (s *Store) Sweep(keep func(diffID digest.Digest) bool) (removed int, freed int64, err error) {
	return 0, 0, nil
}

// Create makes the writable layer id on top of the given layers, lowest first.
func (s *Store) Create(ctx context.Context, id string, diffIDs []digest.Digest) error { return nil }

// Overlay returns what overlayfs needs for the writable layer id: the layers below, topmost first, and its own two directories.
func (s *Store) Overlay(id string) (lower []string, upper, work string, err error) {
	return nil, "", "", nil
}

// Delete removes the writable layer id. What is absent is no error.
func (s *Store) Delete(ctx context.Context, id string) error { return nil }

// Writable lists the writable layers.
func (s *Store) Writable() []string { return nil }

// Usage is what the writable layer takes on disk as du counts it, hard links once, without its root directory.
func (s *Store) Usage(id string) (int64, error) { return 0, nil }

// Changes lists how the writable layer id differs from the layers below, as docker diff shows it: sorted, with the
// directories that changes lie in. What is at or below a path in ignore, and unchanged directories that hold nothing else, is left out.
func (s *Store) Changes(ctx context.Context, id string, ignore ...string) ([]ct.FilesystemChange, error) {
	return nil, nil
}

// Root is a writable layer's merged tree, mounted where no other process can see it.
type Root struct {
	// Dir is the tree's root; open what is in it with sys.OpenInRoot.
	Dir *os.File
}

// Root mounts the merged tree of writable layer id. Not for a layer that a running container has mounted.
func (s *Store) Root(ctx context.Context, id string) (*Root, error) { return nil, nil }

// Close unmounts the tree once nothing of it is open.
func (r *Root) Close() error { return r.Dir.Close() }
