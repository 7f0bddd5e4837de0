package plan

import (
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/sys/signal"
)

// lastSignal is the highest signal there is.
const lastSignal = 64

// Signal is the number of a signal given by name ("SIGTERM", "term") or number. Others are errdefs.ErrInvalidArgument.
func Signal(name string) (int, error) {
	number, err := signal.ParseSignal(name)
	if err != nil {
		return 0, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	if number < 1 || number > lastSignal {
		return 0, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the linux daemon does not support signal %d", number))
	}
	return int(number), nil
}
