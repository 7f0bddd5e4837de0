package repository

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// large is a storage in which it takes long to list the links, as in a registry with very many, once something is doomed.
type large struct {
	mu sync.Mutex
	memory
	named  int // how often something below doomed/ was written
	refuse int // from which time on that fails, 0 for never
}

func (l *large) Put(ctx context.Context, key string, r io.Reader, size int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if strings.HasPrefix(key, doomedPrefix) {
		if l.named++; l.refuse > 0 && l.named >= l.refuse {
			return errors.New("no")
		}
	}
	return l.memory.Put(ctx, key, r, size)
}

func (l *large) Open(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.Open(ctx, key, offset)
}

func (l *large) Stat(ctx context.Context, key string) (Object, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.memory.Stat(ctx, key)
}

func (l *large) Delete(ctx context.Context, keys ...string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return err
	}
	return l.memory.Delete(ctx, keys...)
}

func (l *large) List(ctx context.Context, prefix, after string, n int) ([]Object, error) {
	l.mu.Lock()
	slow := prefix == "links/" && l.named > 0
	l.mu.Unlock()
	if slow {
		select {
		case <-time.After(900 * time.Millisecond):
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []Object
	for key, body := range l.objects {
		if strings.HasPrefix(key, prefix) && key > after {
			found = append(found, Object{Key: key, Size: int64(len(body))})
		}
	}
	slices.SortFunc(found, func(a, b Object) int { return strings.Compare(a.Key, b.Key) })
	return found, nil
}

// TestNamedAsLongAsItTakes: a collection that has to look through more than it can in the time it gives itself to remove what it
// named stays known to those who push, and removes it; one that cannot make itself known removes nothing.
func TestNamedAsLongAsItTakes(t *testing.T) {
	blob := blobKey(digest.FromString("x"))
	for _, refuse := range []int{0, 2} {
		l := &large{memory: memory{objects: map[string][]byte{}}, refuse: refuse}
		s, err := Open(t.Context(), l, Config{})
		if err != nil {
			t.Fatal(err)
		}
		s.doomedTime = 400 * time.Millisecond
		l.objects[blob] = []byte("x")
		done, err := s.Collect(t.Context(), Collection{Grace: time.Nanosecond})
		got := fmt.Sprint(done.Blobs, " ", err != nil, " ", l.objects[blob] != nil)
		if want := map[int]string{0: "1 false false", 2: "0 true true"}[refuse]; got != want || l.named < 2 {
			t.Errorf("collected %s (%v), named %d times; want %s", got, err, l.named, want)
		}
		for key := range l.objects {
			if strings.HasPrefix(key, doomedPrefix) {
				t.Errorf("%s is left", key)
			}
		}
	}
}
