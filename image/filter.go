package image

import (
	"context"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/ref"
)

// filter is a list request's filters, understood.
type filter struct {
	raw           api.Filters
	before, since time.Time
	until         time.Time
	dangling      bool
}

func (s *Store) filter(f api.Filters) (*filter, error) {
	if err := f.Check("before", "dangling", "label", "label!", "reference", "since", "until"); err != nil {
		return nil, err
	}
	out := &filter{raw: f}
	var err error
	if out.dangling, err = f.Bool("dangling", false); err != nil {
		return nil, err
	}
	for _, reference := range f.Get("before") {
		img, err := s.Get(context.Background(), reference, nil)
		if err != nil {
			return nil, err
		}
		if at := created(img); out.before.IsZero() || at.Before(out.before) {
			out.before = at
		}
	}
	for _, until := range f.Get("until") {
		at, err := parseTime(until, time.Now())
		if err != nil {
			return nil, err
		}
		if out.until.IsZero() || at.Before(out.until) {
			out.until = at
		}
	}
	for _, reference := range f.Get("since") {
		img, err := s.Get(context.Background(), reference, nil)
		if err != nil {
			return nil, err
		}
		if at := created(img); at.After(out.since) {
			out.since = at
		}
	}
	for _, pattern := range f.Get("reference") {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter 'reference=%s': %v", pattern, err))
		}
	}
	return out, nil
}

// match tells whether an image is wanted, and which of its names to show.
func (f *filter) match(img *Image) (tags, digests []string, ok bool) {
	switch {
	case !f.before.IsZero() && !created(img).Before(f.before),
		// What an image says of its age may be years ago; it is as old here as its name.
		!f.until.IsZero() && !img.LastTagged.Before(f.until),
		!f.since.IsZero() && !created(img).After(f.since),
		!f.raw.Labels("label", img.Config.Config.Labels),
		!f.raw.NotLabels("label!", img.Config.Config.Labels),
		f.raw.Has("dangling") && f.dangling != (len(img.RepoTags) == 0 && len(img.RepoDigests) == 0):
		return nil, nil, false
	}
	if !f.raw.Has("reference") {
		return img.RepoTags, img.RepoDigests, true
	}
	tags = slices.DeleteFunc(slices.Clone(img.RepoTags), func(t string) bool { return !f.named(t) })
	digests = slices.DeleteFunc(slices.Clone(img.RepoDigests), func(d string) bool { return !f.named(d) })
	return tags, digests, len(tags)+len(digests) > 0
}

// named tells whether a familiar name fits one of the reference patterns, with or without its tag.
func (f *filter) named(name string) bool {
	n, err := ref.Parse(name)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(f.raw.Get("reference"), func(pattern string) bool {
		for _, form := range []string{n.Familiar(), n.FamiliarRepository()} {
			if ok, _ := path.Match(pattern, form); ok {
				return true
			}
		}
		return false
	})
}

// parseTime reads a moment as the until filter has it: seconds since the epoch with a fraction, a date and time, or how long ago.
func parseTime(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(s); err == nil {
		return now.Add(-d), nil
	}
	whole, fraction, _ := strings.Cut(s, ".")
	if seconds, err := strconv.ParseInt(whole, 10, 64); err == nil {
		nanos, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
		if err == nil {
			return time.Unix(seconds, nanos), nil
		}
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02T15Z07:00", "2006-01-02Z07:00", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid filter 'until=%s': it is neither a time nor a duration", s))
}
