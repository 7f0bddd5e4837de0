package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
)

// fixed sets the headers of content that is named by its digest, and tells whether the client has it already.
func (c *call) fixed(d digest.Digest) (has bool) {
	h := c.w.Header()
	h.Set("Docker-Content-Digest", d.String())
	h.Set("ETag", `"`+d.String()+`"`)
	for tag := range strings.SplitSeq(c.r.Header.Get("If-None-Match"), ",") {
		if tag = strings.TrimPrefix(strings.TrimSpace(tag), "W/"); tag == "*" || strings.Trim(tag, `"`) == d.String() {
			c.w.WriteHeader(http.StatusNotModified)
			return true
		}
	}
	return false
}

func (c *call) getBlob() error {
	d := digest.Digest(c.arg)
	if c.r.Method == http.MethodGet && c.r.Header.Get("Range") == "" && c.r.Header.Get("If-None-Match") == "" {
		// The common case asks the storage only once.
		r, size, err := c.content.OpenBlob(c.r.Context(), c.name, d, 0)
		if err != nil {
			return err
		}
		defer r.Close()
		c.fixed(d)
		c.describe(size)
		c.send(d, r, size)
		return nil
	}
	size, err := c.content.StatBlob(c.r.Context(), c.name, d)
	if err != nil {
		return err
	}
	if c.fixed(d) {
		return nil
	}
	c.describe(size)
	if c.r.Method == http.MethodHead {
		return nil
	}
	h := c.w.Header()
	from, length, part := int64(0), size, false
	if c.r.Header.Get("If-Range") == "" || c.r.Header.Get("If-Range") == h.Get("ETag") {
		if from, length, part = byteRange(c.r.Header.Get("Range"), size); length < 0 {
			h.Set("Content-Range", "bytes */"+strconv.FormatInt(size, 10))
			return &refusal{http.StatusRequestedRangeNotSatisfiable, unsupported, "the blob has no such range"}
		}
	}
	r, whole, err := c.content.OpenBlob(c.r.Context(), c.name, d, from)
	if err != nil {
		return err
	}
	defer r.Close()
	if whole != size {
		return fmt.Errorf("blob %s has %d bytes now, and had %d: %w", d, whole, size, errdefs.ErrDataLoss)
	}
	h.Set("Content-Length", strconv.FormatInt(length, 10))
	if part {
		h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, from+length-1, size))
		c.w.WriteHeader(http.StatusPartialContent)
	}
	c.send(d, r, length)
	return nil
}

// describe sets the headers of a blob's content.
func (c *call) describe(size int64) {
	h := c.w.Header()
	h.Set("Content-Type", "application/octet-stream")
	h.Set("Accept-Ranges", "bytes")
	h.Set("Cache-Control", "max-age=31536000, immutable")
	h.Set("Content-Length", strconv.FormatInt(size, 10))
}

// send gives out length bytes. When what was promised cannot be had the connection is broken off, so that nobody takes a
// part for the whole.
func (c *call) send(d digest.Digest, r io.Reader, length int64) {
	n, err := io.Copy(c.w, io.LimitReader(r, length))
	if err == nil && n < length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil && c.r.Context().Err() == nil {
		c.log.Error("send blob", "blob", d, "sent", n, "size", length, "error", err)
		panic(http.ErrAbortHandler)
	}
}

// byteRange reads the header Range: where the answer begins, how long it is, whether it is a part. Several ranges,
// and what is no range of bytes, are answered with the whole. A length of -1 is a range that the content does not have.
func byteRange(header string, size int64) (from, length int64, part bool) {
	text, ok := strings.CutPrefix(header, "bytes=")
	if !ok || strings.Contains(text, ",") {
		return 0, size, false
	}
	first, last, ok := strings.Cut(strings.TrimSpace(text), "-")
	if !ok {
		return 0, size, false
	}
	end := size - 1
	switch {
	case first == "":
		n, err := number(last)
		if err != nil {
			return 0, size, false
		}
		if n == 0 || size == 0 {
			return 0, -1, false
		}
		from = max(0, size-n)
	default:
		var err error
		if from, err = number(first); err != nil {
			return 0, size, false
		}
		if last != "" {
			to, err := number(last)
			if err != nil {
				return 0, size, false
			}
			if to < from {
				return 0, -1, false
			}
			end = min(end, to)
		}
	}
	if from >= size {
		return 0, -1, false
	}
	return from, end - from + 1, true
}

var errNumber = errors.New("not a number")

// number reads digits only; a sign is none.
func number(s string) (int64, error) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, errNumber
	}
	return strconv.ParseInt(s, 10, 64)
}

func (c *call) deleteBlob() error {
	if err := c.store.DeleteBlob(context.WithoutCancel(c.r.Context()), c.name, digest.Digest(c.arg)); err != nil {
		return err
	}
	c.w.WriteHeader(http.StatusAccepted)
	return nil
}
