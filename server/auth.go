package server

import (
	"net/http"

	"github.com/moby/moby/api/types/registry"

	"github.com/cove-containers/cove/server/shape"
)

// auth checks credentials with their registry. Old clients send the body without a content type.
func (s *Server) auth(c *call) error {
	var auth registry.AuthConfig
	if err := shape.DecodeJSON(http.MaxBytesReader(c.w, c.Body, maxBody), &auth); err != nil {
		return err
	}
	token, err := s.Registry.Login(c.Context(), auth.ServerAddress, asCredentials(auth))
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, registry.AuthResponse{Status: "Login Succeeded", IdentityToken: token})
}
