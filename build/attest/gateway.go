package attest

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strconv"
	"strings"

	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/frontend/attestations/sbom"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	gwpb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/result"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Bounds of what is believed of a front end.
const (
	maxStatements = 1000
	maxStatement  = 80 << 20
)

// ToGateway is the attestation in the words of BuildKit's gateway.
func (a *Attestation) ToGateway() gateway.Attestation {
	out := gateway.Attestation{
		Kind: gwpb.AttestationKind_InToto, Path: a.Path, ContentFunc: a.Content, InToto: result.InTotoAttestation{PredicateType: a.Predicate},
		Metadata: map[string][]byte{result.AttestationInlineOnlyKey: []byte(strconv.FormatBool(a.InlineOnly))},
	}
	reason := result.AttestationReasonProvenance
	if a.Core != "" {
		reason = result.AttestationReasonSBOM
		out.Metadata[result.AttestationSBOMCore] = []byte(a.Core)
	}
	out.Metadata[result.AttestationReasonKey] = []byte(reason)
	return out
}

// FromGateway reads attestations as BuildKit's gateway has them; those in bundles come out one by one. The bill of materials of the
// image itself comes first.
func FromGateway(ctx context.Context, list []gateway.Attestation) ([]Attestation, error) {
	var first, rest []Attestation
	for _, g := range list {
		var made []Attestation
		var err error
		if g.Kind == gwpb.AttestationKind_Bundle {
			made, err = unbundle(ctx, g)
		} else {
			made = []Attestation{single(g)}
		}
		if err != nil {
			return nil, err
		}
		for _, a := range made {
			if a.Path == "" {
				return nil, invalid("attestation does not have set path")
			}
			if name, _, _ := strings.Cut(path.Base(a.Path), "."); a.Core != "" && name == a.Core {
				first = append(first, a)
			} else {
				rest = append(rest, a)
			}
		}
	}
	return append(first, rest...), nil
}

func single(g gateway.Attestation) Attestation {
	a := Attestation{
		Predicate: g.InToto.PredicateType, Path: g.Path, FrontEnd: g.ContentFunc == nil, Content: g.ContentFunc, Core: string(g.Metadata[result.AttestationSBOMCore]),
	}
	a.InlineOnly, _ = strconv.ParseBool(string(g.Metadata[result.AttestationInlineOnlyKey]))
	if a.Content == nil {
		a.Content = func(ctx context.Context) ([]byte, error) { return read(ctx, g.Ref, g.Path) }
	}
	for _, s := range g.InToto.Subjects {
		one := Subject{Name: s.Name}
		if s.Kind == gwpb.InTotoSubjectKind_Raw {
			one.Digests = s.Digest
		}
		a.Subjects = append(a.Subjects, one)
	}
	return a
}

func read(ctx context.Context, ref gateway.Reference, name string) ([]byte, error) {
	if ref == nil {
		return nil, invalid("attestation does not have available content")
	}
	st, err := ref.StatFile(ctx, gateway.StatRequest{Path: name})
	if err != nil {
		return nil, err
	}
	if st.Size > maxStatement {
		return nil, invalid("%s exceeds %d bytes", name, maxStatement)
	}
	return ref.ReadFile(ctx, gateway.ReadRequest{Filename: name})
}

// unbundle reads the statements in a folder.
func unbundle(ctx context.Context, g gateway.Attestation) ([]Attestation, error) {
	if g.Ref == nil {
		return nil, invalid("no ref provided for attestation bundle")
	}
	folder := path.Join("/", g.Path)
	entries, err := g.Ref.ReadDir(ctx, gateway.ReadDirRequest{Path: folder})
	if err != nil {
		return nil, fmt.Errorf("read attestation bundle: %w", err)
	}
	if len(entries) > maxStatements {
		return nil, invalid("attestation bundle of %d statements: more than %d", len(entries), maxStatements)
	}
	var out []Attestation
	for _, e := range entries {
		name := path.Join(folder, path.Base(e.Path))
		body, err := read(ctx, g.Ref, name)
		if err != nil {
			return nil, fmt.Errorf("read attestation bundle: %w", err)
		}
		var stated statement
		if err := json.Unmarshal(body, &stated); err != nil {
			return nil, invalid("cannot decode in-toto statement %s: %v", name, err)
		}
		if want := g.InToto.PredicateType; want != "" && want != stated.PredicateType {
			return nil, invalid("bundle entry %s does not match required predicate type %s", stated.PredicateType, want)
		}
		predicate := []byte(stated.Predicate)
		a := Attestation{
			Predicate: stated.PredicateType, Path: strings.TrimPrefix(name, "/"), FrontEnd: true, Core: string(g.Metadata[result.AttestationSBOMCore]),
			Content: func(context.Context) ([]byte, error) { return predicate, nil },
		}
		for _, s := range stated.Subject {
			a.Subjects = append(a.Subjects, Subject{Name: s.Name, Digests: digests(s.Digest)})
		}
		out = append(out, a)
	}
	return out, nil
}

func digests(set map[string]string) []digest.Digest {
	var out []digest.Digest
	for kind, hex := range set {
		out = append(out, digest.NewDigestFromEncoded(digest.Algorithm(kind), hex))
	}
	return out
}

// HasBill tells whether a bill of materials is among attestations.
func HasBill(list []gateway.Attestation) bool {
	for _, a := range list {
		if a.InToto.PredicateType == in_toto.PredicateSPDX {
			return true
		}
	}
	return false
}

// Scan has an image that speaks BuildKit's protocol of scanners list what is in a file system.
func Scan(ctx context.Context, front gateway.Client, attrs map[string]string, host ocispec.Platform, platform string, ref gateway.Reference) (gateway.Attestation, error) {
	params := map[string]string{}
	for key, value := range attrs {
		if key != "generator" {
			params[key] = value
		}
	}
	opt := sourceresolver.Opt{ImageOpt: &sourceresolver.ResolveImageOpt{Platform: &host}}
	scanner, err := sbom.CreateSBOMScanner(ctx, front, attrs["generator"], host, opt, params)
	if err != nil || scanner == nil {
		return gateway.Attestation{}, err
	}
	state := llb.Scratch()
	if ref != nil {
		if state, err = ref.ToState(); err != nil {
			return gateway.Attestation{}, err
		}
	}
	made, err := scanner(ctx, platform, state, nil)
	if err != nil {
		return gateway.Attestation{}, err
	}
	def, err := made.Ref.Marshal(ctx)
	if err != nil {
		return gateway.Attestation{}, err
	}
	solved, err := front.Solve(ctx, gateway.SolveRequest{Definition: def.ToPB(), Evaluate: true})
	if err != nil {
		return gateway.Attestation{}, err
	}
	return gateway.Attestation{Kind: made.Kind, Metadata: made.Metadata, Ref: solved.Ref, Path: made.Path, InToto: made.InToto}, nil
}
