package build

import (
	"context"
	"fmt"
	"slices"

	"github.com/cove-containers/cove/api"
)

// Check compares the records of the cache with the layers that are there. What is in the layers is compared by others.
func (b *Builder) Check(ctx context.Context, _ bool) (api.Findings, error) {
	var found api.Findings
	list, err := b.parts.Cache.List(ctx)
	if err != nil {
		return found, err
	}
	found.Count("build cache records", len(list))
	for _, u := range list {
		missing := func() bool {
			return slices.ContainsFunc(u.Piles, func(pile []string) bool { return !b.parts.Standing(pile) })
		}
		if !missing() {
			continue
		}
		found.Add(api.Fault{
			Kind: "build cache", Name: u.ID, Problem: fmt.Sprintf("a layer of what %q made is missing", u.Description),
			Remedy: "the record is dropped, and the step run again when it is needed",
			Persists: func() bool {
				_, err := b.parts.Cache.Get(u.ID)
				return err == nil && missing()
			},
			Mend: func(ctx context.Context) error { return b.parts.Layers.Scrap(ctx, b.parts.Cache.Discard(u.ID)...) },
		})
	}
	for _, name := range b.parts.Built() {
		if b.parts.Cache.Holds(name) {
			continue
		}
		found.Add(api.Fault{
			Kind: "build cache", Name: name, Problem: "layer that no record and no build knows", Remedy: "it is deleted",
			Persists: func() bool { return slices.Contains(b.parts.Built(), name) && !b.parts.Cache.Holds(name) },
			Mend:     func(ctx context.Context) error { return b.parts.Layers.Scrap(ctx, name) },
		})
	}
	return found, nil
}
