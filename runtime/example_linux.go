package runtime

import (
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/document"
	"github.com/cove-containers/cove/runtime/rootfs"
)

// MountOptions lists the mount options that are understood here rather than by a file system.
func MountOptions() []string { return rootfs.OptionNames() }

// Example is a document to begin with: a shell in every namespace of its own, with few rights.
func Example() *specs.Spec { return document.Example() }
