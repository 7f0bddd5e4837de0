package result

import (
	"encoding/json"
	"reflect"
	"time"

	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commontypes "github.com/moby/buildkit/exporter/exptypes"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// Comment is what the history says of an entry that no instruction of a Dockerfile stands for.
const historyComment = "buildkit.exporter.image.v0"

// scratchPath is where an image without a config finds its programs.
const scratchPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// configuring is what an image's config is made of.
type configuring struct {
	config []byte     // the front end's; none: a plain one
	base   *oci.Image // the one below, nil for none
	layers []Layer
	// times are those of the newest thing that went into each layer and those below it, in step with layers.
	times  []time.Time
	epoch  *time.Time // the time that everything new is to carry
	squash int        // how many layers, counted from above, have become one; 0: none
	cache  []byte     // what the image carries of the build cache
}

// base reads the config of the image below.
func (x *export) base(p exptypes.Platform) (*oci.Image, error) {
	body := x.result.meta(exptypes.ExporterImageBaseConfigKey, p)
	if len(body) == 0 {
		return nil, nil
	}
	img, err := oci.ParseImage(body)
	return &img, err
}

// epochOf is the time that everything new is to carry, nil when nobody says.
func (x *export) epochOf(p exptypes.Platform) (*time.Time, error) {
	if x.o.epoch != nil {
		return x.o.epoch.at, nil
	}
	return readEpoch(string(x.result.meta(commontypes.ExporterEpochKey, p)))
}

// document makes the config.
func (c *configuring) document() ([]byte, error) {
	if len(c.config) == 0 {
		c.config = plainConfig()
	}
	var img oci.Image
	keys := map[string]json.RawMessage{}
	if err := json.Unmarshal(c.config, &img); err != nil {
		return nil, invalid("invalid image config for export: %v", err)
	}
	if err := json.Unmarshal(c.config, &keys); err != nil || keys == nil {
		return nil, invalid("invalid null image config for export")
	}
	switch {
	case img.OS == "":
		return nil, invalid("invalid image config for export: missing os")
	case img.Architecture == "":
		return nil, invalid("invalid image config for export: missing architecture")
	}
	fs := ocispec.RootFS{Type: "layers", DiffIDs: []digest.Digest{}}
	for _, l := range c.layers {
		fs.DiffIDs = append(fs.DiffIDs, l.DiffID)
	}
	history := c.history(img.History)
	parts := map[string]any{"rootfs": fs, "history": history, "created": c.created(img.Created, history)}
	if len(c.cache) > 0 {
		parts["moby.buildkit.cache.v0"] = c.cache
	}
	for key, value := range parts {
		body, err := json.Marshal(value)
		if err != nil {
			return nil, err
		}
		keys[key] = body
	}
	return json.Marshal(keys) // by key: always the same
}

func plainConfig() []byte {
	host := oci.Host()
	body, _ := json.Marshal(ocispec.Image{ // of what always can be
		Platform: host, Config: ocispec.ImageConfig{Env: []string{scratchPath}, WorkingDir: "/"}, RootFS: ocispec.RootFS{Type: "layers"},
	})
	return body
}

// created is when the image was made: the newest thing in it, or the time that it is to carry.
func (c *configuring) created(told *time.Time, history []ocispec.History) time.Time {
	at := c.start()
	if told != nil {
		at = *told
	} else {
		for _, h := range history {
			if h.Created != nil && (h.Created.After(at) || c.epoch != nil) {
				at = *h.Created
			}
		}
	}
	if c.epoch != nil && at.After(*c.epoch) {
		at = *c.epoch
	}
	return at.UTC()
}

// start is when the image below was made.
func (c *configuring) start() time.Time {
	if c.base == nil || c.base.Created == nil {
		return time.Unix(0, 0).UTC()
	}
	return c.base.Created.UTC()
}

// inherited counts the entries that are those of the image below.
func (c *configuring) inherited(history []ocispec.History) int {
	if c.base == nil {
		return 0
	}
	n := 0
	for n < len(history) && n < len(c.base.History) && reflect.DeepEqual(history[n], c.base.History[n]) {
		n++
	}
	return n
}

// history has an entry for each layer, and the times of the new ones.
func (c *configuring) history(told []ocispec.History) []ocispec.History {
	inherited := c.inherited(told)
	history := append([]ocispec.History{}, told...)
	if c.squash > 0 {
		history = c.squashed(history)
	}
	history = c.aligned(history)
	at, layer := c.start(), 0
	for i := range history {
		h := &history[i]
		if !h.EmptyLayer {
			if layer < len(c.times) && c.times[layer].After(at) && i >= inherited {
				at = c.times[layer].UTC()
			}
			layer++
		}
		if i < inherited {
			continue
		}
		switch {
		case c.epoch != nil && (h.Created == nil || h.Created.After(*c.epoch)):
			h.Created = c.epoch
		case h.Created == nil:
			now := at
			h.Created = &now
		}
	}
	return history
}

// aligned has as many entries that are not empty as there are layers.
func (c *configuring) aligned(history []ocispec.History) []ocispec.History {
	layer := 0
	for i := range history {
		if history[i].EmptyLayer {
			continue
		}
		if layer == len(c.layers) {
			history[i].EmptyLayer = true
			continue
		}
		layer++
	}
	for ; layer < len(c.layers); layer++ {
		history = append(history, ocispec.History{Comment: historyComment})
	}
	return history
}

// squashed says of what has been merged that it left nothing of its own, and adds an entry for the one layer.
func (c *configuring) squashed(history []ocispec.History) []ocispec.History {
	keep := len(c.layers) - 1
	for i := range history {
		if history[i].EmptyLayer {
			continue
		}
		if keep == 0 {
			history[i].EmptyLayer = true
			continue
		}
		keep--
	}
	return append(history, ocispec.History{Comment: "merged by squash"})
}
