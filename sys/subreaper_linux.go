package sys

import "golang.org/x/sys/unix"

// BecomeSubreaper makes this process the parent of descendants whose own parents end.
func BecomeSubreaper() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }
