package image

import (
	"context"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/ref"
)

// Tag lets the name target point to the image that source leads to. What it pointed to before stays, dangling if that was its
// last name.
func (s *Store) Tag(ctx context.Context, source, target string) error {
	name, err := ref.ParseTagged(target)
	if err != nil {
		return err
	}
	if name.Digest != "" {
		return errdefs.ErrInvalidArgument.WithMessage("refusing to create a tag with a digest reference")
	}
	err = s.names.change(func(all map[string]record) (map[string]*record, error) {
		f, err := s.findIn(all, source)
		if err != nil {
			return nil, err
		}
		return repoint(all, f.target, time.Now(), name.String()), nil
	}, nil)
	if err != nil {
		return err
	}
	f, err := s.find(target)
	if err != nil {
		return err
	}
	s.emit("tag", f.target.Digest.String(), map[string]string{"name": name.Familiar()})
	return nil
}
