package archive

import (
	"context"
	"io"
	"os"
)

// Pack writes the named files and directories below root, with all they contain, as a tar stream; without names,
// the whole tree. The same tree always gives the same bytes: names are sorted. Sockets are left out.
func Pack(ctx context.Context, w io.Writer, root *os.File, o PackOptions, names ...string) error {
	return nil
}
