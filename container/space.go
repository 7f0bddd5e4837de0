package container

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/cove-containers/cove/archive"
)

// Space is what the container's folder takes on disk: its log and the files that are mounted into it. One that is gone
// takes nothing.
func (c *Container) Space(ctx context.Context, dataRoot string) (int64, error) {
	dir, err := os.Open(c.Dir(dataRoot))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer dir.Close()
	return archive.Space(ctx, dir)
}
