package client

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/registry"
)

// SearchOptions narrow a search down; Auth is the encoded X-Registry-Auth header, a Limit of 0 the daemon's own.
type SearchOptions struct {
	Limit   int
	Filters api.Filters
	Auth    string
}

// ImageSearch has the daemon ask a registry for repositories.
func (c *Client) ImageSearch(ctx context.Context, term string, o SearchOptions) (list []registry.SearchResult, err error) {
	query := filterQuery(o.Filters)
	if query == nil {
		query = url.Values{}
	}
	query.Set("term", term)
	if o.Limit != 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	request := call{path: "/images/search", query: query}
	if o.Auth != "" {
		request.header = http.Header{registry.AuthHeader: {o.Auth}}
	}
	err = c.decode(ctx, request, &list)
	return list, err
}
