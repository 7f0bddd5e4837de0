package sys

import "github.com/cove-containers/cove/sys/limits"

// OpenFilesLimit is the limit of open files this process was started with, before the Go runtime raised it: what a
// process started by other means than os/exec should get. ok is false where it is not known.
func OpenFilesLimit() (soft, hard uint64, ok bool) {
	return limits.OpenFiles.Soft, limits.OpenFiles.Hard, limits.OpenFilesKnown
}
