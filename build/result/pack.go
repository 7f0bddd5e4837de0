package result

import (
	"context"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/layer"
)

// Packing says how layers become blobs that are no image's.
type Packing struct {
	of *Exporters
	o  *options
}

// Packing reads the attributes that tell how to compress; others are passed over.
func (x *Exporters) Packing(attrs map[string]string) (*Packing, error) {
	own := map[string]string{}
	for _, key := range []string{"compression", "compression-level", "force-compression"} {
		if value, given := attrs[key]; given {
			own[key] = value
		}
	}
	o, err := parse(Image, own)
	return &Packing{x, o}, err
}

// Pack has all layers of a pile as blobs, those of images as they are. hold protects them.
func (p *Packing) Pack(ctx context.Context, env *step.Env, hold *image.Lease, pile layer.Pile) ([]Layer, error) {
	e := export{Exporters: p.of, o: p.o, env: env, hold: hold}
	list, _, err := e.layers(ctx, pile, len(pile), nil)
	return list, err
}
