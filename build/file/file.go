// Package file carries out what a definition wants done with files: copying between the file systems of a build, making
// and removing files, merging file systems and telling them apart. What it does to a build's files is what BuildKit does.
//
// Source trees are strangers': every path is resolved here inside the root it belongs to, component by component, and
// links lead nowhere else.
package file

import (
	"context"
	"crypto/sha256"
	"fmt"
	"path"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/layer"
)

// Parts are what the steps work with.
type Parts struct {
	Layers  *layer.Store
	Content *content.Store
}

// Maker makes steps.
type Maker struct{ parts Parts }

// New makes a maker.
func New(parts Parts) *Maker { return &Maker{parts} }

// File makes the step for a list of actions on files. inputs is how many file systems the step gets.
func (m *Maker) File(op *pb.FileOp, inputs int) (step.Op, error) {
	f := &files{parts: m.parts, actions: op.GetActions(), inputs: inputs}
	if err := f.check(); err != nil {
		return nil, err
	}
	return f, nil
}

// files is a step of several actions.
type files struct {
	parts   Parts
	actions []*pb.FileAction
	inputs  int
	outputs []int // which action makes each output
}

// check refuses what makes no sense, so that the rest can rely on it.
func (f *files) check() error {
	outs := map[int64]int{}
	for i, a := range f.actions {
		for _, in := range append([]int64{a.GetInput(), a.GetSecondaryInput()}, ownerInputs(ownerOf(a))...) {
			if in < -1 || in >= int64(f.inputs+len(f.actions)) {
				return invalid("file operation: input %d does not exist", in)
			}
		}
		for _, in := range ownerInputs(ownerOf(a)) {
			if in < 0 {
				return invalid("file operation: invalid user index %d", in)
			}
		}
		if a.GetAction() == nil {
			return invalid("file operation: action %d is of an unknown kind", i)
		}
		if a.GetOutput() == -1 {
			continue
		}
		if _, twice := outs[a.GetOutput()]; twice {
			return invalid("file operation: duplicate output %d", a.GetOutput())
		}
		outs[a.GetOutput()] = i
	}
	if len(outs) == 0 {
		return invalid("file operation: no outputs specified")
	}
	for i := range len(outs) {
		at, ok := outs[int64(i)]
		if !ok {
			return invalid("file operation: missing output index %d", i)
		}
		f.outputs = append(f.outputs, at)
	}
	return f.loops()
}

// loops refuses actions that need what they make.
func (f *files) loops() error {
	state := make([]int, len(f.actions)) // 1: being looked at, 2: fine
	var visit func(in int64) error
	visit = func(in int64) error {
		i := int(in) - f.inputs
		if i < 0 || state[i] == 2 {
			return nil
		}
		if state[i] == 1 {
			return invalid("file operation: loop from index %d", in)
		}
		state[i] = 1
		a := f.actions[i]
		for _, in := range append([]int64{a.GetInput(), a.GetSecondaryInput()}, ownerInputs(ownerOf(a))...) {
			if err := visit(in); err != nil {
				return err
			}
		}
		state[i] = 2
		return nil
	}
	for i := range f.actions {
		if err := visit(int64(f.inputs + i)); err != nil {
			return err
		}
	}
	return nil
}

// ownerOf is what an action says about the owner of what it makes.
func ownerOf(a *pb.FileAction) *pb.ChownOpt {
	switch a := a.GetAction().(type) {
	case *pb.FileAction_Copy:
		return a.Copy.GetOwner()
	case *pb.FileAction_Mkdir:
		return a.Mkdir.GetOwner()
	case *pb.FileAction_Mkfile:
		return a.Mkfile.GetOwner()
	case *pb.FileAction_Symlink:
		return a.Symlink.GetOwner()
	}
	return nil
}

// ownerInputs are the inputs that an owner's names are looked up in.
func ownerInputs(o *pb.ChownOpt) (in []int64) {
	for _, u := range []*pb.UserOpt{o.GetUser(), o.GetGroup()} {
		if by, ok := u.GetUser().(*pb.UserOpt_ByName); ok {
			in = append(in, by.ByName.GetInput())
		}
	}
	return in
}

// keyVersion changes when the same actions make something else than before.
const keyVersion = "file.1"

// Key counts of a copied source what is read of it, and of where it lies only the last name.
func (f *files) Key(context.Context, *step.Env) (step.Key, error) {
	selectors := make([][]content.Selector, f.inputs)
	whole := make([]bool, f.inputs) // inputs that are written on
	h := sha256.New()
	fmt.Fprintln(h, keyVersion)
	for _, a := range f.actions {
		a = a.CloneVT()
		if in := a.GetInput(); in >= 0 && in < int64(f.inputs) {
			whole[in] = true
		}
		f.selectAccounts(selectors, ownerOf(a))
		if c := a.GetCopy(); c != nil && a.GetSecondaryInput() >= 0 && a.GetSecondaryInput() < int64(f.inputs) {
			at := a.GetSecondaryInput()
			selectors[at] = append(selectors[at], content.Selector{
				Path: path.Join("/", c.GetSrc()), Follow: c.GetFollowSymlink(),
				Wildcard: c.GetAllowWildcard() && content.HasWildcard(c.GetSrc()),
				Include:  c.GetIncludePatterns(), Exclude: c.GetExcludePatterns(), Required: c.GetRequiredPaths(),
			})
			c.Src = path.Base(c.GetSrc())
		}
		raw, err := a.MarshalVT()
		if err != nil {
			return step.Key{}, err
		}
		fmt.Fprintf(h, "%d:%s", len(raw), raw)
	}
	key := step.Key{Digest: digest.NewDigest(digest.SHA256, h), Content: make([]step.Content, f.inputs)}
	for i, s := range selectors {
		if len(s) > 0 && !whole[i] {
			key.Content[i] = f.digestOf(s)
		}
	}
	return key, nil
}

func (f *files) selectAccounts(selectors [][]content.Selector, o *pb.ChownOpt) {
	names := []string{"/etc/passwd", "/etc/group"}
	for i, u := range []*pb.UserOpt{o.GetUser(), o.GetGroup()} {
		by, ok := u.GetUser().(*pb.UserOpt_ByName)
		if !ok || by.ByName.GetInput() >= int64(f.inputs) {
			continue
		}
		at := by.ByName.GetInput()
		selectors[at] = append(selectors[at], content.Selector{Path: names[i], Follow: true})
	}
}

// digestOf is the digest of what selectors pick of an input. Accounts that are missing are no error.
func (f *files) digestOf(selectors []content.Selector) step.Content {
	return func(ctx context.Context, _ *step.Env, in step.Ref) (digest.Digest, error) {
		return f.parts.Content.Digest(ctx, in.Pile, selectors...)
	}
}
