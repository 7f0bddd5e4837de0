package server

import (
	"net/http"

	it "github.com/moby/moby/api/types/image"

	"github.com/cove-containers/cove/image"
)

func (s *Server) imageList(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	if name := c.query.get("filter"); name != "" && !c.since(41) {
		filters.Add("reference", name)
	}
	if c.since(54) && c.query.bool("identity") && !c.query.bool("manifests") {
		return bad("conflicting options: identity requires manifests=1")
	}
	found, err := s.Images.List(c.Context(), image.ListOptions{
		All:        c.query.bool("all"),
		Filters:    filters,
		SharedSize: c.since(42) && c.query.bool("shared-size"),
		Manifests:  c.since(47) && c.query.bool("manifests"),
	})
	if err != nil {
		return err
	}
	answer := make([]listedImage, len(found))
	for i, summary := range found {
		if !c.since(51) {
			summary.Containers = -1 // was only counted for disk usage
		}
		answer[i] = listImage(c.version, summary)
	}
	return c.json(http.StatusOK, answer)
}

// listedImage is an image in a list; VirtualSize was there before API 1.44.
type listedImage struct {
	it.Summary
	VirtualSize *int64 `json:"VirtualSize,omitempty"`
}

func listImage(v version, summary it.Summary) listedImage {
	if v < 1043 && len(summary.RepoTags) == 0 && len(summary.RepoDigests) == 0 {
		summary.RepoTags = []string{"<none>:<none>"}
		summary.RepoDigests = []string{"<none>@<none>"}
	}
	summary.RepoTags, summary.RepoDigests = list(summary.RepoTags), list(summary.RepoDigests)
	if v < 1048 {
		summary.Descriptor = nil
	}
	listed := listedImage{Summary: summary}
	if v < 1044 {
		listed.VirtualSize = &listed.Size
	}
	return listed
}
