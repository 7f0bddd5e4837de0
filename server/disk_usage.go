package server

import (
	"fmt"
	"net/http"
	"strconv"

	st "github.com/moby/moby/api/types/system"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/server/shape"
)

// diskUsage answers in the old shape, lists beside one another, in the new one, sums with optional lists, or for
// clients of API 1.52 that do not say, in both.
func (s *Server) diskUsage(c *call) error {
	o, buildCache, err := usageOf(c)
	if err != nil {
		return err
	}
	old := !c.since(53)
	if raw := c.query.get("verbose"); raw != "" && c.since(52) {
		if o.Verbose, err = strconv.ParseBool(raw); err != nil {
			return bad("invalid value for verbose: " + raw)
		}
		old = false
	}
	verbose := o.Verbose
	o.Verbose = o.Verbose || old
	found, err := s.Housekeeping.DiskUsage(c.Context(), o)
	if err != nil {
		return err
	}
	found.BuildCacheUsage = nil
	if buildCache {
		records, err := s.Builds.BuildUsage(c.Context())
		if err != nil {
			return err
		}
		found.BuildCacheUsage = cacheUsage(records, o.Verbose)
	}
	return c.json(http.StatusOK, shape.DiskUsage(c.version, found, old, verbose))
}

// usageOf reads which kinds of object are asked for: all, unless some are named.
func usageOf(c *call) (o api.UsageOptions, buildCache bool, err error) {
	kinds := c.query["type"]
	if !c.since(42) || len(kinds) == 0 {
		return api.UsageOptions{Containers: true, Images: true, Volumes: true}, true, nil
	}
	for _, kind := range kinds {
		switch st.DiskUsageObject(kind) {
		case st.ContainerObject:
			o.Containers = true
		case st.ImageObject:
			o.Images = true
		case st.VolumeObject:
			o.Volumes = true
		case st.BuildCacheObject:
			buildCache = true
		default:
			return o, false, bad(fmt.Sprintf("unknown object type: %s", kind))
		}
	}
	return o, buildCache, nil
}
