package push

import (
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/state"
)

const (
	// maxSources is how many repositories are remembered for a blob, mountTries how many a registry is asked to take it from.
	maxSources = 8
	mountTries = 2
	// uploadMemory is how long an unfinished upload is remembered; registries forget sooner or later as well.
	uploadMemory = 7 * 24 * time.Hour
)

// CameFrom notes, within a transaction, that the repository of name has these blobs.
func (p *Pusher) CameFrom(tx *state.Tx, name ref.Name, list ...ocispec.Descriptor) error {
	for _, d := range list {
		known, err := p.sources.GetIn(tx, d.Digest.String())
		if err != nil && !errdefs.IsNotFound(err) {
			return err
		}
		repository := name.Repository()
		if len(known) > 0 && known[0] == repository {
			continue
		}
		known = slices.DeleteFunc(known, func(s string) bool { return s == repository })
		known = slices.Insert(known, 0, repository)
		if err := p.sources.PutIn(tx, d.Digest.String(), known[:min(len(known), maxSources)]); err != nil {
			return err
		}
	}
	return nil
}

// remember notes where everything is now.
func (p *one) remember() error {
	return p.db.Update(func(tx *state.Tx) error {
		return p.CameFrom(tx, p.name, append(slices.Clone(p.content.Blobs), p.content.target())...)
	})
}

// mountable lists the repositories of the registry, as it calls them, that had the blob, the last first. Of a blob that never was
// here the ones of the image are the best guess.
func (p *one) mountable(d digest.Digest) ([]string, error) {
	known, err := p.sources.Get(d.String())
	if errdefs.IsNotFound(err) {
		known, err = p.sources.Get(p.content.target().Digest.String())
	}
	if err != nil && !errdefs.IsNotFound(err) {
		return nil, err
	}
	var out []string
	for _, repository := range known {
		path, same := strings.CutPrefix(repository, p.name.Host+"/")
		if same && path != p.name.Path && len(out) < mountTries {
			out = append(out, path)
		}
	}
	return out, nil
}

// Forget drops what is remembered of blobs that are gone, and of uploads that ended long ago.
func (p *Pusher) Forget() error {
	sources, err := p.sources.All()
	if err != nil {
		return err
	}
	uploads, err := p.uploads.All()
	if err != nil {
		return err
	}
	for key := range sources {
		if !p.blobs.Has(digest.Digest(key)) {
			p.sources.DeleteLater(key)
		}
	}
	for key, u := range uploads {
		if time.Since(u.Began) > uploadMemory {
			p.uploads.DeleteLater(key)
		}
	}
	return nil
}
