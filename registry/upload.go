package registry

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/repository"
)

func (c *call) startUpload() error {
	query := c.r.URL.Query()
	if mount := digest.Digest(query.Get("mount")); mount != "" {
		err := c.store.Mount(c.r.Context(), c.name, mount, query.Get("from"), c.mayPull)
		if err == nil {
			return c.created(mount)
		}
		// What cannot be mounted is uploaded.
		if !errdefs.IsNotFound(err) {
			return err
		}
	}
	if d := digest.Digest(query.Get("digest")); d != "" {
		if err := c.store.PutBlob(c.r.Context(), c.name, d, c.body(-1)); err != nil {
			return err
		}
		return c.created(d)
	}
	id, err := c.store.Start(c.r.Context(), c.name)
	if err != nil {
		return err
	}
	return c.progress(id, 0, http.StatusAccepted)
}

func (c *call) mayPull(name string) bool {
	return c.access == nil || c.access.Authorize(c.r, name, Pull) == nil
}

func (c *call) created(d digest.Digest) error {
	h := c.w.Header()
	h.Set("Location", "/v2/"+c.name+"/blobs/"+d.String())
	h.Set("Docker-Content-Digest", d.String())
	c.w.WriteHeader(http.StatusCreated)
	return nil
}

// progress tells where an upload stands. Nothing received reads "0-0", as nothing else can be written.
func (c *call) progress(id string, offset int64, status int) error {
	c.place(id, offset)
	c.w.WriteHeader(status)
	return nil
}

func (c *call) place(id string, offset int64) {
	h := c.w.Header()
	h.Set("Location", "/v2/"+c.name+"/blobs/uploads/"+id)
	h.Set("Docker-Upload-UUID", id)
	h.Set("Range", fmt.Sprintf("0-%d", max(0, offset-1)))
}

// body is the request's body as content that begins at the given offset.
func (c *call) body(at int64) repository.Body {
	control := http.NewResponseController(c.w)
	return repository.Body{
		Reader: c.r.Body, At: at, Size: c.r.ContentLength,
		Interrupt: func() { control.SetReadDeadline(time.Now()) },
	}
}

// chunk is the body with what the header Content-Range says of it.
func (c *call) chunk() (repository.Body, error) {
	text := c.r.Header.Get("Content-Range")
	if text == "" {
		return c.body(-1), nil
	}
	text = strings.TrimPrefix(text, "bytes ")
	text, _, _ = strings.Cut(text, "/")
	first, last, _ := strings.Cut(text, "-")
	from, err := number(first)
	to, err2 := number(last)
	if err != nil || err2 != nil || to < from {
		return repository.Body{}, badRequest(repository.BlobUploadInvalid, "the header Content-Range cannot be read")
	}
	b := c.body(from)
	if b.Size >= 0 && b.Size != to-from+1 {
		return b, badRequest(repository.SizeInvalid, "the content is %d bytes long, its range %d", b.Size, to-from+1)
	}
	b.Size = to - from + 1
	return b, nil
}

func (c *call) uploadStatus() error {
	offset, err := c.store.Status(c.r.Context(), c.name, c.arg)
	if err != nil {
		return err
	}
	return c.progress(c.arg, offset, http.StatusNoContent)
}

func (c *call) patchUpload() error {
	b, err := c.chunk()
	if err != nil {
		return err
	}
	offset, err := c.store.Append(c.r.Context(), c.name, c.arg, b)
	if err != nil {
		return c.refused(err)
	}
	return c.progress(c.arg, offset, http.StatusAccepted)
}

// refused adds to an answer that says no where the upload stands.
func (c *call) refused(err error) error {
	if status, _ := statusOf(err); status == http.StatusRequestedRangeNotSatisfiable {
		if offset, err := c.store.Status(c.r.Context(), c.name, c.arg); err == nil {
			c.place(c.arg, offset)
		}
	}
	return err
}

func (c *call) putUpload() error {
	b, err := c.chunk()
	if err != nil {
		return err
	}
	d := digest.Digest(c.r.URL.Query().Get("digest"))
	if d == "" {
		return badRequest(repository.DigestInvalid, "the digest is missing")
	}
	if err := c.store.Finish(c.r.Context(), c.name, c.arg, d, b); err != nil {
		return c.refused(err)
	}
	return c.created(d)
}

func (c *call) cancelUpload() error {
	if err := c.store.Cancel(c.r.Context(), c.name, c.arg); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusNoContent)
	return nil
}
