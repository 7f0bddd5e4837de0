package engine

import (
	"context"

	ct "github.com/moby/moby/api/types/container"
)

// ContainerWait gives the exit code once the condition holds. It is registered when ContainerWait returns; the
// channel is closed without a value when ctx ends first.
func (e *Engine) ContainerWait(ctx context.Context, ref string, condition ct.WaitCondition) (<-chan ct.WaitResponse, error) {
	c, err := e.containers.Get(ref)
	if err != nil {
		return nil, err
	}
	states, err := e.containers.Wait(ctx, c.ID, condition)
	if err != nil {
		return nil, err
	}
	out := make(chan ct.WaitResponse, 1)
	e.work.Go(func() {
		defer close(out)
		select {
		case s := <-states:
			answer := ct.WaitResponse{StatusCode: int64(s.ExitCode)}
			if s.Status == ct.StateDead {
				answer.Error = &ct.WaitExitError{Message: s.Error}
			}
			out <- answer
		case <-ctx.Done():
		case <-e.closing:
		}
	})
	return out, nil
}
