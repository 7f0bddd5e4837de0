package image

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	it "github.com/moby/moby/api/types/image"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
)

// predicateType is the annotation that says what kind of statement a layer of an attestation is.
const predicateType = "in-toto.io/predicate-type"

// maxStatement bounds one statement: SBOMs of large images are some ten megabytes.
const maxStatement = 64 << 20

// AttestationOptions choose statements about an image.
type AttestationOptions struct {
	// Platform is the one that is spoken of; nil is this host's.
	Platform *ocispec.Platform
	// Types are the predicates wanted; none means all.
	Types []string
	// Statements gives the texts too, not only what there is.
	Statements bool
}

// Attestations lists what is stated about an image beside it in its index: how it was built, what is in it. Statements whose
// manifest was never fetched are not listed; a text that is wanted and not here is errdefs.ErrNotFound.
func (s *Store) Attestations(ctx context.Context, reference string, o AttestationOptions) ([]it.AttestationStatement, error) {
	img, err := s.Get(ctx, reference, o.Platform)
	if err != nil {
		return nil, err
	}
	out := []it.AttestationStatement{}
	for _, v := range s.variants(img.Target) {
		if !v.attestation || v.manifest == nil || v.desc.Annotations[oci.AttestationFor] != img.Manifest.Digest.String() {
			continue
		}
		for _, layer := range v.manifest.Layers {
			kind := layer.Annotations[predicateType]
			if kind == "" || len(o.Types) > 0 && !slices.Contains(o.Types, kind) {
				continue
			}
			one := it.AttestationStatement{Descriptor: layer, PredicateType: kind}
			if o.Statements {
				if one.Statement, err = s.statement(layer.Digest); err != nil {
					return nil, err
				}
			}
			out = append(out, one)
		}
	}
	return out, nil
}

func (s *Store) statement(d digest.Digest) (*json.RawMessage, error) {
	text, err := s.blobs.Read(d, maxStatement)
	if err != nil {
		return nil, fmt.Errorf("attestation statement %s: %w", d, err)
	}
	raw := json.RawMessage(text)
	return &raw, nil
}
