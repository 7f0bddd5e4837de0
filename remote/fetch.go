package remote

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
)

// Manifest fetches the document name points to: by its digest when it has one, else by its tag. The descriptor tells
// what the bytes are, computed here; they have not been parsed yet. A refusal is an *Error.
func (c *Client) Manifest(ctx context.Context, name ref.Name, session *Session) (ocispec.Descriptor, []byte, error) {
	var desc ocispec.Descriptor
	var body []byte
	wanted := pulling
	if name.Digest == "" {
		wanted |= resolving
	}
	err := c.everywhere(ctx, name, wanted, session, func(r request) error {
		r = r.manifest(name)
		r.header = http.Header{"Accept": {strings.Join(oci.Accepted(), ", ")}}
		resp, err := c.ask(ctx, r)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		desc, body, err = readManifest(resp, name.Digest)
		return err
	})
	return desc, body, err
}

func readManifest(resp *http.Response, want digest.Digest) (ocispec.Descriptor, []byte, error) {
	body, err := io.ReadAll(io.LimitReader(resp.Body, oci.MaxDocument+1))
	if err != nil {
		return ocispec.Descriptor{}, nil, fmt.Errorf("read manifest: %w", err)
	}
	if len(body) > oci.MaxDocument {
		return ocispec.Descriptor{}, nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("the registry sends a manifest of more than %d bytes", oci.MaxDocument))
	}
	got := digest.FromBytes(body)
	if want == "" {
		if said := digest.Digest(resp.Header.Get("Docker-Content-Digest")); said.Validate() == nil && said.Algorithm() == digest.SHA256 {
			want = said
		}
	}
	if want != "" && got != want {
		return ocispec.Descriptor{}, nil, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("manifest verification failed for digest %s: the registry sent %s", want, got))
	}
	media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";")
	return ocispec.Descriptor{MediaType: strings.TrimSpace(media), Digest: got, Size: int64(len(body))}, body, nil
}

// Blob opens the content of desc, from offset if the registry can, and tells where the content really starts: there, or
// at 0. An answer of another size than desc's is errdefs.ErrFailedPrecondition. The content is not verified here.
func (c *Client) Blob(ctx context.Context, name ref.Name, desc ocispec.Descriptor, offset int64, session *Session) (io.ReadCloser, int64, error) {
	var body io.ReadCloser
	var start int64
	err := c.everywhere(ctx, name, pulling, session, func(r request) error {
		r.path = name.Path + "/blobs/" + desc.Digest.String()
		var err error
		body, start, err = c.openBlob(ctx, r, desc, offset)
		return err
	})
	return body, start, err
}

func (c *Client) openBlob(ctx context.Context, r request, desc ocispec.Descriptor, offset int64) (io.ReadCloser, int64, error) {
	r.header = http.Header{}
	if offset > 0 {
		r.header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.ask(ctx, r)
	if offset > 0 && (isRefusal(err, http.StatusRequestedRangeNotSatisfiable) || err == nil && resp.StatusCode == http.StatusPartialContent && !continues(resp, offset, desc.Size)) {
		if err == nil {
			resp.Body.Close()
		}
		return c.openBlob(ctx, r, desc, 0)
	}
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode == http.StatusPartialContent && offset > 0 {
		return resp.Body, offset, nil
	}
	if resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		return nil, 0, fmt.Errorf("blob %s: %w", desc.Digest, &Error{Status: resp.StatusCode, URL: resp.Request.URL.Redacted()})
	}
	if n := resp.ContentLength; n >= 0 && n != desc.Size {
		resp.Body.Close()
		return nil, 0, errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("blob %s: failed size validation: the registry has %d bytes, the manifest says %d", desc.Digest, n, desc.Size))
	}
	return resp.Body, 0, nil
}

// continues tells whether a 206 answer is exactly the rest of a blob from offset.
func continues(resp *http.Response, offset, size int64) bool {
	span, ok := strings.CutPrefix(resp.Header.Get("Content-Range"), "bytes ")
	if !ok {
		return false
	}
	span, total, ok := strings.Cut(span, "/")
	from, to, ok2 := strings.Cut(span, "-")
	if !ok || !ok2 || total != "*" && total != strconv.FormatInt(size, 10) {
		return false
	}
	return from == strconv.FormatInt(offset, 10) && to == strconv.FormatInt(size-1, 10)
}
