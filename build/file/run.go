package file

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
)

// made is what an action, or an input, has come to: a finished file system, or one that is still written to.
type made struct {
	ref  step.Ref
	name string      // of the layer that is written to
	root *layer.Root // nil: finished
}

// work is one run of a step.
type work struct {
	*files
	env    *step.Env
	in     []step.Ref
	done   []*made
	shared []bool // of each action: what it makes is an output, or needed more than once or to read
	opened map[string]*layer.Root
}

// Run does the actions, one after the other on one layer as far as nobody else needs what is between them.
func (f *files) Run(ctx context.Context, env *step.Env, in []step.Ref) (out step.Outcome, err error) {
	w := &work{files: f, env: env, in: in, done: make([]*made, len(f.actions)), opened: map[string]*layer.Root{}}
	w.count()
	defer func() { err = errors.Join(err, w.close()) }()
	for _, at := range f.outputs {
		m, err := w.get(ctx, int64(f.inputs+at))
		if err != nil {
			return step.Outcome{}, err
		}
		out.Refs = append(out.Refs, m.ref)
	}
	return out, nil
}

// count finds the actions whose results must be finished before others use them.
func (w *work) count() {
	uses := make([]int, len(w.actions))
	w.shared = make([]bool, len(w.actions))
	note := func(in int64, read bool) {
		if i := int(in) - w.inputs; i >= 0 {
			uses[i]++
			w.shared[i] = w.shared[i] || read || uses[i] > 1
		}
	}
	for _, a := range w.actions {
		note(a.GetInput(), false)
		note(a.GetSecondaryInput(), true)
		for _, in := range ownerInputs(ownerOf(a)) {
			note(in, true)
		}
	}
	for _, at := range w.outputs {
		w.shared[at] = true
	}
}

// close unmounts what is open. Layers that nothing came of are their caller's to remove.
func (w *work) close() (err error) {
	for _, root := range w.opened {
		err = errors.Join(err, root.Close())
	}
	for _, m := range w.done {
		if m != nil && m.root != nil {
			err = errors.Join(err, m.root.Close())
		}
	}
	return err
}

// get is an input, or what an action has made, which it does when nobody has asked before.
func (w *work) get(ctx context.Context, in int64) (*made, error) {
	switch {
	case in < 0:
		return &made{}, nil
	case in < int64(w.inputs):
		return &made{ref: w.in[in]}, nil
	}
	i := int(in) - w.inputs
	if w.done[i] != nil {
		return w.done[i], nil
	}
	m, err := w.act(ctx, i)
	if err != nil {
		return nil, err
	}
	w.done[i] = m
	return m, nil
}

// act does one action.
func (w *work) act(ctx context.Context, i int) (*made, error) {
	a := w.actions[i]
	below, err := w.get(ctx, a.GetInput())
	if err != nil {
		return nil, err
	}
	m := *below
	if m.root == nil {
		m.name = w.env.Lease.Name()
		if err := w.parts.Layers.Build(ctx, m.name, m.ref.Pile); err != nil {
			return nil, err
		}
		if m.root, err = w.parts.Layers.Root(ctx, m.name); err != nil {
			return nil, err
		}
	}
	below.root = nil // it is this action's from now on
	if err := w.do(ctx, a, m.root.Dir); err != nil {
		err = errors.Join(err, m.root.Close())
		return nil, &ActionError{i, err}
	}
	if !w.shared[i] {
		return &m, nil
	}
	if err := m.root.Close(); err != nil {
		return nil, err
	}
	if _, err := w.parts.Layers.Seal(ctx, m.name); err != nil {
		return nil, err
	}
	return &made{ref: step.Ref{Pile: append(slices.Clip(m.ref.Pile), m.name)}}, nil
}

func (w *work) do(ctx context.Context, a *pb.FileAction, root *os.File) error {
	o, err := findOwner(ctx, ownerOf(a), w.read)
	if err != nil {
		return err
	}
	switch a := a.GetAction().(type) {
	case *pb.FileAction_Mkdir:
		return mkdir(root, a.Mkdir, o)
	case *pb.FileAction_Mkfile:
		return mkfile(root, a.Mkfile, o)
	case *pb.FileAction_Symlink:
		return symlink(root, a.Symlink, o)
	case *pb.FileAction_Rm:
		return remove(root, a.Rm)
	}
	c := a.GetCopy()
	from, err := w.read(ctx, a.GetSecondaryInput())
	if err != nil {
		return err
	}
	return copyFiles(ctx, from, root, c, o)
}

// read opens a file system that something is read from.
func (w *work) read(ctx context.Context, in int64) (*os.File, error) {
	m, err := w.get(ctx, in)
	if err != nil {
		return nil, err
	}
	if m.root != nil {
		return nil, fmt.Errorf("file operation: input %d is being written to", in)
	}
	key := strings.Join(m.ref.Pile, " ")
	if root := w.opened[key]; root != nil {
		return root.Dir, nil
	}
	root, err := w.parts.Layers.OpenPile(ctx, m.ref.Pile)
	if err != nil {
		return nil, err
	}
	w.opened[key] = root
	return root.Dir, nil
}

// ActionError tells which action of a step failed.
type ActionError struct {
	Action int
	err    error
}

// Error is the failure's own.
func (e *ActionError) Error() string { return e.err.Error() }

// Unwrap gives the failure.
func (e *ActionError) Unwrap() error { return e.err }

// ToSubject is how clients are told, who show the line of the Dockerfile that the action comes from.
func (e *ActionError) ToSubject() errdefs.IsSolve_Subject {
	return &errdefs.Solve_File{File: &errdefs.FileAction{Index: int64(e.Action)}}
}
