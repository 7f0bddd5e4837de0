package main

import (
	"context"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/build/attest"
	"github.com/cove-containers/cove/build/result"
	"github.com/cove-containers/cove/build/share"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/cache"
	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
)

// delivery brings what builds give to where it is asked for.
type delivery struct {
	exporters *result.Exporters
	sharer    *share.Sharer
	layers    *layer.Store
}

func newDelivery(parts engine.Parts, db *state.DB, blobs *blob.Store, registries *remote.Client, mounts *cache.Mounts) (*delivery, error) {
	x, err := result.New(result.Parts{Images: parts.Images, Layers: parts.Layers, Blobs: blobs, DB: db})
	if err != nil {
		return nil, err
	}
	sharer := share.New(share.Parts{Exporters: x, Images: parts.Images, Blobs: blobs, Remote: registries, Mounts: mounts})
	return &delivery{exporters: x, sharer: sharer, layers: parts.Layers}, nil
}

// wire gives the builder its exporters.
func (d *delivery) wire(parts *build.Parts) {
	parts.Target = d.target
	parts.Attest = d.attest
	parts.Provenance = provenance
	parts.CacheImports, parts.CacheExports = map[string]build.CacheImport{}, map[string]build.CacheExport{}
	for _, kind := range []string{share.Registry, share.Local, share.Inline} {
		parts.CacheImports[kind] = func(ctx context.Context, env *step.Env, attrs map[string]string) (step.Finder, error) {
			return d.sharer.Import(ctx, env, kind, attrs)
		}
		parts.CacheExports[kind] = func(ctx context.Context, env *step.Env, attrs map[string]string, out *build.Outcome) (map[string]string, error) {
			return d.sharer.Export(ctx, env, kind, attrs, out.Steps)
		}
	}
}

// target reads what a client says of one of its exporters.
func (d *delivery) target(id int, kind string, attrs map[string]string) (build.Target, error) {
	t, err := d.exporters.Target(id, kind, attrs)
	if err != nil {
		return nil, err
	}
	return target{t}, nil
}

type target struct{ *result.Target }

// Export implements build.Target.
func (t target) Export(ctx context.Context, env *step.Env, out *build.Outcome) (map[string]string, error) {
	r := result.Result{Refs: out.Refs, Metadata: out.Metadata, Attestations: map[string][]attest.Attestation{}}
	for platform, list := range out.Attestations {
		read, err := attest.FromGateway(ctx, list)
		if err != nil {
			return nil, err
		}
		r.Attestations[platform] = read
	}
	for _, e := range out.Build.CacheExports {
		if e.Type == share.Inline {
			r.Inline = share.Inside(out.Steps)
		}
	}
	return t.Target.Export(ctx, env, r)
}

// attest adds the attestations that the client asks for.
func (d *delivery) attest(ctx context.Context, front gateway.Client, out *build.Outcome) error {
	wishes, err := attest.Wished(out.Build.Options)
	if err != nil || wishes.Provenance == nil && wishes.SBOM == nil {
		return err
	}
	r := result.Result{Refs: out.Refs, Metadata: out.Metadata}
	ps, err := r.Platforms()
	if err != nil {
		return err
	}
	if out.Attestations == nil {
		out.Attestations = map[string][]gateway.Attestation{}
	}
	for _, p := range ps {
		asked := out.Asked[p.ID]
		ref := out.Refs[p.ID]
		if !r.Multiple() {
			asked, ref = out.Asked[""], out.Refs[""]
		}
		if wishes.SBOM != nil && !attest.HasBill(out.Attestations[p.ID]) {
			made, err := d.bill(ctx, front, wishes.SBOM, p.ID, asked, ref)
			if err != nil {
				return err
			}
			out.Attestations[p.ID] = append(out.Attestations[p.ID], made)
		}
		if wishes.Provenance != nil {
			made, err := attest.Provenance(describe(out, asked, p.Platform), wishes.Provenance)
			if err != nil {
				return err
			}
			out.Attestations[p.ID] = append(out.Attestations[p.ID], made.ToGateway())
		}
	}
	return nil
}

// describe is a build in the words of attestations.
func describe(out *build.Outcome, asked gateway.Reference, platform ocispec.Platform) attest.Build {
	return attest.Build{
		ID: out.Build.ID, Started: out.Started, Ended: time.Now().UTC(), FrontEnd: out.FrontEnd, Options: out.Options,
		Host: oci.Host(), Target: platform, Steps: stepsOf(asked, out.Steps), Source: definition(asked).GetSource(),
	}
}

// provenance tells the history all there is to tell.
func provenance(out *build.Outcome, id string) (string, []byte, error) {
	platform := oci.Host()
	if id != "" {
		p, err := oci.ParsePlatform(id)
		if err != nil {
			return "", nil, err
		}
		platform = p
	}
	made, err := attest.Provenance(describe(out, out.Asked[id], platform), map[string]string{"mode": "max"})
	if err != nil {
		return "", nil, err
	}
	body, err := made.Content(context.Background())
	return made.Predicate, body, err
}

// bill lists what is in a file system: by an image of the client's choice, or by what is built in here.
func (d *delivery) bill(ctx context.Context, front gateway.Client, attrs map[string]string, platform string, asked gateway.Reference, ref step.Ref) (gateway.Attestation, error) {
	if attrs["generator"] != "" {
		return attest.Scan(ctx, front, attrs, oci.Host(), platform, asked)
	}
	root, err := d.layers.OpenPile(ctx, ref.Pile)
	if err != nil {
		return gateway.Attestation{}, err
	}
	defer root.Close()
	made, err := attest.BillOfMaterials(ctx, root.Dir, d.layers.Newest(ref.Pile))
	if err != nil {
		return gateway.Attestation{}, err
	}
	return made.ToGateway(), nil
}

func definition(asked gateway.Reference) *pb.Definition {
	if own, ok := asked.(*build.Ref); ok && own != nil {
		return own.Definition()
	}
	return nil
}

// stepsOf lists the steps of a definition, whether they had to be run or not, with what is known of them.
func stepsOf(asked gateway.Reference, done []step.Done) []attest.Step {
	notes := map[digest.Digest]map[string]string{}
	for _, d := range done {
		notes[d.Digest] = d.Notes
	}
	var out []attest.Step
	for _, body := range definition(asked).GetDef() {
		op := &pb.Op{}
		if err := op.UnmarshalVT(body); err != nil || op.Op == nil { // the last one only says which is meant
			continue
		}
		at := digest.FromBytes(body)
		out = append(out, attest.Step{Digest: at, Op: op, Notes: notes[at]})
	}
	return out
}
