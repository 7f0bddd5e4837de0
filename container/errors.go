package container

import (
	"fmt"

	"github.com/containerd/errdefs"
)

func noSuch(ref string) error {
	return errdefs.ErrNotFound.WithMessage("No such container: " + ref)
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
