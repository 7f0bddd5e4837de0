package runtime

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/rootfs"
)

// OpenMount makes a file system such as an NFS share as a container would mount it, with options in the words of
// mount(8), for somebody else to look into: it is mounted nowhere, and ends with the file. Binds are not for it.
func OpenMount(kind, source string, options []string) (*os.File, error) {
	return rootfs.Detached(specs.Mount{Type: kind, Source: source, Options: options})
}
