package rootfs

import (
	"os"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Detached makes the file system that m describes, which is no bind, and mounts it nowhere.
func Detached(m specs.Mount) (*os.File, error) {
	o, err := parseOptions(m.Type, m.Options)
	if err != nil {
		return nil, err
	}
	attr := o.own
	attr.Attr_set |= o.below.Attr_set
	return makeFilesystem(m.Type, m.Source, o.data, attr)
}
