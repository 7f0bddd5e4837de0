package attest

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	slsa02 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v0.2"
	slsa1 "github.com/in-toto/in-toto-golang/in_toto/slsa_provenance/v1"
	"github.com/moby/buildkit/frontend/dockerfile/version"
	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/urlutil"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Build is what provenance tells of.
type Build struct {
	// ID and the times tell one build from another of the same; see Provenance.
	ID             string
	Started, Ended time.Time
	FrontEnd       string
	Options        map[string]string
	Host           ocispec.Platform // what built it
	Target         ocispec.Platform // what it is for
	Steps          []Step           // that went into it, what others stand on first
	Source         *pb.Source       // of the definition
}

// Step is one step of a build.
type Step struct {
	Digest digest.Digest // of the operation in the definition
	Op     *pb.Op
	// Notes say what a source turned out to be: "digest" or "commit".
	Notes map[string]string
}

// Provenance tells where something comes from in the words of SLSA, as attrs ask for it: mode min or max, version v1 or v0.2, and
// BuildKit's others. What goes with every image without having been asked for (inline-only) leaves out when it was made, and is the same
// every time.
func Provenance(b Build, attrs map[string]string) (Attestation, error) {
	a := Attestation{Path: "provenance.json", Predicate: slsa1.PredicateSLSAProvenance}
	if name := attrs["filename"]; name != "" {
		a.Path = name
	}
	a.InlineOnly, _ = strconv.ParseBool(attrs["inline-only"])
	p, err := b.predicate(attrs, a.InlineOnly)
	if err != nil {
		return a, err
	}
	var predicate any = p
	switch v := types.ProvenanceSLSA(attrs["version"]); v {
	case "", types.ProvenanceSLSA1:
	case types.ProvenanceSLSA02:
		a.Predicate, predicate = slsa02.PredicateSLSAProvenance, p.ConvertToSLSA02()
	default:
		return a, invalid("invalid provenance SLSA version: %s", v)
	}
	a.Content = func(context.Context) ([]byte, error) { return json.MarshalIndent(predicate, "", "  ") }
	return a, nil
}

func (b *Build) predicate(attrs map[string]string, timeless bool) (*types.ProvenancePredicateSLSA1, error) {
	materials, err := b.materials()
	if err != nil {
		return nil, err
	}
	request, vcs := b.request(materials)
	p := &types.ProvenancePredicateSLSA1{}
	p.BuildDefinition.BuildType = types.BuildKitBuildType1
	from := slices.Grow(p.BuildDefinition.ResolvedDependencies, len(materials.list))[:len(materials.list)]
	for i, m := range materials.list {
		from[i].URI, from[i].Digest = m.uri, m.digest
	}
	p.BuildDefinition.ResolvedDependencies = from
	p.BuildDefinition.ExternalParameters = request
	p.BuildDefinition.InternalParameters.BuilderPlatform = platforms.Format(platforms.Normalize(b.Host))
	p.BuildDefinition.InternalParameters.TargetPlatform = platforms.Format(platforms.Normalize(b.Target))
	if strings.HasPrefix(b.FrontEnd, "dockerfile.") {
		p.BuildDefinition.InternalParameters.DockerfileVersion = version.Version()
	}
	complete := len(materials.locals) == 0
	meta := &types.ProvenanceMetadataSLSA1{Hermetic: complete && !materials.network}
	meta.Completeness = types.BuildKitComplete{Request: b.FrontEnd != "", ResolvedDependencies: complete}
	if len(vcs) > 0 {
		meta.BuildKitMetadata.VCS = vcs
	}
	if !timeless {
		meta.InvocationID, meta.StartedOn, meta.FinishedOn = b.ID, &b.Started, &b.Ended
	}
	for key, target := range map[string]*bool{"reproducible": &meta.Reproducible} {
		if value, ok := attrs[key]; ok {
			if *target, err = strconv.ParseBool(value); err != nil {
				return nil, invalid("failed to parse %s flag %q", key, value)
			}
		}
	}
	if must, _ := strconv.ParseBool(attrs["complete-materials"]); must && !complete {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("provenance materials are incomplete: the build used folders of the client: " + strings.Join(materials.locals, ", "))
	}
	p.RunDetails.Metadata = meta
	p.RunDetails.Builder.ID = attrs["builder-id"]
	switch mode := attrs["mode"]; mode {
	case "min":
		if scrub(&p.BuildDefinition.ExternalParameters.Request) {
			meta.Completeness.Request = false
		}
	case "", "max", "full":
		b.definition(p)
	default:
		return nil, invalid("invalid mode %q", mode)
	}
	return p, nil
}

// scrub leaves out what may be secret, or is nobody's business, and tells whether there was something.
func scrub(request *types.Parameters) (incomplete bool) {
	for key := range request.Args {
		if strings.HasPrefix(key, "build-arg:") || strings.HasPrefix(key, "label:") {
			delete(request.Args, key)
			incomplete = true
		}
	}
	request.Secrets, request.SSH = nil, nil
	return incomplete
}

// Options that say nothing of what is built, but of where and how.
var hostOptions = map[string]bool{"no-cache": true, "cgroup-parent": true, "image-resolve-mode": true, "platform": true, "cache-imports": true}

// request is what the client has asked for.
func (b *Build) request(m *materials) (out types.ProvenanceExternalParametersSLSA1, vcs map[string]string) {
	args := map[string]string{}
	vcs = map[string]string{}
	contextKey := "context"
	if key := b.Options["contextkey"]; key != "" {
		contextKey = key
	} else if b.Options["input:context"] != "" {
		contextKey = "input:context"
	}
	for key, value := range b.Options {
		if hostOptions[key] || strings.HasPrefix(key, optionPrefix) || strings.HasPrefix(key, argPrefix) || strings.HasPrefix(key, "run:") {
			continue
		}
		if name, ok := strings.CutPrefix(key, "vcs:"); ok {
			if value != "" {
				vcs[name] = urlutil.RedactCredentials(value)
			}
			continue
		}
		if key == contextKey || strings.HasPrefix(key, "context:") {
			value = urlutil.RedactCredentials(value)
		}
		args[key] = value
	}
	out.ConfigSource.Path = args["filename"]
	delete(args, "filename")
	if uri := args[contextKey]; uri != "" {
		out.ConfigSource.URI = uri
		for _, known := range m.list {
			if strings.HasPrefix(uri, known.uri) {
				out.ConfigSource.URI, out.ConfigSource.Digest = known.uri, maps.Clone(known.digest)
			}
		}
		delete(args, contextKey)
	}
	if len(args) == 0 {
		args = nil
	}
	out.Request = types.Parameters{Frontend: b.FrontEnd, Args: args, Secrets: m.secrets, SSH: m.ssh}
	for _, name := range m.locals {
		out.Request.Locals = append(out.Request.Locals, &types.LocalSource{Name: name})
	}
	return out, vcs
}

// definition adds the steps themselves.
func (b *Build) definition(p *types.ProvenancePredicateSLSA1) {
	at := map[digest.Digest]string{}
	for i, s := range b.Steps {
		at[s.Digest] = fmt.Sprintf("step%d", i)
	}
	config := &types.BuildConfig{DigestMapping: at}
	for i, s := range b.Steps {
		op := s.Op.CloneVT()
		if source := op.GetSource(); source != nil {
			delete(source.Attrs, "local.session")
			delete(source.Attrs, "local.unique")
			source.Identifier = urlutil.RedactCredentials(source.Identifier)
			if uri := source.Attrs["git.fullurl"]; uri != "" {
				source.Attrs["git.fullurl"] = urlutil.RedactCredentials(uri)
			}
		}
		step := types.BuildStep{ID: fmt.Sprintf("step%d", i), Op: op}
		for _, in := range op.Inputs {
			step.Inputs = append(step.Inputs, fmt.Sprintf("%s:%d", at[digest.Digest(in.Digest)], in.Index))
		}
		op.Inputs = nil
		config.Definition = append(config.Definition, step)
	}
	p.BuildDefinition.InternalParameters.BuildConfig = config
	if b.Source == nil || len(b.Source.Infos) == 0 {
		return
	}
	source := &types.Source{Locations: map[string]*pb.Locations{}}
	for _, info := range b.Source.Infos {
		source.Infos = append(source.Infos, types.SourceInfo{Filename: info.Filename, Language: info.Language, Data: info.Data})
	}
	for d, where := range b.Source.Locations {
		if step, ok := at[digest.Digest(d)]; ok {
			source.Locations[step] = where
		}
	}
	p.RunDetails.Metadata.BuildKitMetadata.Source = source
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}
