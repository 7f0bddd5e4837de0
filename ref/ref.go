// Package ref reads and writes image names: the grammar and the normal forms are those of Docker's
// references, without a regular expression, so that a command line can afford it.
//
//	[host[:port]/]path[:tag][@digest]
//
// A name without a host belongs to docker.io, one without a namespace there to docker.io/library.
package ref

import (
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

const (
	// DefaultHost is the registry of names that say none.
	DefaultHost = "docker.io"
	// DefaultTag is the tag of names that say neither tag nor digest, see Name.WithDefaultTag.
	DefaultTag = "latest"

	legacyHost      = "index.docker.io"
	officialPrefix  = "library/"
	maxPath, maxTag = 255, 128
)

// Name is an image name in its normal form: Host and Path are always set, Tag and Digest may be empty.
type Name struct {
	Host, Path, Tag string
	Digest          digest.Digest
}

// Parse reads a name as a user writes it ("alpine", "R:5000/x:1@sha256:…") into its normal form. It adds no
// tag. Errors are errdefs.ErrInvalidArgument and begin with "invalid", in Docker's words.
func Parse(s string) (Name, error) {
	if IsHexID(s) {
		return Name{}, invalid("invalid repository name (%s), cannot specify 64-byte hexadecimal strings", s)
	}
	n := Name{}
	n.Host, n.Path = splitHost(s)
	repository, _, _ := strings.Cut(n.Path, ":")
	if strings.ToLower(repository) != repository {
		return Name{}, invalid("invalid reference format: repository name (%s) must be lowercase", repository)
	}
	var tagged, digested bool
	var sum string
	n.Path, sum, digested = strings.Cut(n.Path, "@")
	n.Path, n.Tag, tagged = strings.Cut(n.Path, ":")
	if !validHost(n.Host) || !validPath(n.Path) || tagged && !ValidTag(n.Tag) || digested && !looksLikeDigest(sum) {
		return Name{}, invalid("invalid reference format")
	}
	if len(n.Path) > maxPath {
		return Name{}, invalid("invalid reference format: repository name must not be more than %d characters", maxPath)
	}
	if digested {
		d, err := digest.Parse(sum)
		if err != nil {
			return Name{}, invalid("invalid reference format: %v", err)
		}
		n.Digest = d
	}
	return n, nil
}

// ParseTagged is Parse followed by WithDefaultTag.
func ParseTagged(s string) (Name, error) {
	n, err := Parse(s)
	return n.WithDefaultTag(), err
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// splitHost decides whether what stands before the first slash is a registry, and puts familiar names into
// their full form.
func splitHost(s string) (host, rest string) {
	first, after, slash := strings.Cut(s, "/")
	switch {
	case !slash:
		return DefaultHost, officialPrefix + s
	case first == legacyHost:
		host, rest = DefaultHost, after
	case first == "localhost", strings.ContainsAny(first, ".:"), strings.ToLower(first) != first:
		host, rest = first, after
	default:
		host, rest = DefaultHost, s
	}
	if host == DefaultHost && !strings.ContainsRune(rest, '/') {
		rest = officialPrefix + rest
	}
	return host, rest
}

// WithDefaultTag adds the tag "latest" to a name that has neither tag nor digest.
func (n Name) WithDefaultTag() Name {
	if n.Tag == "" && n.Digest == "" {
		n.Tag = DefaultTag
	}
	return n
}

// WithTag returns the repository of n with another tag and no digest.
func (n Name) WithTag(tag string) (Name, error) {
	if !ValidTag(tag) {
		return Name{}, invalid("invalid tag format")
	}
	return Name{Host: n.Host, Path: n.Path, Tag: tag}, nil
}

// WithDigest returns the repository of n with digest d and no tag.
func (n Name) WithDigest(d digest.Digest) Name { return Name{Host: n.Host, Path: n.Path, Digest: d} }

// Repository is the full repository without tag and digest: "docker.io/library/alpine".
func (n Name) Repository() string { return n.Host + "/" + n.Path }

// String is the full form: "docker.io/library/alpine:3.20".
func (n Name) String() string { return n.Repository() + n.suffix() }

// FamiliarRepository is the repository as users know it: "alpine", "R:5000/x".
func (n Name) FamiliarRepository() string {
	if n.Host != DefaultHost {
		return n.Repository()
	}
	if short, ok := strings.CutPrefix(n.Path, officialPrefix); ok && !strings.ContainsRune(short, '/') {
		return short
	}
	return n.Path
}

// Familiar is the shortest form that Parse reads back: "alpine:3.20".
func (n Name) Familiar() string { return n.FamiliarRepository() + n.suffix() }

func (n Name) suffix() string {
	s := ""
	if n.Tag != "" {
		s = ":" + n.Tag
	}
	if n.Digest != "" {
		s += "@" + n.Digest.String()
	}
	return s
}
