package client

import (
	"context"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
)

// CommitOptions say what image to make of a container.
type CommitOptions struct {
	// Reference is the image's name, empty for none; Snapshot the container's snapshot to take instead of its present.
	Reference, Snapshot string
	Author, Message     string
	Changes             []string
	NoPause             bool
}

// ContainerCommit makes an image of a container and gives the image's ID.
func (c *Client) ContainerCommit(ctx context.Context, id string, o CommitOptions) (string, error) {
	query := url.Values{"container": {id}, "changes": o.Changes}
	setIf(query, "repo", o.Reference)
	setIf(query, "snapshot", o.Snapshot)
	setIf(query, "author", o.Author)
	setIf(query, "comment", o.Message)
	if o.NoPause {
		query.Set("pause", "0")
	}
	var made container.CommitResponse
	err := c.post(ctx, "/commit", query, nil, &made)
	return made.ID, err
}

// ImportOptions say what image to make of an archive.
type ImportOptions struct {
	// Source is a URL for the daemon to fetch, or "-" for the archive that is sent.
	Source, Reference, Message, Platform string
	Changes                              []string
}

// ImageImport makes an image of the archive of a root file system, which may be nil, and calls emit for every message.
func (c *Client) ImageImport(ctx context.Context, archive io.Reader, o ImportOptions, emit func(jsonstream.Message) error) error {
	query := url.Values{"fromSrc": {o.Source}, "changes": o.Changes}
	setIf(query, "repo", o.Reference)
	setIf(query, "message", o.Message)
	setIf(query, "platform", o.Platform)
	k := call{method: http.MethodPost, path: "/images/create", query: query, stream: archive, streamType: "application/x-tar"}
	return stream(ctx, c, k, emit)
}
