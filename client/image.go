package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"

	"github.com/cove-containers/cove/api"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/jsonstream"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// ImageListOptions choose among the images.
type ImageListOptions struct {
	All, SharedSize bool
	// Manifests asks for what images for several platforms consist of.
	Manifests bool
	Filters   api.Filters
}

// ImageList gives the images that match.
func (c *Client) ImageList(ctx context.Context, o ImageListOptions) (list []image.Summary, err error) {
	query := filterQuery(o.Filters)
	setTrue(query, "all", o.All)
	setTrue(query, "shared-size", o.SharedSize)
	setTrue(query, "manifests", o.Manifests)
	err = c.get(ctx, "/images/json", query, &list)
	return list, err
}

// ImageInspect describes an image, decoded and as it came; platform may be nil.
func (c *Client) ImageInspect(ctx context.Context, name string, platform *ocispec.Platform) (info image.InspectResponse, raw []byte, err error) {
	if raw, err = c.raw(ctx, imagePath(name)+"/json", platformQuery(nil, "platform", platform)); err == nil {
		err = json.Unmarshal(raw, &info)
	}
	return info, raw, err
}

// ImageHistory lists the steps an image was made in, newest first; platform may be nil.
func (c *Client) ImageHistory(ctx context.Context, name string, platform *ocispec.Platform) (list []image.HistoryResponseItem, err error) {
	err = c.get(ctx, imagePath(name)+"/history", platformQuery(nil, "platform", platform), &list)
	return list, err
}

// ImageTag gives source the further name repo:tag.
func (c *Client) ImageTag(ctx context.Context, source, repo, tag string) error {
	return c.post(ctx, imagePath(source)+"/tag", url.Values{"repo": {repo}, "tag": {tag}}, nil, nil)
}

// ImageRemoveOptions tell how an image is to be removed.
type ImageRemoveOptions struct {
	Force, NoPrune bool
	Platforms      []ocispec.Platform
}

// ImageRemove takes a name off an image and removes the image when it was the last.
func (c *Client) ImageRemove(ctx context.Context, name string, o ImageRemoveOptions) (gone []image.DeleteResponse, err error) {
	query := url.Values{}
	setTrue(query, "force", o.Force)
	setTrue(query, "noprune", o.NoPrune)
	for i := range o.Platforms {
		platformQuery(query, "platforms", &o.Platforms[i])
	}
	err = c.decode(ctx, call{method: http.MethodDelete, path: imagePath(name), query: query}, &gone)
	return gone, err
}

// ImagesPrune removes the unused images that match.
func (c *Client) ImagesPrune(ctx context.Context, f api.Filters) (report image.PruneReport, err error) {
	err = c.post(ctx, "/images/prune", filterQuery(f), nil, &report)
	return report, err
}

// PullOptions say what to fetch; Auth is the encoded X-Registry-Auth header.
type PullOptions struct {
	Repository, Tag, Platform, Auth string
}

// ImagePull has the daemon fetch an image and calls emit for every message of progress; a failure that comes in
// the stream is the last message, not an error.
func (c *Client) ImagePull(ctx context.Context, o PullOptions, emit func(jsonstream.Message) error) error {
	query := url.Values{"fromImage": {o.Repository}}
	setIf(query, "tag", o.Tag)
	setIf(query, "platform", o.Platform)
	return stream(ctx, c, call{method: http.MethodPost, path: "/images/create", query: query, header: authHeader(o.Auth)}, emit)
}

// PushOptions say what to push: no tag is all tags. Auth is the encoded X-Registry-Auth header.
type PushOptions struct {
	Repository, Tag, Auth string
	Platform              *ocispec.Platform
}

// ImagePush has the daemon push an image and calls emit for every message of progress; a failure that comes in the
// stream is the last message, not an error.
func (c *Client) ImagePush(ctx context.Context, o PushOptions, emit func(jsonstream.Message) error) error {
	query := platformQuery(nil, "platform", o.Platform)
	setIf(query, "tag", o.Tag)
	return stream(ctx, c, call{method: http.MethodPost, path: imagePath(o.Repository) + "/push", query: query, header: authHeader(o.Auth)}, emit)
}

// ImageSave streams the named images as a tar archive; the caller closes it.
func (c *Client) ImageSave(ctx context.Context, names []string, platforms []ocispec.Platform) (io.ReadCloser, error) {
	query := url.Values{"names": names}
	for i := range platforms {
		platformQuery(query, "platform", &platforms[i])
	}
	res, err := c.do(ctx, call{method: http.MethodGet, path: "/images/get", query: query})
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// ImageLoad sends a tar archive of images and calls emit for every message of progress.
func (c *Client) ImageLoad(ctx context.Context, archive io.Reader, quiet bool, platforms []ocispec.Platform, emit func(jsonstream.Message) error) error {
	query := url.Values{"quiet": {"0"}}
	if quiet {
		query.Set("quiet", "1")
	}
	for i := range platforms {
		platformQuery(query, "platform", &platforms[i])
	}
	k := call{method: http.MethodPost, path: "/images/load", query: query, stream: archive, streamType: "application/x-tar"}
	return stream(ctx, c, k, emit)
}

func platformQuery(query url.Values, name string, platform *ocispec.Platform) url.Values {
	if query == nil {
		query = url.Values{}
	}
	if platform != nil {
		raw, _ := json.Marshal(platform)
		query.Add(name, string(raw))
	}
	return query
}

// imagePath gives the path of an image's calls. The slashes of its name stay as they are.
func imagePath(name string) string { return "/images/" + (&url.URL{Path: name}).EscapedPath() }
