package plan

import (
	"errors"
	"strings"
	"syscall"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
)

// StartFailure gives a failed start its exit code and the words that clients look for.
func StartFailure(err error) (code int, told error) {
	var start *runtime.StartError
	text := err.Error()
	switch {
	case strings.Contains(text, "mount") && strings.Contains(text, syscall.ENOTDIR.Error()):
		const hint = ": Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is the expected type"
		return 127, errdefs.ErrInvalidArgument.WithMessage(text + hint)
	case !errors.As(err, &start) || start.Code == 0:
		return 128, err
	case strings.Contains(text, syscall.EISDIR.Error()):
		// The docker client tells 126 by these words alone.
		text += ": " + syscall.EACCES.Error()
	}
	return start.Code, errdefs.ErrInvalidArgument.WithMessage(text)
}
