package repository

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

const (
	doomedPrefix = "doomed/"
	// doomedLimit is how many keys are named at once.
	doomedLimit = 20_000
	// A collection that does not finish removing what it named within doomedTime after it wrote the name stops there; one found
	// older than doomedStale ended without taking the name away.
	doomedTime  = 30 * time.Second
	doomedStale = 2 * time.Minute
	// lookTime is how long a collection may look whether something links to what it has named: those who push that wait.
	lookTime = 15 * time.Minute
	// Between two looks at doomed/ the pause grows: a storage that fails can make the wait a long one.
	settlePause = 20 * time.Millisecond
	settleLimit = 300 * time.Millisecond
)

// settle returns when no collection under way means to remove one of the keys. The caller has written what links to them
// before, and looks afterwards whether they exist.
func (s *Store) settle(ctx context.Context, keys ...string) error {
	for pause := settlePause; ; pause = min(2*pause, settleLimit) {
		named, err := s.doomed(ctx, keys)
		if err != nil || !named {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
		}
	}
}

func (s *Store) doomed(ctx context.Context, keys []string) (bool, error) {
	lists, err := s.storage.List(ctx, doomedPrefix, "", 0)
	if err != nil {
		return false, err
	}
	s.lists.keep(lists)
	for _, list := range lists {
		if s.now().Sub(list.Modified) > doomedStale {
			continue
		}
		named, known := s.lists.get(list.Key)
		if !known {
			body, err := s.read(ctx, list.Key, doomedLimit*1024)
			if errdefs.IsNotFound(err) {
				continue
			}
			if err != nil {
				return false, err
			}
			named = s.lists.add(list.Key, string(body))
		}
		for _, key := range keys {
			if named[key] {
				return true, nil
			}
		}
	}
	return false, nil
}

// lists remembers what was read below doomed/: a list has a name of its own and never changes.
type lists struct {
	mu sync.Mutex
	of map[string]map[string]bool
}

func (l *lists) get(key string) (map[string]bool, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	named, ok := l.of[key]
	return named, ok
}

func (l *lists) add(key, body string) map[string]bool {
	named := map[string]bool{}
	for one := range strings.Lines(body) {
		named[strings.TrimSuffix(one, "\n")] = true
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.of == nil {
		l.of = map[string]map[string]bool{}
	}
	l.of[key] = named
	return named
}

// keep forgets the lists that are gone.
func (l *lists) keep(there []Object) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for key := range l.of {
		if !slices.ContainsFunc(there, func(o Object) bool { return o.Key == key }) {
			delete(l.of, key)
		}
	}
}

// remove takes objects away, after naming them in doomed/ and asking needed for those something has come to link to
// meanwhile. Names come in portions, and needed is asked for each portion.
func (s *Store) remove(ctx context.Context, run string, keys []string, needed func(ctx context.Context, keys []string) (map[string]bool, error)) (gone []string, err error) {
	for len(keys) > 0 {
		portion := keys[:min(len(keys), doomedLimit)]
		keys = keys[len(portion):]
		removed, err := s.removePortion(ctx, run, portion, needed)
		gone = append(gone, removed...)
		if err != nil {
			return gone, err
		}
	}
	return gone, nil
}

func (s *Store) removePortion(ctx context.Context, run string, keys []string, needed func(ctx context.Context, keys []string) (map[string]bool, error)) (gone []string, err error) {
	// A name is never used twice: who has read a list need not read it again.
	name, list := doomedPrefix+run+"-"+strings.ToLower(rand.Text()), strings.Join(keys, "\n")+"\n"
	named := time.Now()
	if err := s.write(ctx, name, list); err != nil {
		return nil, err
	}
	// A deletion that failed may have been sent, and a store may carry it out when nobody waits for it any more. Then the name stays until it is
	// stale, so that nobody comes to rely on what may still go.
	unsure := false
	defer func() {
		// Otherwise the name goes in any case: as long as it stands, those who push wait.
		if unsure {
			return
		}
		if end := s.storage.Delete(context.WithoutCancel(ctx), name); err == nil {
			err = end
		}
	}()
	var keep map[string]bool
	named, err = s.whileNamed(ctx, name, list, named, func(ctx context.Context) (err error) {
		keep, err = needed(ctx, keys)
		return err
	})
	if err != nil {
		return nil, err
	}
	// The storage may take its time, and tries again what failed; nothing is removed after the name has become stale.
	within, cancel := context.WithDeadline(ctx, named.Add(s.doomedTime))
	defer cancel()
	for len(keys) > 0 {
		some := keys[:min(len(keys), 1000)]
		keys = keys[len(some):]
		var out []string
		for _, key := range some {
			if !keep[key] {
				out = append(out, key)
			}
		}
		err := s.storage.Delete(within, out...)
		unsure = err != nil
		if within.Err() != nil && ctx.Err() == nil {
			return gone, fmt.Errorf("removing takes too long, the rest is left to the next run: %w", errdefs.ErrUnavailable)
		}
		if err != nil {
			return gone, err
		}
		gone = append(gone, out...)
	}
	return gone, nil
}

// whileNamed runs look, which takes long in a large registry, and writes the name of what is doomed anew as long as it runs: so it
// never becomes stale. It tells when the name was written last.
func (s *Store) whileNamed(ctx context.Context, name, list string, named time.Time, look func(context.Context) error) (time.Time, error) {
	looking, stop := context.WithTimeout(ctx, lookTime)
	defer stop()
	done := make(chan error, 1)
	go func() { done <- look(looking) }()
	for {
		again := time.NewTimer(s.doomedTime / 2)
		select {
		case err := <-done:
			again.Stop()
			return named, err
		case <-again.C:
		}
		began := time.Now()
		writing, cancel := context.WithDeadline(looking, named.Add(s.doomedTime))
		err := s.write(writing, name, list)
		cancel()
		if err != nil {
			stop()
			<-done
			return named, fmt.Errorf("write anew what is to be removed: %w", err)
		}
		named = began
	}
}
