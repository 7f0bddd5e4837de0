package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/cove-containers/cove/api"
)

func portsPath(id string) string { return "/cove/containers/" + url.PathEscape(id) + "/ports" }

// PortAdd publishes more ports of a container.
func (c *Client) PortAdd(ctx context.Context, id string, change api.PortChange) error {
	return c.post(ctx, portsPath(id), nil, change, nil)
}

// PortRemove ends the publication of ports of a container.
func (c *Client) PortRemove(ctx context.Context, id string, change api.PortChange) error {
	return c.decode(ctx, call{method: http.MethodDelete, path: portsPath(id), body: change}, nil)
}
