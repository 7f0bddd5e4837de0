package engine

import (
	"time"

	"github.com/cove-containers/cove/api"
)

// ListOptions picks containers.
type ListOptions struct {
	// All lists the ones that do not run too.
	All bool
	// Size finds out how much each has written.
	Size bool
	// Limit, when positive, is the number of containers made last, running or not.
	Limit   int
	Filters api.Filters
}

// EventsOptions picks events.
type EventsOptions struct {
	Since, Until time.Time
	Filters      api.Filters
	// Open is called once, when nothing that happens from now on can be missed, and before the first event is given.
	Open func() error
}

// DiskUsageOptions picks what disk usage is found out for.
type DiskUsageOptions struct {
	Containers, Images, Volumes bool
	// Verbose fills in the items, not only the sums.
	Verbose bool
}
