package archive

import (
	"context"
	"os"
)

// CopyTree copies everything in directory src into directory dst, which must not have files of the same names.
// Contents are shared with the source where the file system can. Sockets are left out.
func CopyTree(ctx context.Context, dst, src *os.File, o CopyOptions) error {
	return nil
}
