package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/network"
)

// NetworkList gives the networks that match.
func (c *Client) NetworkList(ctx context.Context, f api.Filters) (list []network.Summary, err error) {
	err = c.get(ctx, "/networks", filterQuery(f), &list)
	return list, err
}

// NetworkInspect describes a network, decoded and as it came.
func (c *Client) NetworkInspect(ctx context.Context, name string, verbose bool) (n network.Inspect, raw []byte, err error) {
	query := url.Values{}
	setTrue(query, "verbose", verbose)
	if raw, err = c.raw(ctx, "/networks/"+url.PathEscape(name), query); err == nil {
		err = json.Unmarshal(raw, &n)
	}
	return n, raw, err
}

// NetworkCreate makes a network.
func (c *Client) NetworkCreate(ctx context.Context, r network.CreateRequest) (made network.CreateResponse, err error) {
	err = c.post(ctx, "/networks/create", nil, r, &made)
	return made, err
}

// NetworkRemove removes a network.
func (c *Client) NetworkRemove(ctx context.Context, name string) error {
	return c.decode(ctx, call{method: http.MethodDelete, path: "/networks/" + url.PathEscape(name)}, nil)
}

// NetworkConnect puts a container on a network.
func (c *Client) NetworkConnect(ctx context.Context, name string, r network.ConnectRequest) error {
	return c.post(ctx, "/networks/"+url.PathEscape(name)+"/connect", nil, r, nil)
}

// NetworkDisconnect takes a container off a network.
func (c *Client) NetworkDisconnect(ctx context.Context, name string, r network.DisconnectRequest) error {
	return c.post(ctx, "/networks/"+url.PathEscape(name)+"/disconnect", nil, r, nil)
}

// NetworksPrune removes the unused networks that match.
func (c *Client) NetworksPrune(ctx context.Context, f api.Filters) (report network.PruneReport, err error) {
	err = c.post(ctx, "/networks/prune", filterQuery(f), nil, &report)
	return report, err
}
