package registry

import (
	"context"
	"time"

	"github.com/cove-containers/cove/repository"
)

// Collect collects garbage and counts it in the metrics.
func (g *Registry) Collect(ctx context.Context, c repository.Collection) (repository.Collected, error) {
	result, err := g.store.Collect(ctx, c)
	if !c.DryRun {
		g.metrics.freed.Add(float64(result.Freed))
		for what, n := range map[string]int{
			"blobs": result.Blobs, "links": result.Links, "manifests": result.Manifests, "uploads": result.Uploads,
		} {
			g.metrics.removed.WithLabelValues(what).Add(float64(n))
		}
	}
	return result, err
}

// soon is after how long a registry collects garbage for the first time: one that is restarted daily must come to it too.
const soon = 10 * time.Minute

// CollectEvery collects garbage again and again until ctx is done.
func (g *Registry) CollectEvery(ctx context.Context, pause time.Duration, c repository.Collection) {
	next := time.NewTimer(min(pause, soon))
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		next.Reset(pause)
		result, err := g.Collect(ctx, c)
		if ctx.Err() != nil {
			return
		}
		if err != nil {
			g.log.Error("collect garbage", "error", err)
		}
		if result.Blobs+result.Links+result.Manifests+result.Uploads > 0 {
			g.log.Info("collected garbage", "blobs", result.Blobs, "links", result.Links, "manifests", result.Manifests, "uploads", result.Uploads, "freed", result.Freed)
		}
	}
}
