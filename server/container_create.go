package server

import (
	"fmt"
	"net/http"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/oci"
)

// createBody is what clients of all ages send: the newest request, and the fields of old ones.
type createBody struct {
	ct.CreateRequest
	// Cmd and Entrypoint may be one string.
	Cmd, Entrypoint oneOrMore
	// MacAddress was the container's before it became an endpoint's.
	MacAddress nt.HardwareAddr
}

func (s *Server) containerCreate(c *call) error {
	if err := checkCreateType(c); err != nil {
		return err
	}
	request, err := decodeCreate(http.MaxBytesReader(c.w, c.Body, maxBody))
	if err != nil {
		return err
	}
	warnings, err := adaptCreate(c.version, request)
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
	answer.Warnings = append(list(answer.Warnings), warnings...)
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
