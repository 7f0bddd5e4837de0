package layer

import (
	"context"
	"os"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
)

// clock is how far the times of files may lie before the moment that they are written.
const clock = 50 * time.Millisecond

// Newest is the time of the newest thing in a pile: of what was built, what went into it, for when a step ran leaves no trace.
func (s *Store) Newest(p Pile) time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	newest := int64(0)
	for _, name := range p {
		newest = max(newest, s.known.built[name].Newest, s.known.layers[digest.Digest(name)].Newest)
	}
	return time.Unix(newest, 0).UTC()
}

// stamp takes from a built layer what tells when it was.
func (s *Store) stamp(ctx context.Context, name string, record *builtRecord) error {
	dir, err := os.Open(s.builtTree(name))
	if err != nil {
		return err
	}
	defer dir.Close()
	at, err := archive.Stamp(ctx, dir, record.began.Add(-clock), s.Newest(record.Below))
	record.Newest = at.Unix()
	return err
}
