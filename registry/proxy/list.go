package proxy

import (
	"context"
	"encoding/json"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/repository"
)

// Tags lists what the upstream has; while it cannot be reached, what is kept.
func (p *Proxy) Tags(ctx context.Context, name, behind string, n int) (tags []string, more bool, err error) {
	if p.down() {
		return p.parts.Store.Tags(ctx, name, behind, n)
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := p.parts.Remote.Tags(asking, p.config.Upstream.name(name), p.session)
	if ctx.Err() == nil && p.judge(err) {
		return p.parts.Store.Tags(ctx, name, behind, n)
	}
	if err != nil {
		return nil, false, p.refused(err, repository.NameUnknown)
	}
	slices.Sort(all)
	all = slices.Compact(all)
	from, found := slices.BinarySearch(all, behind)
	if found {
		from++
	}
	all = all[from:]
	if n >= 0 && n < len(all) {
		return all[:n], true, nil
	}
	return all, false, nil
}

// Referrers lists what the upstream has; while it cannot be reached, what is kept.
func (p *Proxy) Referrers(ctx context.Context, name string, d digest.Digest, kind, last string, limit int) (list []ocispec.Descriptor, more bool, err error) {
	if d.Validate() != nil || p.down() {
		return p.parts.Store.Referrers(ctx, name, d, kind, last, limit)
	}
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	at := p.config.Upstream.name(name)
	at.Digest = d
	all, err := p.parts.Remote.Referrers(asking, at, "", p.session)
	if ctx.Err() == nil && p.judge(err) {
		return p.parts.Store.Referrers(ctx, name, d, kind, last, limit)
	}
	if err != nil {
		return nil, false, p.refused(err, repository.NameUnknown)
	}
	slices.SortFunc(all, func(a, b ocispec.Descriptor) int { return strings.Compare(a.Digest.String(), b.Digest.String()) })
	size := 0
	list = []ocispec.Descriptor{}
	for _, r := range all {
		if kind != "" && r.ArtifactType != kind || r.Digest.String() <= last {
			continue
		}
		text, err := json.Marshal(r)
		if err != nil {
			return nil, false, err
		}
		if size += len(text) + 1; size > limit && len(list) > 0 {
			return list, true, nil
		}
		list = append(list, r)
	}
	return list, false, nil
}
