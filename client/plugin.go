package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/plugin"
)

// PluginList gives the daemon's plugins that match.
func (c *Client) PluginList(ctx context.Context, f api.Filters) (list []plugin.Plugin, err error) {
	err = c.get(ctx, "/plugins", filterQuery(f), &list)
	return list, err
}

// PluginInspect describes a plugin, decoded and as it came.
func (c *Client) PluginInspect(ctx context.Context, name string) (p plugin.Plugin, raw []byte, err error) {
	if raw, err = c.raw(ctx, pluginPath(name)+"/json", nil); err == nil {
		err = json.Unmarshal(raw, &p)
	}
	return p, raw, err
}

// PluginPrivileges tells what a plugin that is in a registry wants to be allowed; auth is the encoded X-Registry-Auth header.
func (c *Client) PluginPrivileges(ctx context.Context, remote, auth string) (list []plugin.Privilege, err error) {
	err = c.decode(ctx, call{method: http.MethodGet, path: "/plugins/privileges", query: url.Values{"remote": {remote}}, header: authHeader(auth)}, &list)
	return list, err
}

// PluginPullOptions say which plugin to fetch, what it may do, and what it is to be called here: empty for its own name.
type PluginPullOptions struct {
	Remote, Name, Auth string
	Privileges         []plugin.Privilege
}

// PluginPull has the daemon fetch a plugin and calls emit for every message of progress.
func (c *Client) PluginPull(ctx context.Context, o PluginPullOptions, emit func(jsonstream.Message) error) error {
	query := url.Values{"remote": {o.Remote}}
	setIf(query, "name", o.Name)
	return stream(ctx, c, call{method: http.MethodPost, path: "/plugins/pull", query: query, header: authHeader(o.Auth), body: o.Privileges}, emit)
}

// PluginUpgrade has the daemon put the plugin called o.Name in another version's place.
func (c *Client) PluginUpgrade(ctx context.Context, o PluginPullOptions, emit func(jsonstream.Message) error) error {
	k := call{method: http.MethodPost, path: pluginPath(o.Name) + "/upgrade", query: url.Values{"remote": {o.Remote}}, header: authHeader(o.Auth), body: o.Privileges}
	return stream(ctx, c, k, emit)
}

// PluginPush has the daemon push a plugin and calls emit for every message of progress.
func (c *Client) PluginPush(ctx context.Context, name, auth string, emit func(jsonstream.Message) error) error {
	return stream(ctx, c, call{method: http.MethodPost, path: pluginPath(name) + "/push", header: authHeader(auth)}, emit)
}

// PluginCreate makes a plugin of a tar archive with its config.json and rootfs.
func (c *Client) PluginCreate(ctx context.Context, name string, archive io.Reader) error {
	k := call{method: http.MethodPost, path: "/plugins/create", query: url.Values{"name": {name}}, stream: archive, streamType: "application/x-tar"}
	return c.decode(ctx, k, nil)
}

// PluginEnable starts a plugin, for which its start may take so many seconds.
func (c *Client) PluginEnable(ctx context.Context, name string, timeout int) error {
	return c.post(ctx, pluginPath(name)+"/enable", url.Values{"timeout": {strconv.Itoa(timeout)}}, nil, nil)
}

// PluginDisable stops a plugin, with force one that is in use too.
func (c *Client) PluginDisable(ctx context.Context, name string, force bool) error {
	query := url.Values{}
	setTrue(query, "force", force)
	return c.post(ctx, pluginPath(name)+"/disable", query, nil, nil)
}

// PluginSet changes settings of a plugin, each "KEY=VALUE".
func (c *Client) PluginSet(ctx context.Context, name string, settings []string) error {
	return c.post(ctx, pluginPath(name)+"/set", nil, settings, nil)
}

// PluginRemove removes a plugin, with force one that is enabled too.
func (c *Client) PluginRemove(ctx context.Context, name string, force bool) error {
	query := url.Values{}
	setTrue(query, "force", force)
	return c.decode(ctx, call{method: http.MethodDelete, path: pluginPath(name), query: query}, nil)
}

// pluginPath gives the path of a plugin's calls. The slashes of its name stay as they are.
func pluginPath(name string) string { return "/plugins/" + (&url.URL{Path: name}).EscapedPath() }

func authHeader(auth string) http.Header {
	header := http.Header{}
	if auth != "" {
		header.Set("X-Registry-Auth", auth)
	}
	return header
}
