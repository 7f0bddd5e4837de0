package buildkit

import (
	"context"
	"time"

	"github.com/moby/buildkit/client"
	bt "github.com/moby/moby/api/types/build"

	"github.com/cove-containers/cove/api"
)

// PruneBuilds removes what builds have left for the next ones, for the classic API.
func (d *Door) PruneBuilds(ctx context.Context, o api.BuildPruneOptions) (bt.CachePruneReport, error) {
	var report bt.CachePruneReport
	err := d.Cache.Prune(ctx, client.PruneInfo{
		All: o.All, Filter: o.Filters, KeepDuration: time.Duration(o.Unused),
		ReservedSpace: o.ReservedSpace, MaxUsedSpace: o.MaxUsedSpace, MinFreeSpace: o.MinFreeSpace,
	}, func(u client.UsageInfo) error {
		report.CachesDeleted = append(report.CachesDeleted, u.ID)
		report.SpaceReclaimed += uint64(u.Size)
		return nil
	})
	if err == nil && d.Pruned != nil {
		d.Pruned(report.SpaceReclaimed)
	}
	return report, err
}

// BuildUsage lists what builds have left, for the classic API.
func (d *Door) BuildUsage(ctx context.Context) ([]bt.CacheRecord, error) {
	found, err := d.Cache.Usage(ctx, nil)
	if err != nil {
		return nil, err
	}
	out := make([]bt.CacheRecord, 0, len(found))
	for _, u := range found {
		out = append(out, bt.CacheRecord{
			ID: u.ID, Parents: u.Parents, Type: string(u.RecordType), Description: u.Description, InUse: u.InUse, Shared: u.Shared,
			Size: u.Size, CreatedAt: u.CreatedAt, LastUsedAt: u.LastUsedAt, UsageCount: u.UsageCount,
		})
	}
	return out, nil
}
