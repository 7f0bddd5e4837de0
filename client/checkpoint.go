package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/checkpoint"
)

// CheckpointCreate keeps the state of a container that runs.
func (c *Client) CheckpointCreate(ctx context.Context, id string, request checkpoint.CreateRequest) error {
	return c.post(ctx, checkpointsPath(id), nil, request, nil)
}

// CheckpointList gives a container's checkpoints; dir is the folder they are in, empty for the daemon's own.
func (c *Client) CheckpointList(ctx context.Context, id, dir string) (list []checkpoint.Summary, err error) {
	query := url.Values{}
	setIf(query, "dir", dir)
	err = c.get(ctx, checkpointsPath(id), query, &list)
	return list, err
}

// CheckpointRemove removes one of a container's checkpoints.
func (c *Client) CheckpointRemove(ctx context.Context, id, name, dir string) error {
	query := url.Values{}
	setIf(query, "dir", dir)
	return c.decode(ctx, call{method: http.MethodDelete, path: checkpointsPath(id) + "/" + url.PathEscape(name), query: query}, nil)
}

func checkpointsPath(id string) string { return "/containers/" + url.PathEscape(id) + "/checkpoints" }
