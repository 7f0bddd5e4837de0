package plan

import (
	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
)

// CheckExec tells what is wrong with a command that somebody wants run in a container.
func CheckExec(q ct.ExecCreateRequest) error {
	if len(q.Cmd) == 0 {
		return errdefs.ErrInvalidArgument.WithMessage("No exec command specified")
	}
	if _, err := DetachKeys(q.DetachKeys); err != nil {
		return errdefs.ErrInvalidArgument.WithMessage("Invalid escape keys (" + q.DetachKeys + ") provided")
	}
	for _, entry := range q.Env {
		if entry == "" || entry[0] == '=' {
			return errdefs.ErrInvalidArgument.WithMessage("invalid environment variable: " + entry)
		}
	}
	return nil
}
