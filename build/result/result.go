// Package result brings what a build gave to where it was asked for: as an image into the image store and registries, as an
// archive or a folder to the client. The same file systems and the same settings always give the same bytes.
//
// In the database:
//
//	build-blobs   layer and compression → the blob that it was packed to, so that it is not packed again
package result

import (
	"context"
	"fmt"
	"runtime"
	"strings"
	"sync"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/blob"
	"github.com/cove-containers/cove/build/attest"
	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
	"github.com/cove-containers/cove/state"
)

// Exporters, as BuildKit's clients name them.
const (
	Image  = "image"
	Moby   = "moby" // image, as dockerd has it: unpacked, and known by its ID when it has no name
	Docker = "docker"
	OCI    = "oci"
	Local  = "local"
	Tar    = "tar"
)

// A Result is what a build gave: a file system, or one for each platform, and what the front end says of it.
type Result struct {
	// Refs is by the IDs of platforms; for a result that was asked for no platform in particular the ID is empty.
	Refs map[string]step.Ref
	// Metadata is the front end's, in the words of BuildKit's exptypes.
	Metadata map[string][]byte
	// Attestations is by the IDs of platforms, as they are known once the result is there: a result that was asked for no platform
	// has one, too. See Platforms.
	Attestations map[string][]attest.Attestation
	// Inline is what an image carries of the cache, by the IDs of platforms; nil for none.
	Inline func(ctx context.Context, platform string, layers []Layer) ([]byte, error)
}

// Layer is a layer of an image that is being made.
type Layer struct {
	// Name is the layer's in piles.
	Name   string
	DiffID digest.Digest
	Desc   ocispec.Descriptor
}

// Multiple tells that the result was asked for by platforms, one or several.
func (r *Result) Multiple() bool {
	_, single := r.Refs[""]
	return len(r.Refs) > 0 && !single
}

// Platforms are those of the result. What was asked for no platform in particular has that of its config.
func (r *Result) Platforms() ([]exptypes.Platform, error) {
	if _, told := r.Metadata[exptypes.ExporterPlatformsKey]; r.Multiple() && !told {
		return nil, invalid("unable to export multiple refs, missing platforms mapping")
	}
	ps, err := exptypes.ParsePlatforms(r.Metadata)
	if err != nil {
		return nil, invalid("%v", err)
	}
	if !r.Multiple() && len(ps.Platforms) > 1 {
		return nil, invalid("cannot export multiple platforms without multi-platform enabled")
	}
	return ps.Platforms, nil
}

// ref is the file system for a platform; scratch when there is none.
func (r *Result) ref(p exptypes.Platform) (step.Ref, error) {
	if !r.Multiple() {
		return r.Refs[""], nil
	}
	ref, ok := r.Refs[p.ID]
	if !ok {
		return ref, invalid("failed to find ref for ID %s", p.ID)
	}
	return ref, nil
}

// meta is what the front end says of a platform, or of all.
func (r *Result) meta(key string, p exptypes.Platform) []byte {
	return exptypes.ParseKey(r.Metadata, key, &p)
}

// Parts are what Exporters work with.
type Parts struct {
	Images *image.Store
	Layers *layer.Store
	Blobs  *blob.Store
	DB     *state.DB
}

// Exporters bring results to where they are asked for. They are safe for concurrent use.
type Exporters struct {
	Parts
	blobs *state.Table[packed]
	slots chan struct{} // for packing

	mu   sync.Mutex
	busy map[string]chan struct{} // what is being packed
}

// New opens what is remembered of layers that were packed.
func New(parts Parts) (*Exporters, error) {
	table, err := state.NewTable[packed](parts.DB, "build-blobs")
	if err != nil {
		return nil, err
	}
	return &Exporters{Parts: parts, blobs: table, slots: make(chan struct{}, runtime.GOMAXPROCS(0)), busy: map[string]chan struct{}{}}, nil
}

// Target is a place where a result is to go.
type Target struct {
	of *Exporters
	o  *options
	id int
}

// Target reads what a client says of one of its exporters, the id-th. Errors are errdefs.ErrInvalidArgument, or ErrNotFound for a kind
// of exporter that there is not.
func (x *Exporters) Target(id int, kind string, attrs map[string]string) (*Target, error) {
	switch kind {
	case Image, Moby, Docker, OCI, Local, Tar:
	default:
		return nil, fmt.Errorf("exporter %q could not be found: it is one of image, docker, oci, local and tar: %w", kind, errNoExporter)
	}
	o, err := parse(kind, attrs)
	if err != nil {
		return nil, err
	}
	return &Target{of: x, o: o, id: id}, nil
}

// Name is the step of the build that exporting is, as clients show it.
func (t *Target) Name() string {
	switch t.o.kind {
	case Docker, OCI:
		return "exporting to " + t.o.kind + " image format"
	case Local:
		return "exporting to client directory"
	case Tar:
		return "exporting to client tarball"
	}
	return "exporting to image"
}

// Export brings a result to the target, and tells what it has become in the words of BuildKit's exporters. When it fails or ends early
// names point where they did, and nothing is left.
func (t *Target) Export(ctx context.Context, env *step.Env, r Result) (map[string]string, error) {
	meta := map[string][]byte{}
	for k, v := range r.Metadata {
		meta[k] = v
	}
	o := *t.o
	for k, v := range o.meta {
		meta[k] = []byte(v)
	}
	for k, v := range meta {
		n, ok, err := readNote(k, string(v))
		if err != nil {
			return nil, err
		}
		if ok {
			o.notes = append([]note{n}, o.notes...)
		}
	}
	r.Metadata = meta
	x := export{Exporters: t.of, o: &o, id: t.id, env: env, result: r}
	switch o.kind {
	case Local:
		return nil, x.local(ctx)
	case Tar:
		return nil, x.tarball(ctx)
	}
	return x.images(ctx)
}

// export is a result on its way.
type export struct {
	*Exporters
	o      *options
	id     int
	env    *step.Env
	result Result
	hold   *image.Lease
}

// images makes an image and brings it to the store, a registry, or the client.
func (x *export) images(ctx context.Context) (response map[string]string, err error) {
	if x.o.kind == Docker && x.result.Multiple() {
		return nil, invalid("docker exporter does not currently support exporting manifest lists")
	}
	x.hold = x.Images.Lease()
	defer func() {
		x.hold.Release()
		if err != nil || !x.stays() {
			x.sweep(ctx)
		}
	}()
	names, err := x.names()
	if err != nil {
		return nil, err
	}
	made, err := x.make(ctx, names)
	if err != nil {
		return nil, err
	}
	response = made.response(names, x.o)
	switch x.o.kind {
	case Docker, OCI:
		err = x.archive(ctx, made, names, response)
	default:
		err = x.storeImage(ctx, made, names)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

// stays tells whether the image has got a name, or is known by its ID.
func (x *export) stays() bool { return (x.o.kind == Image || x.o.kind == Moby) && x.o.store }

// step tells the client that a part of exporting begins.
func (x *export) step(format string, args ...any) (end func()) {
	return x.env.Part(fmt.Sprintf(format, args...))
}

func splitNames(names string) []string {
	var out []string
	for _, name := range strings.Split(names, ",") {
		if name = strings.TrimSpace(name); name != "" {
			out = append(out, name)
		}
	}
	return out
}
