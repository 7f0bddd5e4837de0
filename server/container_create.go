package server

import (
	"fmt"
	"net/http"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/server/shape"
)

func (s *Server) containerCreate(c *call) error {
	if err := checkCreateType(c); err != nil {
		return err
	}
	request, err := shape.DecodeCreate(http.MaxBytesReader(c.w, c.Body, maxBody))
	if err != nil {
		return err
	}
	warnings, err := shape.AdaptCreate(c.version, request)
	if err != nil {
		return err
	}
	var platform *ocispec.Platform
	if raw := c.query.get("platform"); raw != "" && c.since(41) {
		if platform, err = parsePlatform(raw); err != nil {
			return err
		}
	}
	answer, err := s.Lives.ContainerCreate(c.Context(), engine.CreateOptions{
		Name:       c.query.get("name"),
		Config:     request.Config,
		HostConfig: request.HostConfig,
		Networking: request.NetworkingConfig,
		Platform:   platform,
	})
	if err != nil {
		return err
	}
	answer.Warnings = append(shape.List(answer.Warnings), warnings...)
	return c.json(http.StatusCreated, answer)
}

func checkCreateType(c *call) error {
	kind := c.Header.Get("Content-Type")
	if kind == "" && c.ContentLength == 0 {
		return nil
	}
	return checkJSON(kind)
}

// parsePlatform reads a platform as users write it, linux/arm64, or as JSON.
func parsePlatform(raw string) (*ocispec.Platform, error) {
	if raw[0] == '{' {
		return decodePlatform(raw)
	}
	p, err := oci.ParsePlatform(raw)
	if err != nil {
		return nil, fmt.Errorf("read platform: %w", err)
	}
	return &p, nil
}
