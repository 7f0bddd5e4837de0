package client

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/moby/moby/api/types/container"
)

// ContainerStat tells what is at a path in a container.
func (c *Client) ContainerStat(ctx context.Context, id, path string) (container.PathStat, error) {
	res, err := c.do(ctx, archiveCall(http.MethodHead, id, path))
	if err != nil {
		return container.PathStat{}, err
	}
	res.Body.Close()
	return pathStat(res)
}

// CopyFromContainer streams what is at a path in a container as a tar archive; the caller closes it.
func (c *Client) CopyFromContainer(ctx context.Context, id, path string) (io.ReadCloser, container.PathStat, error) {
	res, err := c.do(ctx, archiveCall(http.MethodGet, id, path))
	if err != nil {
		return nil, container.PathStat{}, brokenOff(err)
	}
	st, err := pathStat(res)
	if err != nil {
		res.Body.Close()
		return nil, st, err
	}
	return wholeArchive{res.Body}, st, nil
}

// CopyToOptions tell how an archive is unpacked in a container.
type CopyToOptions struct {
	// AsUser gives everything to the container's user.
	AsUser bool
}

// CopyToContainer unpacks a tar archive into a directory of a container. A directory is not replaced by something
// else, nor the reverse.
func (c *Client) CopyToContainer(ctx context.Context, id, path string, archive io.Reader, o CopyToOptions) error {
	k := archiveCall(http.MethodPut, id, path)
	k.query.Set("noOverwriteDirNonDir", "true")
	setTrue(k.query, "copyUIDGID", o.AsUser)
	k.stream, k.streamType = archive, "application/x-tar"
	return c.decode(ctx, k, nil)
}

// ContainerExport streams a container's file system as a tar archive; the caller closes it.
func (c *Client) ContainerExport(ctx context.Context, id string) (io.ReadCloser, error) {
	res, err := c.do(ctx, call{method: http.MethodGet, path: "/containers/" + url.PathEscape(id) + "/export"})
	if err != nil {
		return nil, brokenOff(err)
	}
	return wholeArchive{res.Body}, nil
}

// wholeArchive says what it means that a stream ends too early: the daemon has no other way to tell that it could not
// read a file, or that it is gone.
type wholeArchive struct{ io.ReadCloser }

func (a wholeArchive) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err == io.EOF {
		return n, err
	}
	return n, brokenOff(err)
}

func brokenOff(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("the archive broke off before its end: %w", err)
	}
	return err
}

func archiveCall(method, id, path string) call {
	return call{method: method, path: "/containers/" + url.PathEscape(id) + "/archive", query: url.Values{"path": {path}}}
}

func pathStat(res *http.Response) (st container.PathStat, err error) {
	raw, err := base64.StdEncoding.DecodeString(res.Header.Get("X-Docker-Container-Path-Stat"))
	if err == nil {
		err = json.Unmarshal(raw, &st)
	}
	if err != nil {
		return st, fmt.Errorf("the daemon's description of the file cannot be read: %w", err)
	}
	return st, nil
}
