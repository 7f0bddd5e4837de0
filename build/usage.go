package build

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client"

	"github.com/cove-containers/cove/cache"
)

// Usage lists the records of the cache that match the filters, as BuildKit reads them: each text is a list of conditions,
// several texts are alternatives.
func (b *Builder) Usage(ctx context.Context, texts []string) ([]*client.UsageInfo, error) {
	match, err := usageFilter(texts)
	if err != nil {
		return nil, err
	}
	list, err := b.parts.Cache.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []*client.UsageInfo
	for _, u := range list {
		if match(u) {
			info := usageInfo(u)
			out = append(out, &info)
		}
	}
	return out, nil
}

func usageInfo(u cache.Usage) client.UsageInfo {
	last := u.LastUsed
	return client.UsageInfo{
		ID: u.ID, Mutable: u.Mutable, InUse: u.InUse, Size: max(u.Size, 0), CreatedAt: u.Created, LastUsedAt: &last, UsageCount: u.Uses,
		Parents: u.Parents, Description: u.Description, RecordType: client.UsageRecordType(u.Kind), Shared: u.Shared,
	}
}

func usageFilter(texts []string) (func(cache.Usage) bool, error) {
	filter, err := filters.ParseAll(texts...)
	if err != nil {
		return nil, fmt.Errorf("failed to parse filters %s: %w: %w", strings.Join(texts, " "), err, errdefs.ErrInvalidArgument)
	}
	return func(u cache.Usage) bool {
		return filter.Match(filters.AdapterFunc(func(path []string) (string, bool) { return usageField(u, path) }))
	}, nil
}

func usageField(u cache.Usage, path []string) (string, bool) {
	if len(path) == 0 {
		return "", false
	}
	switch path[0] {
	case "id":
		return u.ID, true
	case "parents":
		return strings.Join(u.Parents, ";"), len(u.Parents) > 0
	case "description":
		return u.Description, u.Description != ""
	case "type":
		return u.Kind, true
	case "inuse":
		return "", u.InUse
	case "mutable":
		return "", u.Mutable
	case "immutable":
		return "", !u.Mutable
	case "shared":
		return "", u.Shared
	case "private":
		return "", !u.Shared
	}
	return "", false
}

// Prune deletes what the request says and emits each record that is gone. Builds under way keep what they use.
func (b *Builder) Prune(ctx context.Context, req client.PruneInfo, emit func(client.UsageInfo) error) error {
	if len(req.Filter) > 0 {
		if _, err := usageFilter(req.Filter); err != nil {
			return err
		}
	}
	gone, err := b.prune(ctx, Rule{
		All: req.All, Filter: req.Filter, KeepDuration: req.KeepDuration,
		Reserved: req.ReservedSpace, MaxUsed: req.MaxUsedSpace, MinFree: req.MinFreeSpace,
	})
	for _, u := range gone {
		if err := emit(usageInfo(u)); err != nil {
			return err
		}
	}
	return err
}

// Rule is one rule of the policy that keeps the cache within bounds.
type Rule struct {
	// All takes what would otherwise stay, too: the builder's own records.
	All    bool
	Filter []string
	// KeepDuration is how long a record stays after its last use.
	KeepDuration time.Duration
	// Reserved is what the cache may always take; MaxUsed what it may not exceed; MinFree what shall stay free on the disk.
	// All in bytes, 0 for no bound.
	Reserved, MaxUsed, MinFree int64
}

// prune applies one rule.
func (b *Builder) prune(ctx context.Context, r Rule) ([]cache.Usage, error) {
	match, err := usageFilter(r.Filter)
	if err != nil {
		return nil, err
	}
	w := cache.Wish{Unused: r.KeepDuration, Down: -1, Match: func(u cache.Usage) bool {
		own := u.Kind == cache.Internal || u.Kind == cache.FrontEnd
		return (r.All || !own) && match(u)
	}}
	if r.Reserved > 0 || r.MaxUsed > 0 || r.MinFree > 0 {
		if w.Down, err = b.bound(ctx, r); err != nil {
			return nil, err
		}
	}
	gone, layers, err := b.parts.Cache.Prune(ctx, w)
	if err != nil || len(layers) == 0 {
		return gone, err
	}
	return gone, b.parts.Layers.Scrap(ctx, layers...)
}

// bound is how many bytes the cache may take by a rule.
func (b *Builder) bound(ctx context.Context, r Rule) (int64, error) {
	used, err := b.parts.Cache.Size(ctx)
	if err != nil {
		return 0, err
	}
	goal := used
	if r.MaxUsed > 0 {
		goal = min(goal, r.MaxUsed)
	}
	if r.MinFree > 0 && b.parts.Free != nil {
		free, err := b.parts.Free()
		if err != nil {
			return 0, err
		}
		if free < r.MinFree {
			goal = min(goal, used-(r.MinFree-free))
		}
	}
	if r.MaxUsed == 0 && r.MinFree == 0 {
		goal = r.Reserved
	}
	return max(goal, r.Reserved), nil
}

// keepBudget applies the policy after builds, until ctx ends.
func (b *Builder) keepBudget(ctx context.Context) {
	defer b.tasks.Done()
	for {
		select {
		case <-b.collect:
		case <-ctx.Done():
			return
		}
		select { // several builds that end together are looked at once
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
		for _, r := range b.parts.Config.Policy {
			if _, err := b.prune(ctx, r); err != nil {
				b.parts.Log.Error("could not keep the build cache within its bounds", "error", err)
			}
		}
	}
}
