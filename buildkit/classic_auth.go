package buildkit

import (
	"context"
	"encoding/base64"
	"strings"

	"github.com/moby/buildkit/session/auth"
	"github.com/moby/moby/api/types/registry"
	"google.golang.org/grpc"
)

// credentials are those that came with a request of the classic API, by registry.
type credentials map[string]registry.AuthConfig

func (c credentials) register(s *grpc.Server) { auth.RegisterAuthServer(s, authServer{of: c}) }

// authServer answers as a client's session would that knows these credentials. Tokens it leaves to the daemon.
type authServer struct {
	auth.UnimplementedAuthServer
	of credentials
}

// Credentials gives what is known for a registry; nothing is an answer too.
func (s authServer) Credentials(_ context.Context, r *auth.CredentialsRequest) (*auth.CredentialsResponse, error) {
	known := s.of.find(r.Host)
	answer := &auth.CredentialsResponse{Username: known.Username, Secret: known.Password}
	if answer.Username == "" && known.Auth != "" {
		if text, err := base64.StdEncoding.DecodeString(known.Auth); err == nil {
			answer.Username, answer.Secret, _ = strings.Cut(string(text), ":")
		}
	}
	if known.IdentityToken != "" { // an empty name is how the protocol says that the secret is a token
		answer.Username, answer.Secret = "", known.IdentityToken
	}
	return answer, nil
}

// find compares registries as configuration files write them: with or without a scheme and a path, and Docker Hub by
// any of its names.
func (c credentials) find(host string) registry.AuthConfig {
	if known, ok := c[host]; ok {
		return known
	}
	for name, known := range c {
		if plainHost(name) == plainHost(host) {
			return known
		}
	}
	return registry.AuthConfig{}
}

func plainHost(name string) string {
	name = strings.TrimPrefix(strings.TrimPrefix(name, "https://"), "http://")
	name, _, _ = strings.Cut(name, "/")
	switch name {
	case "index.docker.io", "registry-1.docker.io":
		return "docker.io"
	}
	return name
}
