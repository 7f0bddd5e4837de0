package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/api"
)

func snapshotsPath(id string) string {
	return "/cove/containers/" + url.PathEscape(id) + "/snapshots"
}

// SnapshotCreate makes a snapshot of a container.
func (c *Client) SnapshotCreate(ctx context.Context, id string, r api.SnapshotCreateRequest) (made api.Snapshot, err error) {
	err = c.post(ctx, snapshotsPath(id), nil, r, &made)
	return made, err
}

// SnapshotList lists the snapshots of a container, the oldest first.
func (c *Client) SnapshotList(ctx context.Context, id string) (list []api.Snapshot, err error) {
	err = c.get(ctx, snapshotsPath(id), nil, &list)
	return list, err
}

// SnapshotRemove removes a snapshot of a container.
func (c *Client) SnapshotRemove(ctx context.Context, id, snapshot string) error {
	return c.decode(ctx, call{method: http.MethodDelete, path: snapshotsPath(id) + "/" + url.PathEscape(snapshot)}, nil)
}

// SnapshotRollback gives a container the files that it had when the snapshot was made.
func (c *Client) SnapshotRollback(ctx context.Context, id, snapshot string) error {
	return c.post(ctx, snapshotsPath(id)+"/"+url.PathEscape(snapshot)+"/rollback", nil, nil, nil)
}

// SnapshotDiff lists what has changed since a snapshot, until another one or, when that is empty, until now.
func (c *Client) SnapshotDiff(ctx context.Context, id, snapshot, until string) (changes []container.FilesystemChange, err error) {
	query := url.Values{}
	setIf(query, "until", until)
	err = c.get(ctx, snapshotsPath(id)+"/"+url.PathEscape(snapshot)+"/changes", query, &changes)
	return changes, err
}

// ContainerClone makes a container like another one.
func (c *Client) ContainerClone(ctx context.Context, id string, r api.CloneRequest) (made container.CreateResponse, err error) {
	err = c.post(ctx, "/cove/containers/"+url.PathEscape(id)+"/clone", nil, r, &made)
	return made, err
}
