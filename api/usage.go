package api

// UsageOptions pick what disk usage is found out for.
type UsageOptions struct {
	Containers, Images, Volumes bool
	// Verbose fills in the items, not only the sums.
	Verbose bool
}
