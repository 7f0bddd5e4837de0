package run

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
)

// Key tells what decides the outcome: the command, its environment, user, folder, platform, network, privileges and the
// lay-out of the mounts. Proxies, addresses of extra hosts, what secrets are and what cache mounts hold do not; nor which
// part of an input a mount shows, as long as the content of that part is the same.
func (o *operation) Key(context.Context, *step.Env) (step.Key, error) { return o.key, nil }

// keyed is the form in which BuildKit hashes the operation, so that both mean the same by a key.
type keyed struct {
	Type       string
	Exec       *pb.ExecOp
	OS         string
	Arch       string
	Variant    string   `json:",omitempty"`
	OSVersion  string   `json:",omitempty"`
	OSFeatures []string `json:",omitempty"`
}

func (o *operation) makeKey() (step.Key, error) {
	p := o.platform()
	raw, err := json.Marshal(keyed{
		Type: "buildkit.exec.v0", Exec: o.counted(),
		OS: p.OS, Arch: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures,
	})
	if err != nil {
		return step.Key{}, fmt.Errorf("hash exec operation: %w", err)
	}
	reads, err := o.reads()
	if err != nil {
		return step.Key{}, err
	}
	key := step.Key{Digest: digest.FromBytes(raw), Content: make([]step.Content, o.inputs)}
	var parts []string
	for i, r := range reads {
		if len(r.selectors) > 0 && !slices.Equal(r.selectors, []string{"/"}) {
			parts = append(parts, fmt.Sprintf("%d %q", i, r.selectors))
		}
		if r.byContent {
			key.Content[i] = o.contentOf(outermost(r.selectors))
		}
	}
	if len(parts) > 0 {
		key.Digest = digest.FromString(key.Digest.String() + "\n" + strings.Join(parts, "\n"))
	}
	return key, nil
}

func (o *operation) platform() ocispec.Platform {
	if p := o.vertex.Platform; p != nil {
		return p.Spec()
	}
	return platforms.DefaultSpec()
}

// counted is the operation without what does not count.
func (o *operation) counted() *pb.ExecOp {
	op := o.exec.CloneVT()
	for _, h := range op.Meta.ExtraHosts {
		h.IP = ""
	}
	op.Meta.ProxyEnv = nil
	for _, m := range op.Mounts {
		m.Selector = ""
		if m.CacheOpt != nil && !defaultCache(m) {
			m.CacheOpt.ID, m.CacheOpt.Sharing = "", pb.CacheSharingOpt_SHARED
		}
	}
	if len(op.Mounts) == 1 && plainRoot(op.Mounts[0]) {
		op.Mounts = nil // as BuildKit has it, whose first releases knew no other mounts
	}
	return op
}

// defaultCache tells that nothing was said about a cache mount but where it is, with a namespace before it or without.
func defaultCache(m *pb.Mount) bool {
	_, below, _ := strings.Cut(m.CacheOpt.ID, "/")
	return m.CacheOpt.Sharing == pb.CacheSharingOpt_SHARED && (m.CacheOpt.ID == m.Dest || below == m.Dest)
}

func plainRoot(m *pb.Mount) bool {
	return m.Dest == pb.RootMount && !m.Readonly && m.MountType == pb.MountType_BIND && m.CacheOpt == nil && m.SSHOpt == nil &&
		m.SecretOpt == nil && m.ResultID == ""
}

// read is what a step reads of one input.
type read struct {
	selectors []string
	byContent bool
}

// reads tells for each input whether what counts is what is in the parts that are mounted. It must not for what is written
// to and handed on: the rest of it would come from whatever input was first.
func (o *operation) reads() ([]read, error) {
	all := make([]read, o.inputs)
	for _, m := range o.exec.Mounts {
		switch m.MountType {
		case pb.MountType_SECRET, pb.MountType_SSH, pb.MountType_TMPFS:
			continue
		}
		if m.Input < 0 {
			continue
		}
		r := &all[m.Input]
		selector := path.Join("/", m.Selector)
		r.selectors = append(r.selectors, selector)
		r.byContent = m.Output == int64(pb.SkipOutput) || m.Readonly || selector == pb.RootMount
		switch m.ContentCache {
		case pb.MountContentCache_OFF:
			r.byContent = false
		case pb.MountContentCache_ON:
			if !r.byContent {
				return nil, invalid("exec operation: content of mount %s cannot be its key", m.Dest)
			}
		case pb.MountContentCache_DEFAULT:
			r.byContent = r.byContent && m.Dest != pb.RootMount
		}
	}
	return all, nil
}

// outermost leaves out paths below others; nil stands for everything.
func outermost(paths []string) []string {
	all := map[string]bool{}
	for _, p := range paths {
		all[p] = true
	}
	if all["/"] {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(p string) bool {
		for up := path.Dir(p); up != "/"; up = path.Dir(up) {
			if all[up] {
				return true
			}
		}
		return false
	})
}

// contentOf is the digest of what is at paths of an input, links followed.
func (o *operation) contentOf(paths []string) step.Content {
	var selectors []content.Selector
	for _, p := range paths {
		selectors = append(selectors, content.Selector{Path: p, Follow: true})
	}
	return func(ctx context.Context, _ *step.Env, in step.Ref) (digest.Digest, error) {
		return o.runner.parts.Content.Digest(ctx, in.Pile, selectors...)
	}
}
