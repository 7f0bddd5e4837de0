package server

import (
	"net/http"
	"time"

	it "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"
)

func (s *Server) imageInspect(c *call) error {
	manifests := c.since(48) && c.query.bool("manifests")
	platform, err := c.platform(49)
	if err != nil {
		return err
	}
	if manifests && platform != nil {
		return bad("conflicting options: manifests and platform options cannot both be set")
	}
	found, err := s.Images.Inspect(c.Context(), c.name("name"), platform, manifests)
	if err != nil {
		return err
	}
	answer, err := inspectImage(c.version, found)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, answer)
}

// inspectImage gives an image the shape that version v has for it.
func inspectImage(v version, found it.InspectResponse) (any, error) {
	found.RepoTags, found.RepoDigests = list(found.RepoTags), list(found.RepoDigests)
	if v < 1048 {
		found.Descriptor = nil
	}
	if v < 1053 {
		found.Identity = nil
	}
	if v >= 1052 {
		return found, nil
	}
	if found.GraphDriver == nil {
		found.GraphDriver = &storage.DriverData{Name: "overlayfs"}
	}
	extra := map[string]any{
		"Parent":        "",
		"Comment":       "",
		"DockerVersion": "",
		"Author":        "",
		"Config":        oldImageConfig(v),
	}
	if v < 1045 {
		extra["Container"] = ""
		extra["ContainerConfig"] = nil
	}
	if v < 1044 {
		extra["VirtualSize"] = found.Size
		if found.Created == "" {
			found.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	return with(found, extra)
}

// oldImageConfig are the fields of an image's configuration that were shown even when empty; before API 1.50 also
// those that only a container can have.
func oldImageConfig(v version) map[string]any {
	fields := map[string]any{
		"Cmd":        nil,
		"Entrypoint": nil,
		"Env":        nil,
		"Labels":     nil,
		"OnBuild":    nil,
		"User":       "",
		"Volumes":    nil,
		"WorkingDir": "",
	}
	if v >= 1050 {
		return fields
	}
	for _, name := range []string{"AttachStderr", "AttachStdin", "AttachStdout", "OpenStdin", "StdinOnce", "Tty"} {
		fields[name] = false
	}
	for _, name := range []string{"Domainname", "Hostname", "Image"} {
		fields[name] = ""
	}
	return fields
}
