package image

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// maxBeside is the largest blob of an attestation that comes along with a pull.
const maxBeside = 4 << 20

// Pull fetches an image and unpacks it. A reference with digest leaves all tags alone. What fails leaves nothing, what was
// interrupted continues the next time. With AllTags the last image is returned.
func (s *Store) Pull(ctx context.Context, reference string, o PullOptions) (*Image, error) {
	name, err := ref.Parse(reference)
	if err != nil {
		return nil, err
	}
	out := progress.NewReporter(o.Progress)
	defer out.Close()
	if !o.AllTags {
		return s.pullName(ctx, name.WithDefaultTag(), o, out)
	}
	if name.Tag != "" || name.Digest != "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("tag can't be used with --all-tags/-a")
	}
	tags, err := s.remote.Tags(ctx, name, remote.NewSession(o.Credentials))
	if err != nil {
		return nil, pullError(name, err)
	}
	var last *Image
	for _, tag := range tags {
		tagged, err := name.WithTag(tag)
		if err != nil {
			return nil, err
		}
		if last, err = s.pullName(ctx, tagged, o, out); err != nil {
			return nil, err
		}
	}
	if last == nil {
		return nil, errdefs.ErrNotFound.WithMessage(fmt.Sprintf("repository %s has no tags", name.Familiar()))
	}
	return last, nil
}

func (s *Store) pullName(ctx context.Context, name ref.Name, o PullOptions, out *progress.Reporter) (*Image, error) {
	if archive := s.embeddedArchive(name.String()); archive != nil {
		return s.pullEmbedded(ctx, name, archive, out)
	}
	hold := s.Lease()
	img, err := s.pullInto(ctx, name, o, out, hold)
	stored := !hold.Empty()
	hold.Release()
	if err != nil {
		if stored && !worthContinuing(ctx, err) {
			s.afterFailure(ctx, name)
		}
		return nil, err
	}
	s.emit("pull", name.Familiar(), map[string]string{"name": name.FamiliarRepository()})
	return img, nil
}

// pullInto is the recipe of a pull: plan, remember, fetch and unpack, name.
func (s *Store) pullInto(ctx context.Context, name ref.Name, o PullOptions, out *progress.Reporter, hold *Lease) (*Image, error) {
	src := sourceOf(name, o)
	p := planner{store: s, src: src, platform: o.Platform, hold: hold}
	plan, err := p.run(ctx)
	if err != nil {
		return nil, err
	}
	tag := name.Tag
	if name.Digest != "" {
		tag = name.Digest.String()
	}
	out.Begin(tag, "Pulling from "+name.Path)
	if err := s.pulls.Put(name.String(), unfinished{Roots: plan.roots, Began: time.Now()}); err != nil {
		return nil, err
	}
	tasks := layerTasks(plan.layers, plan.config.RootFS.DiffIDs)
	missing, runs := 0, runnable(plan.config) == nil
	for _, t := range tasks {
		hold.Add(t.desc.Digest, t.diffID)
		if s.haveLayer(t) || !runs && s.blobs.Has(t.desc.Digest) {
			out.Say(progress.ShortID(t.desc.Digest), "Already exists")
		} else {
			out.Say(progress.ShortID(t.desc.Digest), "Pulling fs layer")
			missing++
		}
	}
	if runs {
		err = s.unpackAll(ctx, &src, plan.layers, plan.config.RootFS.DiffIDs, layerReport(out))
	} else {
		err = s.fetchAll(ctx, &src, tasks, layerReport(out))
	}
	if err != nil {
		return nil, err
	}
	if err := s.fetchBeside(ctx, &src, plan.beside, hold); err != nil {
		return nil, err
	}
	isNew, err := s.namePulled(name, plan)
	if err != nil {
		return nil, err
	}
	out.Say("", "Digest: "+plan.target.Digest.String())
	if isNew || missing > 0 {
		out.Say("", "Status: Downloaded newer image for "+name.Familiar())
	} else {
		out.Say("", "Status: Image is up to date for "+name.Familiar())
	}
	return s.image(plan.target, o.Platform, name.Familiar())
}

// namePulled gives the image its name and ends the memory of the pull, in one transaction. It tells whether the name is new
// or points elsewhere now.
func (s *Store) namePulled(name ref.Name, p *plan) (bool, error) {
	full := name.String()
	if name.Digest != "" {
		full = name.WithDigest(name.Digest).String()
	}
	isNew := false
	err := s.names.change(func(all map[string]record) (map[string]*record, error) {
		old, had := all[full]
		isNew = !had || old.Target.Digest != p.target.Digest
		if !isNew {
			return nil, nil
		}
		return repoint(all, p.target, time.Now(), full), nil
	}, func(tx *state.Tx) error {
		if err := s.push.CameFrom(tx, name, append(slices.Clip(p.layers), p.target)...); err != nil {
			return err
		}
		return s.pulls.DeleteIn(tx, name.String())
	})
	return isNew, err
}

// worthContinuing tells whether a failure came from the way to the registry or from the user: what has been fetched is good.
func worthContinuing(ctx context.Context, err error) bool {
	var network *url.Error
	return ctx.Err() != nil || errors.Is(err, errInterrupted) || errors.As(err, &network) ||
		errdefs.IsUnavailable(err) || errdefs.IsResourceExhausted(err)
}

// afterFailure removes what a pull has fetched that will fail again.
func (s *Store) afterFailure(ctx context.Context, name ref.Name) {
	if err := s.pulls.Delete(name.String()); err != nil {
		slog.Warn("failed pull not forgotten", "name", name.Familiar(), "error", err)
	}
	s.sweepQuietly(ctx)
}

// sweepQuietly removes leavings when that is possible; the next sweep gets what this one leaves.
func (s *Store) sweepQuietly(ctx context.Context) {
	if _, err := s.Sweep(context.WithoutCancel(ctx)); err != nil && !errdefs.IsUnavailable(err) {
		slog.Warn("images not swept", "error", err)
	}
}

// fetchBeside brings the attestations that speak of the image, when they are small. That they cannot be had does not fail a pull.
func (s *Store) fetchBeside(ctx context.Context, src *source, list []ocispec.Descriptor, hold *Lease) error {
	for _, desc := range list {
		p := planner{store: s, src: *src, hold: hold}
		doc, err := p.child(ctx, &desc)
		if err == nil && doc.Manifest != nil {
			for _, child := range doc.Children() {
				if child.Size <= maxBeside {
					hold.Add(child.Digest)
					err = errors.Join(err, s.fetch(ctx, src, child, nil))
				}
			}
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err != nil {
			slog.Info("attestation not fetched", "digest", desc.Digest, "error", err)
		}
	}
	return nil
}

// pullError puts a registry's refusal into Docker's words. Being denied is not found: whether the repository exists is not
// told, and a client must not take it for a question to itself.
func pullError(name ref.Name, err error) error {
	var refused *remote.Error
	if !errors.As(err, &refused) {
		return err
	}
	switch {
	case refused.Code == "TOOMANYREQUESTS":
		return err
	case errdefs.IsUnauthorized(err) || errdefs.IsPermissionDenied(err) || refused.Code == "NAME_UNKNOWN":
		// Not found, as dockerd has it: a client that is told "unauthorized" asks for a password, even from a pipe.
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("pull access denied for %s, repository does not exist or may require 'docker login': %v", name.FamiliarRepository(), err))
	case errdefs.IsNotFound(err):
		return fmt.Errorf("manifest for %s not found: %w", name.Familiar(), err)
	}
	return err
}
