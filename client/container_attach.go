package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"
)

// AttachOptions choose the streams of a container to be attached to.
type AttachOptions struct {
	Stdin, Stdout, Stderr, Logs bool
	DetachKeys                  string
}

// ContainerAttach takes over the chosen streams of a container. It returns when the daemon has registered the
// attachment, which may be before the container starts.
func (c *Client) ContainerAttach(ctx context.Context, id string, o AttachOptions) (*Stream, error) {
	query := url.Values{"stream": {"1"}}
	setTrue(query, "stdin", o.Stdin)
	setTrue(query, "stdout", o.Stdout)
	setTrue(query, "stderr", o.Stderr)
	setTrue(query, "logs", o.Logs)
	setIf(query, "detachKeys", o.DetachKeys)
	return c.hijack(ctx, call{method: http.MethodPost, path: "/containers/" + url.PathEscape(id) + "/attach", query: query})
}

// ExecCreate prepares a further process in a running container and gives its id.
func (c *Client) ExecCreate(ctx context.Context, id string, request container.ExecCreateRequest) (string, error) {
	var made container.ExecCreateResponse
	err := c.post(ctx, "/containers/"+url.PathEscape(id)+"/exec", nil, request, &made)
	return made.ID, err
}

// ExecStart starts a prepared process without attaching to it.
func (c *Client) ExecStart(ctx context.Context, execID string, request container.ExecStartRequest) error {
	return c.post(ctx, "/exec/"+execID+"/start", nil, request, nil)
}

// ExecAttach starts a prepared process and takes over its streams.
func (c *Client) ExecAttach(ctx context.Context, execID string, request container.ExecStartRequest) (*Stream, error) {
	return c.hijack(ctx, call{method: http.MethodPost, path: "/exec/" + execID + "/start", body: request})
}

// ExecResize tells the terminal of a process its size.
func (c *Client) ExecResize(ctx context.Context, execID string, height, width uint) error {
	return c.post(ctx, "/exec/"+execID+"/resize", size(height, width), nil, nil)
}

// ExecInspect tells whether a process still runs and how it ended.
func (c *Client) ExecInspect(ctx context.Context, execID string) (info container.ExecInspectResponse, err error) {
	err = c.get(ctx, "/exec/"+execID+"/json", nil, &info)
	return info, err
}
