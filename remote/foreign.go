package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// Foreign opens a layer at the addresses that its descriptor names, from the beginning. Nobody is shown any credentials. Like a registry, whoever
// answers is believed in nothing but what the caller verifies. In plain HTTP only hosts are asked that are insecure registries as well.
func (c *Client) Foreign(ctx context.Context, desc ocispec.Descriptor) (io.ReadCloser, error) {
	err := fmt.Errorf("layer %s has no address: %w", desc.Digest, errdefs.ErrNotFound)
	for i, address := range desc.URLs {
		body, failed := c.openForeign(ctx, address, desc)
		if failed == nil {
			return body, nil
		}
		failed = fmt.Errorf("layer %s at %s: %w", desc.Digest, address, failed)
		if i == 0 {
			err = failed
		} else {
			err = errors.Join(err, failed)
		}
	}
	return nil, err
}

func (c *Client) openForeign(ctx context.Context, address string, desc ocispec.Descriptor) (io.ReadCloser, error) {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && !(u.Scheme == "http" && c.insecure(u.Host)) {
		return nil, errdefs.ErrInvalidArgument.WithMessage("not an https address")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	switch n := resp.ContentLength; {
	case resp.StatusCode != http.StatusOK:
		err = &Error{Status: resp.StatusCode, URL: resp.Request.URL.Redacted()}
	case n >= 0 && n != desc.Size:
		err = errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("failed size validation: %d bytes, the manifest says %d", n, desc.Size))
	}
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	return resp.Body, nil
}
