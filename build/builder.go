package build

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/session"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/solve"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/state"
)

// Parts are what a Builder works with.
type Parts struct {
	Config Config
	DB     *state.DB
	Log    *slog.Logger

	Sessions *session.Manager
	Cache    *cache.Store
	Layers   Scrapper
	// Built lists the layers that builds have made and that are still there, half built ones included; Standing tells
	// whether all layers of a pile are there: one of an image may fit only on those below it, and is not asked for alone.
	Built    func() []string
	Standing func(pile []string) bool
	// Free tells how many bytes the disk has left.
	Free func() (int64, error)

	Make       Makers
	Resolver   Resolver
	Reader     Reader
	Containers Containers
	// Target reads what a client says of one of its exporters, the id-th.
	Target func(id int, kind string, attrs map[string]string) (Target, error)
	// CacheImports and CacheExports by the name of their type: "registry", "local", "inline", …
	CacheImports map[string]CacheImport
	CacheExports map[string]CacheExport
	// Attest adds attestations to an outcome before it is exported; nil adds none.
	Attest Attest
	// Provenance is for the history; nil: it has none.
	Provenance Provenance
}

// Config is what the daemon's settings say.
type Config struct {
	// Root is the folder of the builder's own files.
	Root string
	// Logs bounds the output of each step.
	Logs LogLimits
	// WorkerID and Labels are what clients see of the builder; Platforms the ones it can run, its own first.
	WorkerID  string
	Labels    map[string]string
	Platforms func() []ocispec.Platform
	// Policy keeps the cache within bounds; none: it grows until somebody prunes.
	Policy []Rule
	// History is how many builds that have ended are remembered; 0 takes 50.
	History int
}

// Builder builds. It is safe for concurrent use.
type Builder struct {
	parts   Parts
	solver  *solve.Solver[step.Ref, *watcher]
	history *history
	tasks   sync.WaitGroup
	stop    context.CancelFunc
	collect chan struct{}

	mu      sync.Mutex
	builds  map[string]*build
	arrived chan struct{} // closed when there is a new one
	closed  bool
}

// New opens the builder and deletes what an earlier process has left half made.
func New(ctx context.Context, parts Parts) (*Builder, error) {
	if err := os.MkdirAll(filepath.Join(parts.Config.Root, "live"), 0o700); err != nil {
		return nil, fmt.Errorf("open the builder: %w", err)
	}
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	b := &Builder{parts: parts, stop: cancel, collect: make(chan struct{}, 1), builds: map[string]*build{}, arrived: make(chan struct{})}
	b.solver = solve.New(solve.Cache[step.Ref, *watcher](keeper{b}))
	var err error
	if b.history, err = openHistory(parts.DB, filepath.Join(parts.Config.Root, "history"), parts.Config.History); err != nil {
		cancel()
		return nil, err
	}
	if err := b.tidy(ctx); err != nil {
		cancel()
		return nil, err
	}
	b.tasks.Add(1)
	go b.keepBudget(own)
	return b, nil
}

// tidy makes layers and records agree: records of what is gone are dropped, and layers that no record names deleted.
func (b *Builder) tidy(ctx context.Context) error {
	live := filepath.Join(b.parts.Config.Root, "live")
	left, err := os.ReadDir(live)
	if err != nil {
		return fmt.Errorf("open the builder: %w", err)
	}
	for _, e := range left {
		if err := os.Remove(filepath.Join(live, e.Name())); err != nil {
			return fmt.Errorf("open the builder: %w", err)
		}
	}
	if n := b.parts.Cache.Reconcile(b.parts.Standing); n > 0 {
		b.parts.Log.Warn("records of the build cache whose layers are gone were dropped", "count", n)
	}
	var unknown []string
	for _, name := range b.parts.Built() {
		if !b.parts.Cache.Holds(name) {
			unknown = append(unknown, name)
		}
	}
	if len(unknown) == 0 {
		return nil
	}
	if err := b.parts.Layers.Scrap(ctx, unknown...); err != nil {
		return fmt.Errorf("delete what builds have left half made: %w", err)
	}
	return nil
}

// Close cancels what is being built, and returns when nothing of it runs any more.
func (b *Builder) Close() error {
	b.mu.Lock()
	b.closed = true
	for _, one := range b.builds {
		one.cancel(fmt.Errorf("the engine shuts down: %w", errdefs.ErrUnavailable))
	}
	b.mu.Unlock()
	b.stop()
	b.tasks.Wait()
	return b.parts.Cache.Close()
}

// scrap deletes layers in the background.
func (b *Builder) scrap(names []string) {
	if len(names) == 0 {
		return
	}
	b.tasks.Add(1)
	go func() {
		defer b.tasks.Done()
		if err := b.parts.Layers.Scrap(context.Background(), names...); err != nil {
			b.parts.Log.Error("could not delete layers of the build cache", "error", err)
		}
	}()
}

// Running is how many builds there are at the moment.
func (b *Builder) Running() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.builds)
}

// enter takes a new build in.
func (b *Builder) enter(one *build) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("the engine shuts down: %w", errdefs.ErrUnavailable)
	}
	if _, ok := b.builds[one.id]; ok {
		return fmt.Errorf("job ID %s exists: %w", one.id, errdefs.ErrAlreadyExists)
	}
	b.builds[one.id] = one
	b.tasks.Add(1)
	close(b.arrived)
	b.arrived = make(chan struct{})
	return nil
}

func (b *Builder) leave(one *build) {
	b.mu.Lock()
	delete(b.builds, one.id)
	b.mu.Unlock()
	close(one.left)
	b.tasks.Done()
}

// find waits for a build that is announced: clients ask for its progress before it has begun.
func (b *Builder) find(ctx context.Context, id string) (*build, error) {
	for {
		b.mu.Lock()
		one, arrived := b.builds[id], b.arrived
		b.mu.Unlock()
		if one != nil {
			return one, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return nil, fmt.Errorf("no such job %s: %w", id, errdefs.ErrNotFound)
		}
	}
}
