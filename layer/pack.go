package layer

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/cove-containers/cove/archive"
)

// Pack writes what the writable layer id has changed as the tar of one image layer; the same changes always give the
// same bytes.
func (s *Store) Pack(ctx context.Context, w io.Writer, id string) error {
	if _, err := s.writable(id); err != nil {
		return err
	}
	upper, err := os.Open(s.path("writable", id, "upper"))
	if err != nil {
		return fmt.Errorf("pack writable layer %s: %w", id, err)
	}
	defer upper.Close()
	if err := archive.PackLayers(ctx, w, []*os.File{upper}); err != nil {
		return fmt.Errorf("pack writable layer %s: %w", id, err)
	}
	return nil
}
