package build

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	solveerrors "github.com/moby/buildkit/solver/errdefs"

	"github.com/cove-containers/cove/build/step"
)

// wrap says of an error in which step it happened, and where that stands in what the client wrote, in the forms that
// BuildKit's clients look for.
func (v *vertex) wrap(err error, left remains) error {
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
	return solveerrors.WithSolveError(err, nil, left.inputs, left.mounts)
}

// remains are the names that a build's client may ask for containers by, on what a failed command began with and what it left.
type remains struct{ inputs, mounts []string }

// remains gives names to what a step has left that failed.
func (b *build) remains(err error) remains {
	var f *step.Failure
	if !errors.As(err, &f) {
		return remains{}
	}
	name := func(refs []*step.Ref) []string {
		ids := make([]string, len(refs))
		for i, ref := range refs {
			if ref != nil {
				ids[i] = identity.NewID()
				b.remnants[ids[i]] = *ref
			}
		}
		return ids
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return remains{name(f.Inputs), name(f.Mounts)}
}

// remnant is what has one of those names.
func (b *build) remnant(id string) (step.Ref, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	ref, ok := b.remnants[id]
	if !ok {
		return ref, fmt.Errorf("no such ref: %s: %w", id, errdefs.ErrNotFound)
	}
	return ref, nil
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
