package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/api/types/system"
)

// Pong is what a daemon says of itself when pinged.
type Pong struct {
	APIVersion, OSType string
	// Experimental tells that it has switched on what is not settled.
	Experimental bool
}

// Ping asks whether the daemon is there, and settles the API version with it.
func (c *Client) Ping(ctx context.Context) (Pong, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.hostHeader()+c.base+"/_ping", nil)
	if err != nil {
		return Pong{}, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return Pong{}, plain(err)
	}
	if res.StatusCode >= 400 {
		return Pong{}, readError(res)
	}
	res.Body.Close()
	pong := Pong{APIVersion: res.Header.Get("Api-Version"), OSType: res.Header.Get("Ostype"), Experimental: res.Header.Get("Docker-Experimental") == "true"}
	if !c.settled.Swap(true) && pong.APIVersion != "" && older(pong.APIVersion, c.Version()) {
		c.version.Store(pong.APIVersion)
	}
	return pong, nil
}

// ServerVersion gives the daemon's version and that of its parts.
func (c *Client) ServerVersion(ctx context.Context) (v system.VersionResponse, err error) {
	err = c.get(ctx, "/version", nil, &v)
	return v, err
}

// Info gives what the daemon knows of itself and its host, decoded and as it came.
func (c *Client) Info(ctx context.Context) (info system.Info, raw []byte, err error) {
	if raw, err = c.raw(ctx, "/info", nil); err == nil {
		err = json.Unmarshal(raw, &info)
	}
	return info, raw, err
}

// DiskUsage gives what images, containers, volumes and build cache take up, with the items when verbose.
func (c *Client) DiskUsage(ctx context.Context, verbose bool) (du system.DiskUsage, err error) {
	query := url.Values{}
	if verbose {
		query.Set("verbose", "1")
	}
	raw, err := c.raw(ctx, "/system/df", query)
	if err != nil {
		return du, err
	}
	if err := json.Unmarshal(raw, &du); err != nil {
		return du, err
	}
	if du.ImageUsage == nil && du.ContainerUsage == nil {
		return oldDiskUsage(raw)
	}
	return du, nil
}

// EventsOptions choose among a daemon's events; the times are as the API takes them, seconds and nanoseconds.
type EventsOptions struct {
	Since, Until string
	Filters      api.Filters
}

// Events calls emit for every event until the daemon has no more to tell, ctx ends or emit fails.
func (c *Client) Events(ctx context.Context, o EventsOptions, emit func(events.Message) error) error {
	query := url.Values{}
	setIf(query, "since", o.Since)
	setIf(query, "until", o.Until)
	setIf(query, "filters", o.Filters.Encode())
	return stream(ctx, c, call{method: http.MethodGet, path: "/events", query: query}, emit)
}

// Login has the daemon check credentials with their registry.
func (c *Client) Login(ctx context.Context, auth registry.AuthConfig) (answer registry.AuthResponse, err error) {
	err = c.post(ctx, "/auth", nil, auth, &answer)
	return answer, err
}

// stream decodes one JSON value after another from the answer to k.
func stream[T any](ctx context.Context, c *Client, k call, emit func(T) error) error {
	res, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	return decodeAll(ctx, res.Body, emit)
}

func setIf(query url.Values, name, value string) {
	if value != "" {
		query.Set(name, value)
	}
}

func setTrue(query url.Values, name string, value bool) {
	if value {
		query.Set(name, "1")
	}
}

// SystemCheck has the daemon look its data over.
func (c *Client) SystemCheck(ctx context.Context, o api.CheckOptions) (report api.CheckReport, err error) {
	query := url.Values{}
	setTrue(query, "deep", o.Deep)
	setTrue(query, "repair", o.Repair)
	err = c.post(ctx, "/cove/system/check", query, nil, &report)
	return report, err
}
