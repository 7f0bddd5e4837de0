package image

import (
	"context"
	"fmt"
	"slices"
	"strconv"

	"github.com/containerd/errdefs"
	it "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/ref"
)

// removal is what a remove request comes to: decided from one moment's names and containers, then done.
type removal struct {
	id      digest.Digest
	target  ocispec.Descriptor
	untag   []string // full names
	keep    bool     // containers use the image: it stays, dangling
	deletes bool     // nothing is left of it
}

// Remove untags an image, and deletes it when that was its last name, by Docker's rules: a name that is one of several is
// only untagged; by ID all names must be of one repository, unless forced; what a container uses stays unless
// forced, and what a running one uses stays. Refusals are errdefs.ErrConflict.
func (s *Store) Remove(ctx context.Context, reference string, o RemoveOptions) ([]it.DeleteResponse, error) {
	if len(o.Platforms) > 0 {
		return s.removePlatforms(ctx, reference, o.Platforms)
	}
	var r removal
	err := s.names.change(func(all map[string]record) (map[string]*record, error) {
		f, err := s.findIn(all, reference)
		if err != nil {
			return nil, err
		}
		users := s.usersOf(f.target.Digest)
		if f.name == "" {
			r, err = removeByID(all, f, users, o.Force)
		} else {
			r, err = removeByName(all, f, users, o.Force)
		}
		if err != nil {
			return nil, err
		}
		return r.changes(all), nil
	}, nil)
	if err != nil {
		return nil, err
	}
	return s.finishRemoval(ctx, r), nil
}

// removeByName takes one name away. Digest references of the same repository go with its last tag.
func removeByName(all map[string]record, f found, users []User, force bool) (removal, error) {
	r := removal{id: f.target.Digest, target: f.target}
	names := slices.DeleteFunc(namesOf(all, r.id), isDangling)
	r.untag = []string{f.name}
	if _, exact := all[f.name]; !exact {
		r.untag = ofRepository(names, f.name) // name@digest of something that only has tags
	}
	left := slices.DeleteFunc(slices.Clone(names), func(n string) bool { return slices.Contains(r.untag, n) })
	if !slices.ContainsFunc(left, isTag) {
		together := ofRepository(left, f.name)
		r.untag = append(r.untag, together...)
		left = slices.DeleteFunc(left, func(n string) bool { return slices.Contains(together, n) })
	}
	if len(left) > 0 {
		return r, nil
	}
	if len(users) > 0 && !force {
		return r, errdefs.ErrConflict.WithMessage(fmt.Sprintf("conflict: unable to remove repository reference %q (must force) - container %s is using its referenced image %s",
			familiar(f.name), users[0].ID[:min(12, len(users[0].ID))], progress.ShortID(r.id)))
	}
	r.keep = len(users) > 0
	r.deletes = !r.keep
	return r, nil
}

// removeByID takes an image away with all its names.
func removeByID(all map[string]record, f found, users []User, force bool) (removal, error) {
	r := removal{id: f.target.Digest, target: f.target}
	r.untag = slices.DeleteFunc(namesOf(all, r.id), isDangling)
	refuse := func(how, format string, args ...any) (removal, error) {
		return r, errdefs.ErrConflict.WithMessage(fmt.Sprintf("conflict: unable to delete %s (%s) - ", progress.ShortID(r.id), how) + fmt.Sprintf(format, args...))
	}
	for _, u := range users {
		if u.Running {
			return refuse("cannot be forced", "image is being used by running container %s", u.ID[:min(12, len(u.ID))])
		}
	}
	if !force && !oneRepository(r.untag) {
		return refuse("must be forced", "image is referenced in multiple repositories")
	}
	if len(users) > 0 && !force {
		return refuse("must be forced", "image is being used by stopped container %s", users[0].ID[:min(12, len(users[0].ID))])
	}
	r.keep = len(users) > 0
	r.deletes = !r.keep
	return r, nil
}

// oneRepository tells whether at most one tag is among the names, and all are of one repository.
func oneRepository(names []string) bool {
	tags := 0
	repository := ""
	for _, name := range names {
		n, err := ref.Parse(name)
		if err != nil {
			continue
		}
		if n.Tag != "" {
			tags++
		}
		if repository != "" && repository != n.Repository() {
			return false
		}
		repository = n.Repository()
	}
	return tags <= 1
}

func ofRepository(names []string, of string) []string {
	want, err := ref.Parse(of)
	var out []string
	for _, name := range names {
		if n, err2 := ref.Parse(name); err == nil && err2 == nil && n.Repository() == want.Repository() {
			out = append(out, name)
		}
	}
	return out
}

func isTag(name string) bool {
	n, err := ref.Parse(name)
	return err == nil && !isDangling(name) && n.Tag != ""
}

func familiar(name string) string {
	n, err := ref.Parse(name)
	if err != nil || isDangling(name) {
		return name
	}
	return n.Familiar()
}

// changes is what the removal does to the names.
func (r removal) changes(all map[string]record) map[string]*record {
	out := map[string]*record{}
	for _, name := range r.untag {
		out[name] = nil
	}
	dangling := r.id.String()
	switch {
	case r.deletes:
		out[dangling] = nil
	case r.keep:
		kept := record{Target: r.target}
		for _, name := range r.untag {
			if old, ok := all[name]; ok {
				kept = old
			}
		}
		out[dangling] = &kept
	}
	return out
}

// finishRemoval frees what is not needed any more and tells what was done.
func (s *Store) finishRemoval(ctx context.Context, r removal) []it.DeleteResponse {
	if r.deletes {
		s.sweepQuietly(ctx)
	}
	return s.announce(r)
}

// announce tells whoever listens what was done, and lists it.
func (s *Store) announce(r removal) []it.DeleteResponse {
	out := []it.DeleteResponse{}
	for _, name := range r.untag {
		out = append(out, it.DeleteResponse{Untagged: familiar(name)})
		s.emit("untag", r.id.String(), map[string]string{"name": r.id.String()})
	}
	if r.deletes {
		out = append(out, it.DeleteResponse{Deleted: r.id.String()})
		s.emit("delete", r.id.String(), map[string]string{"name": r.id.String()})
	}
	return out
}

// Prune removes images that no container uses: dangling ones, or with the filter dangling=false all. Filters: dangling, until, label,
// label!. What it says was reclaimed is what the disk got back.
func (s *Store) Prune(ctx context.Context, f api.Filters) (it.PruneReport, error) {
	report := it.PruneReport{ImagesDeleted: []it.DeleteResponse{}}
	if err := f.Check("dangling", "until", "label", "label!"); err != nil {
		return report, err
	}
	onlyDangling, err := f.Bool("dangling", true)
	if err != nil {
		return report, err
	}
	rest := api.Filters{}
	for name, values := range f {
		if name != "dangling" {
			rest[name] = values
		}
	}
	want, err := s.filter(rest)
	if err != nil {
		return report, err
	}
	for _, img := range s.every() {
		_, _, ok := want.match(img)
		if !ok || onlyDangling && len(img.RepoTags)+len(img.RepoDigests) > 0 {
			continue
		}
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		done, err := s.pruneOne(img)
		if err != nil {
			return report, err
		}
		report.ImagesDeleted = append(report.ImagesDeleted, done...)
	}
	freed, err := s.Sweep(ctx)
	report.SpaceReclaimed = uint64(freed)
	s.emit("prune", "", map[string]string{"reclaimed": strconv.FormatUint(report.SpaceReclaimed, 10)})
	if errdefs.IsUnavailable(err) {
		err = nil
	}
	return report, err
}

// pruneOne removes an image with all its names, unless a container uses it.
func (s *Store) pruneOne(img *Image) ([]it.DeleteResponse, error) {
	r := removal{id: img.ID, target: img.Target, deletes: true}
	err := s.names.change(func(all map[string]record) (map[string]*record, error) {
		names := namesOf(all, img.ID)
		if len(s.usersOf(img.ID)) > 0 || len(names) == 0 {
			r.deletes = false
			return nil, nil
		}
		r.untag = slices.DeleteFunc(names, isDangling)
		return r.changes(all), nil
	}, nil)
	if err != nil || !r.deletes {
		return nil, err
	}
	return s.announce(r), nil
}
