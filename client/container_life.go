package client

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
)

// CreateOptions describe the container to make.
type CreateOptions struct {
	Name       string
	Platform   string // "os/arch[/variant]", empty for the daemon's own
	Config     *container.Config
	HostConfig *container.HostConfig
	Networking *network.NetworkingConfig
}

// ContainerCreate makes a container and gives its id and the daemon's warnings.
func (c *Client) ContainerCreate(ctx context.Context, o CreateOptions) (made container.CreateResponse, err error) {
	query := url.Values{}
	setIf(query, "name", o.Name)
	setIf(query, "platform", o.Platform)
	body := container.CreateRequest{Config: o.Config, HostConfig: o.HostConfig, NetworkingConfig: o.Networking}
	err = c.post(ctx, "/containers/create", query, body, &made)
	return made, err
}

// ContainerStart starts a container; one that runs already is left as it is.
func (c *Client) ContainerStart(ctx context.Context, id string) error {
	return c.ContainerRestore(ctx, id, "", "")
}

// ContainerRestore starts a container from a checkpoint; dir is the folder that is in, empty for the daemon's own.
func (c *Client) ContainerRestore(ctx context.Context, id, checkpoint, dir string) error {
	query := url.Values{}
	setIf(query, "checkpoint", checkpoint)
	setIf(query, "checkpoint-dir", dir)
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/start", query, nil, nil)
}

// StopOptions tell how a container is to be stopped: empty values leave it to the container's settings.
type StopOptions struct {
	Signal  string
	Timeout *int
}

func (o StopOptions) query() url.Values {
	query := url.Values{}
	setIf(query, "signal", o.Signal)
	if o.Timeout != nil {
		query.Set("t", strconv.Itoa(*o.Timeout))
	}
	return query
}

// ContainerStop stops a container and answers when it has ended.
func (c *Client) ContainerStop(ctx context.Context, id string, o StopOptions) error {
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/stop", o.query(), nil, nil)
}

// ContainerRestart stops a container and starts it again.
func (c *Client) ContainerRestart(ctx context.Context, id string, o StopOptions) error {
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/restart", o.query(), nil, nil)
}

// ContainerKill sends a signal; an empty one is KILL.
func (c *Client) ContainerKill(ctx context.Context, id, signal string) error {
	query := url.Values{}
	setIf(query, "signal", signal)
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/kill", query, nil, nil)
}

// ContainerPause freezes every process of a container.
func (c *Client) ContainerPause(ctx context.Context, id string) error {
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/pause", nil, nil, nil)
}

// ContainerUnpause lets a paused container go on.
func (c *Client) ContainerUnpause(ctx context.Context, id string) error {
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/unpause", nil, nil, nil)
}

// ContainerRename gives a container another name.
func (c *Client) ContainerRename(ctx context.Context, id, name string) error {
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/rename", url.Values{"name": {name}}, nil, nil)
}

// RemoveOptions tell how a container is to be removed.
type RemoveOptions struct{ Force, Volumes, Link bool }

// ContainerRemove removes a container, with Volumes also its anonymous volumes.
func (c *Client) ContainerRemove(ctx context.Context, id string, o RemoveOptions) error {
	query := url.Values{}
	setTrue(query, "force", o.Force)
	setTrue(query, "v", o.Volumes)
	setTrue(query, "link", o.Link)
	return c.decode(ctx, call{method: http.MethodDelete, path: "/containers/" + url.PathEscape(id), query: query}, nil)
}

// ContainerResize tells a container's terminal its size.
func (c *Client) ContainerResize(ctx context.Context, id string, height, width uint) error {
	return c.post(ctx, "/containers/"+url.PathEscape(id)+"/resize", size(height, width), nil, nil)
}

func size(height, width uint) url.Values {
	return url.Values{"h": {strconv.Itoa(int(height))}, "w": {strconv.Itoa(int(width))}}
}

// Wait is a registered wish to learn how a container ends.
type Wait struct{ body io.ReadCloser }

// ContainerWait registers for condition and returns once the daemon has noted it, so that nothing that happens
// afterwards is missed.
func (c *Client) ContainerWait(ctx context.Context, id string, condition container.WaitCondition) (*Wait, error) {
	query := url.Values{}
	setIf(query, "condition", string(condition))
	res, err := c.do(ctx, call{method: http.MethodPost, path: "/containers/" + url.PathEscape(id) + "/wait", query: query})
	if err != nil {
		return nil, err
	}
	return &Wait{body: res.Body}, nil
}

// Result blocks until the container has ended and gives its exit code. It can be called once.
func (w *Wait) Result() (container.WaitResponse, error) {
	defer w.body.Close()
	var answer container.WaitResponse
	err := json.NewDecoder(w.body).Decode(&answer)
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return answer, err
}

// Close gives up waiting.
func (w *Wait) Close() { w.body.Close() }

// ContainerUpdate changes limits and the restart policy of a container.
func (c *Client) ContainerUpdate(ctx context.Context, id string, u container.UpdateConfig) (answer container.UpdateResponse, err error) {
	err = c.post(ctx, "/containers/"+url.PathEscape(id)+"/update", nil, u, &answer)
	return answer, err
}
