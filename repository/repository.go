// Package repository keeps what a registry has: blobs, and repositories with the manifests and tags that lead to them.
// Everything lies in a Storage, so any number of processes may work on one at the same time without a word to one another.
//
//	FORMAT                                  "1"
//	blobs/<algorithm>/<hex>                 bytes, verified before they appear here; manifests too
//	catalog/<name>+                         there is a repository of this name
//	links/<name>+/<digest>                  the repository has this blob
//	holders/<digest>/<name>+                the same the other way round; a hint where a blob may be mounted from
//	manifests/<name>+/<digest>              the repository has this manifest; its media type, size, what it points to
//	tags/<name>+/<tag>                      the digest a tag points to
//	referrers/<name>+/<subject>/<digest>    the descriptor of a manifest that names a subject
//	uploads/<id>/state                      an unfinished upload: how far it is, the hash so far, its parts
//	uploads/<id>/<random>                   a part of it
//	doomed/<run>-<random>                   what a garbage collection, or the deletion of a manifest, is about to remove
//
// A name is followed by "+", which no name has and which sorts before everything a name has: so keys sort as names do,
// and "a" is never the folder of "a/b".
//
// # Order
//
// Data comes first, then what links to it, then the tag, and away in the other direction: a crash leaves garbage, never
// a tag without its image. Garbage is what nothing links to and what is older than the grace time. A collection and
// somebody who begins to rely on the same thing meet like this, without a lock: the collection names what it will remove
// (doomed/), looks once more whether anything links to it, removes, takes the name away. Whoever links to a thing writes
// the link first, then reads doomed/; is the thing named there, he waits until it is not, and then looks whether it still
// exists. One of the two sees the other.
package repository

import (
	"context"
	_ "crypto/sha512" // digests may be of it: go-digest finds it when it is linked in
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sync/errgroup"

	"github.com/cove-containers/cove/ref"
)

const format = "1"

// Config bounds what a Store takes; zero values are the defaults.
type Config struct {
	MaxManifest  int64         // largest manifest; 4 MiB
	UploadExpiry time.Duration // how long an upload nobody writes to is kept; 24 hours
	Grace        time.Duration // how long content may stand unreferenced; 24 hours
	Quota        Quota         // what a repository may hold; nil is no bound
	Cache        bool          // it keeps of another registry what was asked for: manifests may name what is not here
}

// Quota tells how many bytes a repository may hold; 0 is no bound.
type Quota func(name string) int64

// Store is all repositories of one Storage.
type Store struct {
	storage  Storage
	config   Config
	now      func() time.Time
	sessions sessions
	sizes    sizes
	lists    lists

	checkpoint int64
	doomedTime time.Duration
}

// Open opens the repositories in storage, which may be empty.
func Open(ctx context.Context, storage Storage, config Config) (*Store, error) {
	if config.MaxManifest <= 0 {
		config.MaxManifest = 4 << 20
	}
	if config.UploadExpiry <= 0 {
		config.UploadExpiry = 24 * time.Hour
	}
	if config.Grace <= 0 {
		config.Grace = 24 * time.Hour
	}
	s := &Store{
		storage: storage, config: config, now: time.Now, checkpoint: checkpoint, doomedTime: doomedTime,
		sessions: sessions{busy: map[string]*session{}}, sizes: sizes{of: map[digest.Digest]int64{}},
	}
	got, err := s.read(ctx, "FORMAT", 64)
	switch {
	case errdefs.IsNotFound(err):
		err = s.write(ctx, "FORMAT", format+"\n")
	case err == nil && strings.TrimSpace(string(got)) != format:
		err = fmt.Errorf("the storage has format %q, this program knows %q: %w", strings.TrimSpace(string(got)), format, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, fmt.Errorf("open repositories: %w", err)
	}
	return s, nil
}

// Healthy asks the storage for something small.
func (s *Store) Healthy(ctx context.Context) error {
	_, err := s.storage.Stat(ctx, "FORMAT")
	return err
}

// read returns a small object whole.
func (s *Store) read(ctx context.Context, key string, limit int64) ([]byte, error) {
	r, o, err := s.storage.Open(ctx, key, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	if o.Size > limit {
		return nil, fmt.Errorf("read %s: %d bytes, more than %d: %w", key, o.Size, limit, errdefs.ErrOutOfRange)
	}
	body := make([]byte, o.Size)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return body, nil
}

func (s *Store) write(ctx context.Context, key, body string) error {
	return s.storage.Put(ctx, key, strings.NewReader(body), int64(len(body)))
}

func (s *Store) exists(ctx context.Context, key string) (bool, error) {
	_, err := s.storage.Stat(ctx, key)
	if errdefs.IsNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// each calls f for every object below prefix, in order.
func (s *Store) each(ctx context.Context, prefix string, f func(Object) error) error {
	after := ""
	for {
		page, err := s.storage.List(ctx, prefix, after, eachSize)
		if err != nil {
			return err
		}
		for _, o := range page {
			if err := f(o); err != nil {
				return err
			}
			after = o.Key
		}
		if len(page) < eachSize {
			return nil
		}
	}
}

// eachSize is how much is listed at once: a listing of a folder reads all of it, so many small ones would take long.
const eachSize = 50_000

// parallel calls f for each of list, several at a time: in an object store each call is a round trip.
func parallel[T any](ctx context.Context, list []T, f func(context.Context, T) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(16)
	for _, one := range list {
		g.Go(func() error { return f(ctx, one) })
	}
	return g.Wait()
}

// CheckName accepts names of repositories: the path of an image name, as it stands in a URL.
func CheckName(name string) error {
	// A host before it makes any path a full one, whatever its first element looks like.
	n, err := ref.Parse("h.x/" + name)
	if err != nil || n.Path != name || n.Tag != "" || n.Digest != "" {
		return &Error{NameInvalid, fmt.Errorf("%q is not the name of a repository: %w", name, errdefs.ErrInvalidArgument)}
	}
	return nil
}

func checkDigest(d digest.Digest) error {
	if d.Validate() != nil || d.Algorithm() != digest.SHA256 && d.Algorithm() != digest.SHA512 {
		return &Error{DigestInvalid, fmt.Errorf("%q is not a digest of sha256 or sha512: %w", string(d), errdefs.ErrInvalidArgument)}
	}
	return nil
}

func check(name string, d digest.Digest) error { return errors.Join(CheckName(name), checkDigest(d)) }

func blobKey(d digest.Digest) string { return "blobs/" + d.Algorithm().String() + "/" + d.Encoded() }

// blobOf reads back what blobKey wrote.
func blobOf(key string) (digest.Digest, bool) {
	algorithm, hex, ok := strings.Cut(strings.TrimPrefix(key, "blobs/"), "/")
	d := digest.NewDigestFromEncoded(digest.Algorithm(algorithm), hex)
	return d, ok && checkDigest(d) == nil
}

// last is what follows the last slash of a key.
func last(key string) string { return key[strings.LastIndexByte(key, '/')+1:] }

// nameIn takes the name of the repository out of a key: what stands between the first slash and "+".
func nameIn(key string) string {
	_, rest, _ := strings.Cut(key, "/")
	name, _, _ := strings.Cut(rest, "+")
	return name
}

func catalogKey(name string) string               { return "catalog/" + name + "+" }
func linkKey(name string, d digest.Digest) string { return "links/" + name + "+/" + d.String() }
func holderKey(d digest.Digest, name string) string {
	return "holders/" + d.String() + "/" + name + "+"
}
func manifestKey(name string, d digest.Digest) string { return "manifests/" + name + "+/" + d.String() }
func tagKey(name, tag string) string                  { return "tags/" + name + "+/" + tag }
func referrersPrefix(name string, s digest.Digest) string {
	return "referrers/" + name + "+/" + s.String() + "/"
}

// sizes remembers how large blobs are: a digest has one size for ever.
type sizes struct {
	mu sync.Mutex
	of map[digest.Digest]int64
}

func (z *sizes) get(d digest.Digest) (int64, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	n, ok := z.of[d]
	return n, ok
}

func (z *sizes) set(d digest.Digest, n int64) {
	z.mu.Lock()
	defer z.mu.Unlock()
	if len(z.of) >= 1<<17 {
		clear(z.of)
	}
	z.of[d] = n
}
