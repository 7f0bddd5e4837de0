package attest

import (
	"cmp"
	"net/url"
	"slices"
	"strings"

	"github.com/moby/buildkit/solver/llbsolver/provenance/types"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/purl"
	"github.com/moby/buildkit/util/urlutil"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/package-url/packageurl-go"

	"github.com/cove-containers/cove/ref"
)

// material is one thing that a build was made of.
type material struct {
	uri    string
	digest map[string]string
}

// materials are what a build was made of.
type materials struct {
	list    []material
	locals  []string
	secrets []*types.Secret
	ssh     []*types.SSH
	network bool
}

// materials looks for sources among the steps.
func (b *Build) materials() (*materials, error) {
	m := &materials{}
	for _, s := range b.Steps {
		switch op := s.Op.GetOp().(type) {
		case *pb.Op_Source:
			if err := m.source(op.Source, s); err != nil {
				return nil, err
			}
		case *pb.Op_Exec:
			m.exec(op.Exec)
		}
	}
	slices.SortFunc(m.list, func(a, b material) int { return cmp.Compare(a.uri, b.uri) })
	m.list = slices.CompactFunc(m.list, func(a, b material) bool { return a.uri == b.uri })
	slices.Sort(m.locals)
	m.locals = slices.Compact(m.locals)
	slices.SortFunc(m.secrets, func(a, b *types.Secret) int { return cmp.Compare(a.ID, b.ID) })
	m.secrets = slices.CompactFunc(m.secrets, func(a, b *types.Secret) bool { return a.ID == b.ID })
	slices.SortFunc(m.ssh, func(a, b *types.SSH) int { return cmp.Compare(a.ID, b.ID) })
	m.ssh = slices.CompactFunc(m.ssh, func(a, b *types.SSH) bool { return a.ID == b.ID })
	return m, nil
}

func (m *materials) exec(op *pb.ExecOp) {
	for _, mount := range op.Mounts {
		switch mount.MountType {
		case pb.MountType_SECRET:
			m.secrets = append(m.secrets, &types.Secret{ID: mount.SecretOpt.GetID(), Optional: mount.SecretOpt.GetOptional()})
		case pb.MountType_SSH:
			m.ssh = append(m.ssh, &types.SSH{ID: mount.SSHOpt.GetID(), Optional: mount.SSHOpt.GetOptional()})
		}
	}
	for _, s := range op.Secretenv {
		m.secrets = append(m.secrets, &types.Secret{ID: s.GetID(), Optional: s.GetOptional()})
	}
	m.network = m.network || op.Network != pb.NetMode_NONE
}

func (m *materials) add(uri string, digests map[string]string) {
	m.list = append(m.list, material{uri, digests})
}

func (m *materials) source(op *pb.SourceOp, s Step) error {
	scheme, rest, _ := strings.Cut(op.Identifier, "://")
	switch scheme {
	case "docker-image":
		return m.image(packageurl.TypeDocker, rest, s)
	case "oci-layout":
		return m.image(packageurl.TypeOCI, rest, s)
	case "local":
		m.locals = append(m.locals, rest)
	case "git":
		uri := op.Attrs["git.fullurl"]
		if uri == "" {
			uri = "https://" + rest
		}
		if _, fragment, ok := strings.Cut(rest, "#"); ok && !strings.Contains(uri, "#") {
			uri += "#" + fragment
		}
		var set map[string]string
		switch commit := s.Notes["commit"]; len(commit) {
		case 40:
			set = map[string]string{"sha1": commit}
		case 64:
			set = map[string]string{"sha256": commit}
		}
		m.add(urlutil.RedactCredentials(uri), set)
	case "http", "https":
		if u, err := url.Parse(op.Identifier); err == nil && u.Host == "buildkit-session" { // the client's own context
			m.locals = append(m.locals, "context")
			return nil
		}
		m.add(urlutil.RedactCredentials(op.Identifier), noted(s, op.Attrs["http.checksum"]))
	}
	return nil
}

// noted is the digest that a source turned out to have.
func noted(s Step, otherwise string) map[string]string {
	for _, text := range []string{s.Notes["digest"], otherwise} {
		if d, err := digest.Parse(text); err == nil {
			return digestSet(d)
		}
	}
	return nil
}

// image adds an image by what it is called, with the digest that it had.
func (m *materials) image(kind, name string, s Step) error {
	pinned := ""
	if _, d, ok := strings.Cut(name, "@"); ok {
		pinned = d
	}
	if n, err := ref.Parse(name); err == nil && n.Tag != "" {
		n.Digest = ""
		name = n.String()
	}
	var p *ocispec.Platform
	if at := s.Op.Platform; at != nil {
		p = &ocispec.Platform{OS: at.OS, Architecture: at.Architecture, Variant: at.Variant}
	}
	uri, err := purl.RefToPURL(kind, name, p)
	if err != nil {
		return err
	}
	m.add(uri, noted(s, pinned))
	return nil
}
