package buildkit

import (
	"context"

	"github.com/containerd/errdefs"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/solver/pb"
)

// tell gives every reference of a result a name and puts the result into the words of the protocol. Clients older than
// BuildKit 0.8 get names without definitions. only is the name of a result of one reference.
func (b *steering) tell(ctx context.Context, r *gwclient.Result, definitions bool) (out *gateway.Result, only string, err error) {
	out = &gateway.Result{Metadata: r.Metadata}
	if r.Refs != nil {
		named := make(map[string]*gateway.Ref, len(r.Refs))
		ids := make(map[string]string, len(r.Refs))
		for k, ref := range r.Refs {
			if named[k], err = b.name(ctx, ref); err != nil {
				return nil, "", err
			}
			ids[k] = named[k].Id
		}
		if definitions {
			out.Result = &gateway.Result_Refs{Refs: &gateway.RefMap{Refs: named}}
		} else {
			out.Result = &gateway.Result_RefsDeprecated{RefsDeprecated: &gateway.RefMapDeprecated{Refs: ids}}
		}
	} else {
		named, err := b.name(ctx, r.Ref)
		if err != nil {
			return nil, "", err
		}
		only = named.Id
		if definitions {
			out.Result = &gateway.Result_Ref{Ref: named}
		} else {
			out.Result = &gateway.Result_RefDeprecated{RefDeprecated: only}
		}
	}
	for k, list := range r.Attestations {
		if out.Attestations == nil {
			out.Attestations = map[string]*gateway.Attestations{}
		}
		told := &gateway.Attestations{}
		for i := range list {
			a, err := gwclient.AttestationToPB(&list[i])
			if err != nil {
				return nil, "", err
			}
			if list[i].Ref != nil {
				if a.Ref, err = b.name(ctx, list[i].Ref); err != nil {
					return nil, "", err
				}
			}
			told.Attestation = append(told.Attestation, a)
		}
		out.Attestations[k] = told
	}
	return out, only, nil
}

// name keeps a reference for the client under a new name. Nothing, an empty file system, has none.
func (b *steering) name(ctx context.Context, ref gwclient.Reference) (*gateway.Ref, error) {
	if ref == nil {
		return &gateway.Ref{}, nil
	}
	definition, err := definitionOf(ctx, ref)
	if err != nil {
		return nil, err
	}
	id := identity.NewID()
	b.mu.Lock()
	b.refs[id] = ref
	b.mu.Unlock()
	return &gateway.Ref{Id: id, Def: definition}, nil
}

// definitionOf is what a reference was made of, which the client may build on.
func definitionOf(ctx context.Context, ref gwclient.Reference) (*pb.Definition, error) {
	state, err := ref.ToState()
	if err != nil {
		return nil, err
	}
	definition, err := state.Marshal(ctx)
	if err != nil {
		return nil, err
	}
	return definition.ToPB(), nil
}

// take is the way back: a result in the words of the protocol becomes one of references.
func (b *steering) take(r *gateway.Result) (*gwclient.Result, error) {
	out := gwclient.NewResult()
	out.Metadata = r.Metadata
	single, several := "", map[string]string(nil)
	switch told := r.Result.(type) {
	case *gateway.Result_RefDeprecated:
		single = told.RefDeprecated
	case *gateway.Result_Ref:
		single = told.Ref.GetId()
	case *gateway.Result_RefsDeprecated:
		several = told.RefsDeprecated.GetRefs()
	case *gateway.Result_Refs:
		several = map[string]string{}
		for k, ref := range told.Refs.GetRefs() {
			several[k] = ref.GetId()
		}
	}
	ref, err := b.ref(single)
	if err != nil {
		return nil, err
	}
	out.SetRef(ref)
	for k, id := range several {
		if ref, err = b.ref(id); err != nil {
			return nil, err
		}
		out.AddRef(k, ref)
	}
	for k, list := range r.Attestations {
		for _, told := range list.GetAttestation() {
			if told == nil {
				return nil, errdefs.ErrInvalidArgument.WithMessage("an attestation is missing")
			}
			a, err := gwclient.AttestationFromPB[gwclient.Reference](told)
			if err != nil {
				return nil, err
			}
			if told.Ref != nil {
				if a.Ref, err = b.ref(told.Ref.Id); err != nil {
					return nil, err
				}
			}
			out.AddAttestation(k, *a)
		}
	}
	return out, nil
}
