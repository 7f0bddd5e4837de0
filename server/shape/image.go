package shape

import (
	"time"

	it "github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/storage"

	"github.com/cove-containers/cove/api"
)

// InspectImage gives an image the shape that version v has for it.
func InspectImage(v Version, found it.InspectResponse) (any, error) {
	found.RepoTags, found.RepoDigests = List(found.RepoTags), List(found.RepoDigests)
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
		found.GraphDriver = &storage.DriverData{Name: api.StorageDriver}
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
		extra["ContainerConfig"] = oldImageConfig(v) // that of the container it was committed from, which nobody knows any more
	}
	if v < 1044 {
		extra["VirtualSize"] = found.Size
		if found.Created == "" {
			found.Created = time.Time{}.Format(time.RFC3339Nano)
		}
	}
	return With(found, extra)
}

// oldImageConfig are the fields of an image's configuration that were shown even when empty; before API 1.50 also
// those that only a container can have.
func oldImageConfig(v Version) map[string]any {
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

// ListedImage is an image in a list; VirtualSize was there before API 1.44.
type ListedImage struct {
	it.Summary
	VirtualSize *int64 `json:"VirtualSize,omitempty"`
}

// ListImage gives an image in a list the shape that version v has for it.
func ListImage(v Version, summary it.Summary) ListedImage {
	if v < 1043 && len(summary.RepoTags) == 0 && len(summary.RepoDigests) == 0 {
		summary.RepoTags = []string{"<none>:<none>"}
		summary.RepoDigests = []string{"<none>@<none>"}
	}
	summary.RepoTags, summary.RepoDigests = List(summary.RepoTags), List(summary.RepoDigests)
	if v < 1048 {
		summary.Descriptor = nil
	}
	listed := ListedImage{Summary: summary}
	if v < 1044 {
		listed.VirtualSize = &listed.Size
	}
	return listed
}
