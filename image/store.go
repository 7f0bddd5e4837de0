package image

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/image/lease"
	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/image/push"
	"github.com/cove-containers/cove/image/recall"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// How much is done at once, over all pulls and loads.
const (
	unpacks = 4
)

// pullMemory is how long an unfinished pull is remembered, and what it fetched kept.
const pullMemory = 24 * time.Hour

// unfinished is a pull that has begun and not ended: what it fetches stays until it is done or forgotten.
type unfinished struct {
	// Roots are the documents it has; what they name belongs to it.
	Roots []ocispec.Descriptor
	Began time.Time
}

// Store is the keeper of images. It is safe for concurrent use.
type Store struct {
	blobs  *blob.Store
	remote *remote.Client
	layers unpacker
	emit   func(action, id string, attrs map[string]string)
	names  *names
	pulls  *state.Table[unfinished]

	documents recall.Box[oci.Document] // parsed: they never change, and every command reads the same few
	configs   recall.Box[*oci.Image]
	leases    lease.Book
	jobs      *progress.Jobs
	push      *push.Pusher
	sweeping  sync.Mutex // one sweep at a time

	downloads, unpacks progress.Slots
	attempts           atomic.Int32

	formTable *state.Table[[]ocispec.Descriptor]

	mu       sync.Mutex
	users    func() []User
	held     func(layer string) bool
	forms    map[digest.Digest][]ocispec.Descriptor // the blobs of layers, by diff ID
	embedded map[string]func() (io.ReadCloser, error)
}

// Open opens the store and brings names and blobs into step: a name whose document is gone is dropped. emit is told
// what happens to images: pull, load, tag, untag, delete, save.
func Open(db *state.DB, blobs *blob.Store, reg *remote.Client, layers unpacker, emit func(action, id string, attrs map[string]string)) (*Store, error) {
	s := &Store{
		blobs: blobs, remote: reg, layers: layers, emit: emit, jobs: progress.NewJobs(),
	}
	s.downloads.Limit(Downloads)
	s.unpacks.Limit(unpacks)
	s.attempts.Store(Attempts)
	if emit == nil {
		s.emit = func(string, string, map[string]string) {}
	}
	var err error
	if s.names, err = openNames(db); err != nil {
		return nil, err
	}
	if s.pulls, err = state.NewTable[unfinished](db, "image-pulls"); err != nil {
		return nil, err
	}
	if s.push, err = push.Open(db, blobs, reg, s.jobs); err != nil {
		return nil, err
	}
	if s.formTable, err = state.NewTable[[]ocispec.Descriptor](db, "image-layers"); err != nil {
		return nil, err
	}
	forms, err := s.formTable.All()
	if err != nil {
		return nil, err
	}
	s.forms = map[digest.Digest][]ocispec.Descriptor{}
	for diffID, list := range forms {
		s.forms[digest.Digest(diffID)] = list
	}
	if err := s.repair(); err != nil {
		return nil, fmt.Errorf("open images: %w", err)
	}
	return s, nil
}

// Limit sets how many blobs are fetched and uploaded at once, over all pulls and pushes that begin from then on, and how often
// in a row a download is tried that brings nothing new; 0 leaves a number as it is.
func (s *Store) Limit(downloads, uploads, attempts int) {
	s.downloads.Limit(downloads)
	s.push.Limit(uploads)
	if attempts > 0 {
		s.attempts.Store(int32(attempts))
	}
}

// Close ends all transfers and waits for them.
func (s *Store) Close() error {
	s.jobs.Close()
	return nil
}

// SetUsers tells how to find the containers made from images; users must not call back into the store. Until it is called
// nothing is removed; then what a crash has left goes, in the background.
func (s *Store) SetUsers(users func() []User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users = users
	if users != nil {
		s.jobs.Go(func() { s.sweepQuietly(context.Background()) })
	}
}

// SetEmbedded names images that come with the engine: full name to archive. Pulling such a name loads the archive.
func (s *Store) SetEmbedded(archives map[string]func() (io.ReadCloser, error)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.embedded = archives
}

func (s *Store) embeddedArchive(name string) func() (io.ReadCloser, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.embedded[name]
}

// usersOf lists the containers of the image with this ID.
func (s *Store) usersOf(id digest.Digest) []User { return s.usersByImage()[id] }

// usersByImage lists the containers of every image.
func (s *Store) usersByImage() map[digest.Digest][]User {
	s.mu.Lock()
	all := s.users
	s.mu.Unlock()
	out := map[digest.Digest][]User{}
	if all != nil {
		for _, u := range all() {
			out[u.Image] = append(out[u.Image], u)
		}
	}
	return out
}

// repair drops names that point to nothing readable and forgets old unfinished pulls.
func (s *Store) repair() error {
	for name, r := range s.names.snapshot() {
		_, err := s.blobs.Read(r.Target.Digest, oci.MaxDocument)
		if err == nil {
			continue
		}
		if !errdefs.IsNotFound(err) && !errdefs.IsDataLoss(err) {
			return err
		}
		slog.Warn("image dropped: its document is gone", "name", name, "digest", r.Target.Digest, "error", err)
		if errdefs.IsDataLoss(err) {
			err = s.blobs.Delete(r.Target.Digest)
		} else {
			err = nil
		}
		if err := errors.Join(err, s.names.put(name, nil)); err != nil {
			return err
		}
	}
	pulls, err := s.pulls.All()
	if err != nil {
		return err
	}
	for key, p := range pulls {
		if time.Since(p.Began) > pullMemory {
			if err := s.pulls.Delete(key); err != nil {
				return err
			}
		}
	}
	return nil
}
