package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/volume"
)

// VolumeCreate makes a volume; one of that name that exists already is given back.
func (c *Client) VolumeCreate(ctx context.Context, request volume.CreateRequest) (v volume.Volume, err error) {
	err = c.post(ctx, "/volumes/create", nil, request, &v)
	return v, err
}

// VolumeList gives the volumes that match.
func (c *Client) VolumeList(ctx context.Context, f api.Filters) (list volume.ListResponse, err error) {
	err = c.get(ctx, "/volumes", filterQuery(f), &list)
	return list, err
}

// VolumeInspect describes a volume, decoded and as it came.
func (c *Client) VolumeInspect(ctx context.Context, name string) (v volume.Volume, raw []byte, err error) {
	if raw, err = c.raw(ctx, "/volumes/"+url.PathEscape(name), nil); err == nil {
		err = json.Unmarshal(raw, &v)
	}
	return v, raw, err
}

// VolumeRemove removes a volume; with force one that does not exist is no error.
func (c *Client) VolumeRemove(ctx context.Context, name string, force bool) error {
	query := url.Values{}
	setTrue(query, "force", force)
	return c.decode(ctx, call{method: http.MethodDelete, path: "/volumes/" + url.PathEscape(name), query: query}, nil)
}

// VolumesPrune removes the unused volumes that match.
func (c *Client) VolumesPrune(ctx context.Context, f api.Filters) (report volume.PruneReport, err error) {
	err = c.post(ctx, "/volumes/prune", filterQuery(f), nil, &report)
	return report, err
}
