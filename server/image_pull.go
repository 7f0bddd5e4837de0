package server

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/registry"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// imageCreate pulls an image, or imports one.
func (s *Server) imageCreate(c *call) error {
	from := c.query.get("fromImage")
	if from == "" {
		return s.imageImport(c, c.query.get("fromSrc"))
	}
	name, all, err := pulledName(from, c.query.get("tag"))
	if err != nil {
		return err
	}
	var platform *ocispec.Platform
	if raw := c.query.get("platform"); raw != "" && c.since(32) {
		if platform, err = parsePlatform(raw); err != nil {
			return err
		}
	}
	out := &progress{c: c}
	_, err = s.Transfers.Pull(c.Context(), name, image.PullOptions{
		Platform:    platform,
		Credentials: credentials(c.Header),
		AllTags:     all,
		Progress:    out.send,
	})
	return out.end(err)
}

// pulledName puts together what clients send apart: a repository, which may already have a tag or digest, and a tag,
// which may be a digest. Neither means all tags.
func pulledName(from, tag string) (name string, all bool, err error) {
	parsed, err := ref.Parse(strings.TrimSuffix(from, ":"))
	if err != nil {
		return "", false, err
	}
	if tag != "" {
		if d, err := digest.Parse(tag); err == nil {
			parsed = parsed.WithDigest(d)
		} else if parsed, err = parsed.WithTag(tag); err != nil {
			return "", false, err
		}
	}
	if parsed.FamiliarRepository() == "scratch" {
		return "", false, errdefs.ErrPermissionDenied.WithMessage("'scratch' is a reserved name")
	}
	return parsed.String(), parsed.Tag == "" && parsed.Digest == "", nil
}

// credentials reads the header X-Registry-Auth: JSON in base64url, padded or not. What cannot be read counts as
// nothing given: old clients send all sorts of things where they mean that.
func credentials(header http.Header) remote.Credentials {
	auth := decodeAuth(header.Get(registry.AuthHeader))
	return asCredentials(auth)
}

func decodeAuth(raw string) (auth registry.AuthConfig) {
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(raw, "+/") {
		encoding = base64.RawStdEncoding
	}
	text, err := encoding.DecodeString(strings.TrimRight(raw, "="))
	if err != nil || json.Unmarshal(text, &auth) != nil {
		return registry.AuthConfig{}
	}
	return auth
}

// asCredentials also reads the combined form "user:password" in base64 of old configuration files.
func asCredentials(auth registry.AuthConfig) remote.Credentials {
	cred := remote.Credentials{
		Username:      auth.Username,
		Password:      auth.Password,
		IdentityToken: auth.IdentityToken,
		RegistryToken: auth.RegistryToken,
	}
	if cred.Username == "" && auth.Auth != "" {
		if text, err := base64.StdEncoding.DecodeString(auth.Auth); err == nil {
			user, password, _ := strings.Cut(string(text), ":")
			cred.Username, cred.Password = user, strings.TrimRight(password, "\x00")
		}
	}
	return cred
}
