package server

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/api/types/build"

	"github.com/cove-containers/cove/api"
)

// cacheFields are what a record of the build cache can be picked by.
var cacheFields = []string{"id", "parent", "type", "description", "inuse", "shared", "private"}

// buildPrune removes what builds have left for the next ones.
func (s *Server) buildPrune(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	o := api.BuildPruneOptions{All: c.query.bool("all")}
	for name, to := range map[string]*int64{
		"keep-storage": &o.ReservedSpace, "reserved-space": &o.ReservedSpace, "max-used-space": &o.MaxUsedSpace, "min-free-space": &o.MinFreeSpace,
	} {
		raw := c.query.get(name)
		if err := c.query.int64(name, to); err != nil {
			return bad(fmt.Sprintf("%s is in bytes and expects an integer, got %s", name, raw))
		}
	}
	if filters.Has("label") { // which no record has
		return c.json(http.StatusOK, build.CachePruneReport{})
	}
	if o.Filters, o.Unused, err = cacheFilters(filters); err != nil {
		return err
	}
	report, err := s.Builds.PruneBuilds(c.Context(), o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, report)
}

// cacheFilters puts filters into the words of BuildKit's cache: one expression, all of whose parts must be true.
func cacheFilters(filters api.Filters) (expressions []string, unused int64, err error) {
	if err := filters.Check(append([]string{"until", "unused-for"}, cacheFields...)...); err != nil {
		return nil, 0, err
	}
	if filters.Has("until") && filters.Has("unused-for") {
		return nil, 0, bad(`conflicting filters: cannot use both "until" and "unused-for"`)
	}
	for _, name := range []string{"until", "unused-for"} {
		switch values := filters.Get(name); len(values) {
		case 0:
		case 1:
			age, err := time.ParseDuration(values[0])
			if err != nil {
				return nil, 0, bad(fmt.Sprintf("%q filter expects a duration (e.g., '24h'): %v", name, err))
			}
			unused = int64(age)
		default:
			return nil, 0, bad("filters expect only one value")
		}
	}
	var parts []string
	for _, field := range cacheFields {
		values := filters.Get(field)
		switch {
		case len(values) == 0:
		case len(values) > 1:
			return nil, 0, bad("filters expect only one value")
		case field == "id":
			parts = append(parts, field+"~="+values[0])
		case values[0] == "":
			parts = append(parts, field)
		default:
			parts = append(parts, field+"=="+values[0])
		}
	}
	if len(parts) > 0 {
		expressions = []string{strings.Join(parts, ",")}
	}
	return expressions, unused, nil
}

// cacheUsage sums up what builds have left. What images have too is counted with these.
func cacheUsage(records []build.CacheRecord, verbose bool) *build.DiskUsage {
	sum := &build.DiskUsage{TotalCount: int64(len(records))}
	for _, r := range records {
		if r.InUse {
			sum.ActiveCount++
		}
		if r.Shared {
			continue
		}
		sum.TotalSize += r.Size
		if !r.InUse {
			sum.Reclaimable += r.Size
		}
	}
	if verbose {
		sum.Items = records
	}
	return sum
}
