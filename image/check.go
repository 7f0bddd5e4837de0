package image

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/oci"
)

// Check looks whether all that names lead to is there, and what is there that nothing leads to. A deep one compares every
// unpacked layer with its archive.
func (s *Store) Check(ctx context.Context, deep bool) (api.Findings, error) {
	var found api.Findings
	all := s.names.snapshot()
	seen := map[digest.Digest]bool{}
	for _, name := range slices.Sorted(maps.Keys(all)) {
		target := all[name].Target
		if !s.blobs.Has(target.Digest) {
			found.Add(s.lostName(name, target.Digest))
			continue
		}
		if seen[target.Digest] {
			continue
		}
		seen[target.Digest] = true
		found.Count("images", 1)
		s.checkContent(&found, name, target)
	}
	if err := s.checkUnneeded(&found); err != nil {
		return found, err
	}
	if deep {
		return found, s.checkTrees(ctx, &found, slices.Sorted(maps.Keys(seen)))
	}
	return found, nil
}

// lostName is the fault of a name that leads nowhere.
func (s *Store) lostName(name string, target digest.Digest) api.Fault {
	lost := func(r record, named bool) bool {
		return named && r.Target.Digest == target && !s.blobs.Has(target)
	}
	return api.Fault{
		Kind: "image", Name: familiar(name), Problem: fmt.Sprintf("its document %s is gone", target),
		Remedy: "the name is forgotten", Advice: "pull or load it again",
		Persists: func() bool { return lost(s.names.get(name)) },
		Mend: func(context.Context) error {
			return s.names.change(func(all map[string]record) (map[string]*record, error) {
				if r, named := all[name]; !lost(r, named) {
					return nil, nil
				}
				return map[string]*record{name: nil}, nil
			}, nil)
		},
	}
}

// checkContent looks for what is missing of the images that are here: the one for this host, and those of other platforms
// of which a part is there.
func (s *Store) checkContent(found *api.Findings, name string, target ocispec.Descriptor) {
	list := s.variants(target)
	chosen, _ := choose(list, nil)
	for _, v := range list {
		if v.attestation || v.manifest == nil {
			continue
		}
		part := v.desc.Digest == chosen.desc.Digest || slices.ContainsFunc(v.manifest.Layers, func(l ocispec.Descriptor) bool { return s.blobs.Has(l.Digest) })
		if !part {
			continue
		}
		missing := s.firstMissing(v)
		if v.config == nil {
			missing = v.manifest.Config.Digest
		}
		if missing == "" {
			continue
		}
		found.Add(api.Fault{
			Kind: "image", Name: familiar(name), Problem: fmt.Sprintf("its content %s is missing", missing), Advice: "pull or load it again",
			Persists: func() bool {
				_, named := s.names.get(name)
				return named && !s.blobs.Has(missing)
			},
		})
	}
}

// checkUnneeded looks for what a sweep would remove.
func (s *Store) checkUnneeded(found *api.Findings) error {
	blobs, err := s.blobs.List()
	if err != nil {
		return err
	}
	keep, err := s.needed()
	if err != nil {
		return err
	}
	note := func(kind string, d digest.Digest) {
		found.Add(api.Fault{
			Kind: kind, Name: d.String(), Problem: "nothing leads to it", Remedy: "removed",
			Persists: func() bool {
				keep, err := s.needed()
				return err == nil && !keep(d) && (kind == "layer" && s.layers.Has(d) || kind == "blob" && s.blobs.Has(d))
			},
			Mend: func(ctx context.Context) error { _, err := s.Sweep(ctx); return err },
		})
	}
	for _, d := range blobs {
		if !keep(d) {
			note("blob", d)
		}
	}
	for _, d := range s.layers.Unwanted(keep) {
		note("layer", d)
	}
	return nil
}

// checkTrees compares the unpacked layers of these targets with their archives.
func (s *Store) checkTrees(ctx context.Context, found *api.Findings, targets []digest.Digest) error {
	done := map[digest.Digest]bool{}
	for _, target := range targets {
		for _, v := range s.variants(ocispec.Descriptor{Digest: target}) {
			if !v.usable() || oci.CheckLayers(v.manifest, v.config) != nil {
				continue
			}
			for _, t := range layerTasks(v.manifest.Layers, v.config.RootFS.DiffIDs) {
				if done[t.diffID] || !s.haveLayer(t) {
					continue
				}
				done[t.diffID] = true
				differs, err := s.verify(ctx, t, nil)
				switch {
				case ctx.Err() != nil:
					return context.Cause(ctx)
				case errdefs.IsNotFound(err): // removed meanwhile
				case err != nil:
					found.Add(api.Fault{Kind: "layer", Name: t.diffID.String(), Problem: err.Error(), Advice: "remove the image and pull it again"})
				case len(differs) > 0:
					found.Add(s.differingTree(t, differs))
				}
				found.Count("trees", 1)
			}
		}
	}
	return nil
}

func (s *Store) differingTree(t layerTask, differs []string) api.Fault {
	return api.Fault{
		Kind: "layer", Name: t.diffID.String(), Problem: "its tree differs from its archive: " + strings.Join(differs, ", "), Remedy: "unpacked again",
		Mend: func(ctx context.Context) error {
			unused := func() error {
				if id := s.runningOn(t.diffID); id != "" {
					return errdefs.ErrConflict.WithMessage(fmt.Sprintf("container %s runs on it: stop it first", id))
				}
				return nil
			}
			if err := unused(); err != nil {
				return err
			}
			_, err := s.verify(ctx, t, unused) // asks again, since unpacking takes its time
			return err
		},
	}
}

// verify compares a layer's tree with its blob; see layer.Store.Verify.
func (s *Store) verify(ctx context.Context, t layerTask, unused func() error) ([]string, error) {
	tar, err := s.openLayer(t.desc.Digest)
	if err != nil {
		return nil, err
	}
	defer tar.Close()
	return s.layers.Verify(ctx, t.diffID, tar, unused)
}

// runningOn finds a running container whose image has the layer.
func (s *Store) runningOn(diffID digest.Digest) string {
	s.mu.Lock()
	users := s.users
	s.mu.Unlock()
	if users == nil {
		return ""
	}
	for _, u := range users() {
		if !u.Running {
			continue
		}
		for _, v := range s.variants(ocispec.Descriptor{Digest: u.Manifest}) {
			if v.config != nil && slices.Contains(v.config.RootFS.DiffIDs, diffID) {
				return u.ID[:12]
			}
		}
	}
	return ""
}
