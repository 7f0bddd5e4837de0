package buildkit

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ResolveImageConfig finds the configuration of an image in its registry, or in a layout at the client.
func (s *bridgeServer) ResolveImageConfig(ctx context.Context, r *gateway.ResolveImageConfigRequest) (*gateway.ResolveImageConfigResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	o := sourceresolver.Opt{LogName: r.LogName, SourcePolicies: r.SourcePolicies}
	if sourceresolver.ResolverType(r.ResolverType) == sourceresolver.ResolverTypeOCILayout {
		o.OCILayoutOpt = &sourceresolver.ResolveOCILayoutOpt{
			Platform: platformOf(r.Platform),
			Store:    sourceresolver.ResolveImageConfigOptStore{SessionID: r.SessionID, StoreID: r.StoreID},
		}
	} else {
		o.ImageOpt = &sourceresolver.ResolveImageOpt{Platform: platformOf(r.Platform), ResolveMode: r.ResolveMode}
	}
	ref, dgst, config, err := b.client.ResolveImageConfig(ctx, r.Ref, o)
	if err != nil {
		return nil, err
	}
	return &gateway.ResolveImageConfigResponse{Ref: ref, Digest: dgst.String(), Config: config}, nil
}

// ResolveSourceMeta finds what a source is now: the digest behind a tag, the commit behind a branch, the checksum of a file.
func (s *bridgeServer) ResolveSourceMeta(ctx context.Context, r *gateway.ResolveSourceMetaRequest) (*gateway.ResolveSourceMetaResponse, error) {
	b, err := s.build(ctx)
	if err != nil {
		return nil, err
	}
	if r.Source == nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("source is required")
	}
	platform := platformOf(r.Platform)
	o := sourceresolver.Opt{
		LogName: r.LogName, SourcePolicies: r.SourcePolicies,
		ImageOpt:     &sourceresolver.ResolveImageOpt{Platform: platform, ResolveMode: r.ResolveMode},
		OCILayoutOpt: &sourceresolver.ResolveOCILayoutOpt{Platform: platform},
	}
	if i := r.Image; i != nil {
		o.ImageOpt.NoConfig, o.ImageOpt.AttestationChain, o.ImageOpt.ResolveAttestations = i.NoConfig, i.AttestationChain, i.ResolveAttestations
	}
	if r.Git != nil {
		o.GitOpt = &sourceresolver.ResolveGitOpt{ReturnObject: r.Git.ReturnObject}
	}
	if sum := r.HTTP.GetChecksumRequest(); sum != nil {
		// Both sides count the algorithms alike.
		o.HTTPOpt = &sourceresolver.ResolveHTTPOpt{ChecksumReq: &sourceresolver.ResolveHTTPChecksumRequest{
			Algo: sourceresolver.ResolveHTTPChecksumAlgo(sum.Algo), Suffix: sum.Suffix,
		}}
	}
	found, err := b.client.ResolveSourceMetadata(ctx, r.Source, o)
	if err != nil {
		return nil, err
	}
	return tellSource(found), nil
}

func tellSource(found *sourceresolver.MetaResponse) *gateway.ResolveSourceMetaResponse {
	answer := &gateway.ResolveSourceMetaResponse{Source: found.Op}
	if i := found.Image; i != nil {
		answer.Image = &gateway.ResolveSourceImageResponse{
			Digest: i.Digest.String(), Config: i.Config, AttestationChain: tellChain(i.AttestationChain),
		}
	}
	if g := found.Git; g != nil {
		answer.Git = &gateway.ResolveSourceGitResponse{
			Checksum: g.Checksum, Ref: g.Ref, CommitChecksum: g.CommitChecksum, CommitObject: g.CommitObject, TagObject: g.TagObject,
		}
	}
	if h := found.HTTP; h != nil {
		answer.HTTP = &gateway.ResolveSourceHTTPResponse{Checksum: h.Digest.String(), Filename: h.Filename}
		if h.LastModified != nil {
			answer.HTTP.LastModified = timestamppb.New(*h.LastModified)
		}
		if sum := h.ChecksumResponse; sum != nil {
			answer.HTTP.ChecksumResponse = &gateway.ChecksumResponse{Digest: sum.Digest, Suffix: sum.Suffix}
		}
	}
	return answer
}

func tellChain(chain *sourceresolver.AttestationChain) *gateway.AttestationChain {
	if chain == nil {
		return nil
	}
	told := &gateway.AttestationChain{
		Root: chain.Root.String(), ImageManifest: chain.ImageManifest.String(), AttestationManifest: chain.AttestationManifest.String(),
		Blobs: map[string]*gateway.Blob{},
	}
	for _, m := range chain.SignatureManifests {
		told.SignatureManifests = append(told.SignatureManifests, m.String())
	}
	for dgst, blob := range chain.Blobs {
		told.Blobs[dgst.String()] = &gateway.Blob{Data: blob.Data, Descriptor_: &gateway.Descriptor{
			MediaType: blob.Descriptor.MediaType, Digest: blob.Descriptor.Digest.String(), Size: blob.Descriptor.Size, Annotations: blob.Descriptor.Annotations,
		}}
	}
	return told
}

func platformOf(p *pb.Platform) *ocispec.Platform {
	if p == nil {
		return nil
	}
	return &ocispec.Platform{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, OSVersion: p.OSVersion, OSFeatures: p.OSFeatures}
}
