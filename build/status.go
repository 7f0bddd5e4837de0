package build

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/version"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// spoken is the BuildKit whose protocol is spoken here: clients ask for it to know what they may ask for.
const spoken = "v0.34.2"

// patience is how long Status waits for a build that is announced.
const patience = 10 * time.Second

// Status emits how a build comes along, from its beginning however late it is asked, and returns at its end. A build that
// has not begun yet is waited for; of one that has ended the log is emitted.
func (b *Builder) Status(ctx context.Context, id string, emit func(*client.SolveStatus) error) error {
	for {
		b.mu.Lock()
		one := b.builds[id]
		b.mu.Unlock()
		if one == nil {
			if ok, err := b.history.recall(id, emit); ok {
				return err
			}
			wait, cancel := context.WithTimeout(ctx, patience)
			defer cancel()
			var err error
			if one, err = b.find(wait, id); err != nil {
				return err
			}
		}
		err := one.tape.follow(ctx, emit)
		if errors.Is(err, errClosed) { // it is becoming history
			<-one.left
			continue
		}
		if err != nil {
			return fmt.Errorf("progress of build %s: %w", id, err)
		}
		return nil
	}
}

// Cancel ends a build, as if its client had gone.
func (b *Builder) Cancel(id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	one, ok := b.builds[id]
	if !ok {
		return fmt.Errorf("no such job %s: %w", id, errdefs.ErrNotFound)
	}
	one.cancel(context.Canceled)
	return nil
}

// Workers tells what can be built here: there is one worker.
func (b *Builder) Workers() []client.WorkerInfo {
	c := b.parts.Config
	w := client.WorkerInfo{
		ID: c.WorkerID, Labels: c.Labels, Platforms: b.platforms(),
		BuildkitVersion: client.BuildkitVersion{Package: version.Package, Version: spoken},
	}
	for _, r := range c.Policy {
		w.GCPolicy = append(w.GCPolicy, client.PruneInfo{
			All: r.All, Filter: r.Filter, KeepDuration: r.KeepDuration,
			ReservedSpace: r.Reserved, MaxUsedSpace: r.MaxUsed, MinFreeSpace: r.MinFree,
		})
	}
	return []client.WorkerInfo{w}
}

func (b *Builder) platforms() []ocispec.Platform {
	if b.parts.Config.Platforms == nil {
		return []ocispec.Platform{normalize(nil).Spec()}
	}
	return b.parts.Config.Platforms()
}

func (b *Builder) gatewayWorkers() []gateway.WorkerInfo {
	return []gateway.WorkerInfo{{ID: b.parts.Config.WorkerID, Labels: b.parts.Config.Labels, Platforms: b.platforms()}}
}
