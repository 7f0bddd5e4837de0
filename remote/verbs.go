package remote

import (
	"context"
	"io"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
)

func New(c Config) (*Client, error) { return &Client{}, nil }

var _ digest.Digest

func (c *Client) Manifest(ctx context.Context, name ref.Name, cred Credentials) (ocispec.Descriptor, []byte, error) {
	return ocispec.Descriptor{}, nil, errdefs.ErrNotImplemented
}
func (c *Client) Blob(ctx context.Context, name ref.Name, desc ocispec.Descriptor, offset int64, cred Credentials) (io.ReadCloser, int64, error) {
	return nil, 0, errdefs.ErrNotImplemented
}
func (c *Client) Tags(ctx context.Context, name ref.Name, cred Credentials) ([]string, error) {
	return nil, errdefs.ErrNotImplemented
}

// Login checks credentials; serverAddress is how the client calls the registry, "" is docker.io.
func (c *Client) Login(ctx context.Context, serverAddress string, cred Credentials) (token string, err error) {
	return "", errdefs.ErrNotImplemented
}
