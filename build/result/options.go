package result

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	commontypes "github.com/moby/buildkit/exporter/exptypes"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/containerd/platforms"
)

// Options are the attributes of an exporter, read.
type options struct {
	kind  string
	names string // as given; "*": what the front end calls the image

	push, byDigest, insecure bool
	store, unpack, canonical bool
	dangling                 string
	danglingOnly             bool
	ociTypes, ociArtifact    *bool
	inline                   bool // attestations that go with images only are wanted
	squash, rewrite          bool
	compression              compression
	epoch                    *epoch // nil: what the front end says
	notes                    []note
	tar                      bool
	prefix, source, mode     string
	split                    *bool
	meta                     map[string]string // whatever else was given stands in for what the front end says
}

// epoch is a SOURCE_DATE_EPOCH that was given; one without a time takes back what the front end says.
type epoch struct{ at *time.Time }

// note is an annotation for an index, a manifest, or the descriptor of one.
type note struct {
	kind, platform, key, value string
}

// parse reads the attributes of an exporter. Whoever begins a build does so before anything is built.
func parse(kind string, attrs map[string]string) (*options, error) {
	o := &options{kind: kind, store: true, tar: true, inline: kind == Image || kind == Moby, meta: map[string]string{}}
	o.compression.kind = gzipped
	if kind == Moby {
		o.unpack, o.dangling, o.danglingOnly = true, "moby-dangling", true
	}
	switches := map[string]*bool{
		"push": &o.push, "push-by-digest": &o.byDigest, "registry.insecure": &o.insecure, "store": &o.store, "unpack": &o.unpack,
		"name-canonical": &o.canonical, "danging-name-empty-only": &o.danglingOnly, "dangling-name-empty-only": &o.danglingOnly,
		"attestation-inline": &o.inline, "rewrite-timestamp": &o.rewrite, "squash": &o.squash, "tar": &o.tar,
		"force-compression": &o.compression.force,
	}
	texts := map[string]*string{
		"name": &o.names, "dangling-name-prefix": &o.dangling, "attestation-prefix": &o.prefix, "src": &o.source, "mode": &o.mode,
	}
	for key, value := range attrs {
		if target := switches[key]; target != nil {
			on, err := readBool(key, value)
			if err != nil {
				return nil, err
			}
			*target = on
			continue
		}
		if target := texts[key]; target != nil {
			*target = value
			continue
		}
		if err := o.other(key, value); err != nil {
			return nil, err
		}
	}
	return o, o.check(attrs)
}

func readBool(key, value string) (bool, error) {
	if value == "" {
		return true, nil
	}
	on, err := strconv.ParseBool(value)
	if err != nil {
		return false, invalid("non-bool value specified for %s: %q", key, value)
	}
	return on, nil
}

func (o *options) other(key, value string) (err error) {
	setting := func(target **bool) error {
		on, err := readBool(key, value)
		*target = &on
		return err
	}
	switch key {
	case "oci-mediatypes":
		return setting(&o.ociTypes)
	case "oci-artifact":
		return setting(&o.ociArtifact)
	case "platform-split":
		return setting(&o.split)
	case "prefer-nondist-layers", "unsafe-internal-store-allow-incomplete", "dest":
		return nil
	case "compression":
		return o.compression.setKind(value)
	case "compression-level":
		return o.compression.setLevel(value)
	case string(commontypes.OptKeySourceDateEpoch):
		at, err := readEpoch(value)
		o.epoch = &epoch{at}
		return err
	}
	if n, ok, err := readNote(key, value); ok || err != nil {
		o.notes = append(o.notes, n)
		return err
	}
	o.meta[key] = value
	return nil
}

func (o *options) check(attrs map[string]string) error {
	if o.ociTypes != nil && !*o.ociTypes {
		if o.compression.kind == zstandard {
			return invalid(`exporter option "compression=zstd" conflicts with "oci-mediatypes=false"`)
		}
		if o.ociArtifact != nil && *o.ociArtifact {
			return invalid(`exporter option "oci-artifact=true" conflicts with "oci-mediatypes=false"`)
		}
		if slices.ContainsFunc(o.notes, func(n note) bool { return n.kind != exptypes.AnnotationManifest }) {
			return invalid(`cannot export annotations with "oci-mediatypes=false"`)
		}
	}
	if source, given := attrs["src"]; given && source == "" {
		return invalid("empty value for src; omit it to export the entire filesystem")
	}
	if o.mode != "" && o.mode != "copy" && o.mode != "delete" {
		return invalid("invalid mode %q of the local exporter: it is copy or delete", o.mode)
	}
	return o.compression.check()
}

// ociNames tells whether the documents are to have the media types of OCI, and not those of Docker.
func (o *options) ociNames() bool { return o.ociTypes == nil || *o.ociTypes }

// artifact tells whether attestations stand in an artifact manifest of OCI, and not in something that looks like an image.
func (o *options) artifact() bool {
	if o.ociArtifact != nil {
		return *o.ociArtifact
	}
	return o.ociNames()
}

func readEpoch(value string) (*time.Time, error) {
	if value == "" {
		return nil, nil
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil {
		return nil, invalid("invalid source-date-epoch %q: it is not a number of seconds", value)
	}
	at := time.Unix(seconds, 0).UTC()
	return &at, nil
}

func readNote(key, value string) (note, bool, error) {
	if !strings.HasPrefix(key, "annotation") {
		return note{}, false, nil
	}
	k, ok, err := exptypes.ParseAnnotationKey(key)
	if err != nil {
		return note{}, ok, invalid("%v", err)
	}
	return note{kind: k.Type, platform: k.PlatformString(), key: k.Key, value: value}, ok, nil
}

// annotations are those of one kind for a platform, or for none in particular.
func (o *options) annotations(kind string, p *ocispec.Platform) map[string]string {
	var out map[string]string
	for _, n := range o.notes {
		if n.kind != kind || n.platform != "" && (p == nil || n.platform != platforms.FormatAll(*p)) {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		if _, given := out[n.key]; !given || n.platform != "" {
			out[n.key] = n.value
		}
	}
	return out
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
