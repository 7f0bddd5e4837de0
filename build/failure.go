package build

import (
	"context"
	"errors"
	"fmt"

	solveerrors "github.com/moby/buildkit/solver/errdefs"
)

// wrap says of an error in which step it happened, and where that stands in what the client wrote, in the forms that
// BuildKit's clients look for.
func (v *vertex) wrap(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	err = solveerrors.WithOp(err, v.Op, v.Description)
	err = solveerrors.WrapVertex(err, v.Digest)
	if v.source != nil {
		for _, at := range v.source.Locations[v.Digest.String()].GetLocations() {
			err = solveerrors.WithSource(err, &solveerrors.Source{Info: v.source.Infos[at.SourceIndex], Ranges: at.Ranges})
		}
	}
	return solveerrors.WithSolveError(err, nil, nil, nil)
}

// legibleError is an error whose text is not UTF-8, with a text that is.
type legibleError struct{ error }

func (e legibleError) Error() string { return legible(e.error.Error()) }
func (e legibleError) Unwrap() error { return e.error }

func contentError(input string, err error) error {
	if errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("failed to compute cache key: failed to calculate checksum of ref %s: %w", input, err)
}
