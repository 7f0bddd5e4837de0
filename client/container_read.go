package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/container"
)

// ListOptions choose among the containers.
type ListOptions struct {
	All, Size bool
	Limit     int // the newest so many, whatever their state; 0 or less is no limit
	Filters   api.Filters
}

// ContainerList gives the containers that match, newest first.
func (c *Client) ContainerList(ctx context.Context, o ListOptions) (list []container.Summary, err error) {
	query := url.Values{}
	setTrue(query, "all", o.All)
	setTrue(query, "size", o.Size)
	if o.Limit > 0 {
		query.Set("limit", strconv.Itoa(o.Limit))
	}
	setIf(query, "filters", o.Filters.Encode())
	err = c.get(ctx, "/containers/json", query, &list)
	return list, err
}

// ContainerInspect describes a container, decoded and as it came.
func (c *Client) ContainerInspect(ctx context.Context, id string, size bool) (info container.InspectResponse, raw []byte, err error) {
	query := url.Values{}
	setTrue(query, "size", size)
	if raw, err = c.raw(ctx, "/containers/"+url.PathEscape(id)+"/json", query); err == nil {
		err = json.Unmarshal(raw, &info)
	}
	return info, raw, err
}

// ContainerTop lists the processes of a container as ps does with args.
func (c *Client) ContainerTop(ctx context.Context, id, args string) (top container.TopResponse, err error) {
	query := url.Values{}
	setIf(query, "ps_args", args)
	err = c.get(ctx, "/containers/"+url.PathEscape(id)+"/top", query, &top)
	return top, err
}

// ContainerDiff lists what a container has changed on its file system.
func (c *Client) ContainerDiff(ctx context.Context, id string) (changes []container.FilesystemChange, err error) {
	err = c.get(ctx, "/containers/"+url.PathEscape(id)+"/changes", nil, &changes)
	return changes, err
}

// ContainerStats calls emit for every sample of a container's use of resources: for ever when follow is set, else
// for two samples' worth once.
func (c *Client) ContainerStats(ctx context.Context, id string, follow bool, emit func(container.StatsResponse) error) error {
	query := url.Values{"stream": {"0"}}
	if follow {
		query.Set("stream", "1")
	}
	return stream(ctx, c, call{method: http.MethodGet, path: "/containers/" + url.PathEscape(id) + "/stats", query: query}, emit)
}

// LogsOptions choose among the lines a container has written; the times are as the API takes them.
type LogsOptions struct {
	Stdout, Stderr, Follow, Timestamps, Details bool
	Since, Until, Tail                          string
}

// ContainerLogs gives what a container has written: plain bytes when raw, else multiplexed frames.
func (c *Client) ContainerLogs(ctx context.Context, id string, o LogsOptions) (body io.ReadCloser, raw bool, err error) {
	query := url.Values{}
	setTrue(query, "stdout", o.Stdout)
	setTrue(query, "stderr", o.Stderr)
	setTrue(query, "follow", o.Follow)
	setTrue(query, "timestamps", o.Timestamps)
	setTrue(query, "details", o.Details)
	setIf(query, "since", o.Since)
	setIf(query, "until", o.Until)
	setIf(query, "tail", o.Tail)
	res, err := c.do(ctx, call{method: http.MethodGet, path: "/containers/" + url.PathEscape(id) + "/logs", query: query})
	if err != nil {
		return nil, false, err
	}
	return res.Body, res.Header.Get("Content-Type") == "application/vnd.docker.raw-stream", nil
}

// ContainersPrune removes the stopped containers that match.
func (c *Client) ContainersPrune(ctx context.Context, f api.Filters) (report container.PruneReport, err error) {
	err = c.post(ctx, "/containers/prune", filterQuery(f), nil, &report)
	return report, err
}

func filterQuery(f api.Filters) url.Values {
	query := url.Values{}
	setIf(query, "filters", f.Encode())
	return query
}
