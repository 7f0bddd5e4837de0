// Package s3 keeps a registry's objects in a bucket of any S3-compatible store, so that several registries without a state
// of their own can serve the same content.
//
//	<bucket>/
//	    <prefix>/<key>     one object for each key, as package repository names them
//
// Nothing is locked and nothing is remembered between calls: S3 answers every read with the last write, and that is all the
// package builds on. A put or an assembled object appears when the store says it is complete, never before. Calls that fail for
// a reason that may pass are repeated; reads go on where they were cut. What a killed process leaves behind are
// multipart uploads that nobody completes; Expire aborts them.
package s3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/cove-containers/cove/repository"
)

// Config says which bucket, and how to speak to it.
type Config struct {
	Endpoint string // URL of the store; "" is Amazon's, in Region
	Region   string // "" is what Endpoint tells, else us-east-1
	Bucket   string
	Prefix   string // of every key, "" for none
	// AccessKey and SecretKey sign the calls. Without them the keys are looked for where Amazon's own tools look: the
	// environment, ~/.aws/credentials, the role of the machine.
	AccessKey, SecretKey, SessionToken string
	// VirtualHosts names the bucket in the host (bucket.endpoint) where it is not Amazon's; most other stores want it in the path.
	VirtualHosts bool
	Transport    http.RoundTripper // nil is one that fits
}

// Sizes of what goes over the wire at once. The store demands that every part of a multipart upload but the last has least bytes.
const (
	least    = 5 << 20
	partSize = 8 << 20
	maxParts = 10000
	maxCopy  = 128 << 20 // one server-side copy; larger objects are copied by several at once
	maxPut   = 5 << 40
	parallel = 4 // parts of one object on their way at once, when buffers are free
)

// Store is a repository.Storage in a bucket.
type Store struct {
	core    minio.Core
	bucket  string
	prefix  string        // "" or with a slash at its end
	buffers chan struct{} // what all puts together may hold beyond one part each
	clock   *clock
}

// Open checks that the bucket can be reached with the keys given.
func Open(ctx context.Context, c Config) (*Store, error) {
	if c.Bucket == "" {
		return nil, fmt.Errorf("S3 storage needs the name of a bucket: %w", errdefs.ErrInvalidArgument)
	}
	host, secure, err := endpoint(c)
	if err != nil {
		return nil, err
	}
	region := c.Region
	if region == "" {
		if region = s3utils.GetRegionFromURL(url.URL{Host: host}); region == "" {
			region = "us-east-1"
		}
	}
	keys := credentials.NewStaticV4(c.AccessKey, c.SecretKey, c.SessionToken)
	if c.AccessKey == "" {
		keys = credentials.NewChainCredentials([]credentials.Provider{
			&credentials.EnvAWS{}, &credentials.FileAWSCredentials{}, &credentials.IAM{Client: &http.Client{Timeout: 5 * time.Second}},
		})
	}
	lookup := minio.BucketLookupPath
	if c.VirtualHosts || s3utils.IsAmazonEndpoint(url.URL{Host: host}) {
		lookup = minio.BucketLookupDNS
	}
	if c.Transport == nil {
		c.Transport = transport()
	}
	clock := &clock{next: c.Transport}
	core, err := minio.NewCore(host, &minio.Options{
		Creds: keys, Secure: secure, Region: region, BucketLookup: lookup, Transport: clock,
		MaxRetries: 1, // how often, and after what, is decided in retry.go
	})
	if err != nil {
		return nil, fmt.Errorf("S3 storage at %s: %w: %w", host, err, errdefs.ErrInvalidArgument)
	}
	s := &Store{core: *core, bucket: c.Bucket, buffers: make(chan struct{}, 2*parallel), clock: clock}
	if p := strings.Trim(c.Prefix, "/"); p != "" {
		s.prefix = p + "/"
	}
	err = s.try(ctx, "open bucket", "", func() error {
		found, err := s.core.BucketExists(ctx, s.bucket)
		if err == nil && !found {
			err = fmt.Errorf("bucket %q at %s does not exist: %w", s.bucket, host, errdefs.ErrNotFound)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

func endpoint(c Config) (host string, secure bool, err error) {
	if c.Endpoint == "" {
		if c.Region == "" {
			return "s3.amazonaws.com", true, nil
		}
		return "s3." + c.Region + ".amazonaws.com", true, nil
	}
	text := c.Endpoint
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" {
		return "", false, fmt.Errorf("S3 endpoint %q is not of the form https://HOST[:PORT]: %w", c.Endpoint, errdefs.ErrInvalidArgument)
	}
	return u.Host, u.Scheme == "https", nil
}

// transport waits for no store for ever. Five minutes are for stores that put a large object together before they answer; reads ask
// again sooner.
func transport() http.RoundTripper {
	dial := &net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy: http.ProxyFromEnvironment, DialContext: dial.DialContext, MaxIdleConnsPerHost: 64, MaxIdleConns: 256, IdleConnTimeout: 90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second, ResponseHeaderTimeout: 5 * time.Minute, ExpectContinueTimeout: 10 * time.Second,
		DisableCompression: true, WriteBufferSize: 64 << 10, ReadBufferSize: 64 << 10,
	}
}

// Stat tells an object's size and when it was written, to the second.
func (s *Store) Stat(ctx context.Context, key string) (repository.Object, error) {
	info, err := s.stat(ctx, key)
	if err != nil {
		return repository.Object{}, err
	}
	return repository.Object{Key: key, Size: info.Size, Modified: s.clock.here(info.LastModified)}, nil
}

func (s *Store) stat(ctx context.Context, key string) (info minio.ObjectInfo, err error) {
	err = s.try(ctx, "stat", key, func() error {
		info, err = s.core.StatObject(ctx, s.bucket, s.prefix+key, minio.StatObjectOptions{})
		return err
	})
	return info, err
}

// List returns objects in byte order; a page of the store's holds a thousand.
func (s *Store) List(ctx context.Context, prefix, after string, n int) ([]repository.Object, error) {
	var out []repository.Object
	for {
		page := 1000
		if n > 0 {
			page = min(n-len(out), page)
		}
		got, more, err := s.page(ctx, prefix, after, page)
		if err != nil {
			return nil, err
		}
		out = append(out, got...)
		if !more || len(out) == n {
			return out, nil
		}
		after = got[len(got)-1].Key
	}
}

// page lists up to n objects and tells whether there may be more.
func (s *Store) page(ctx context.Context, prefix, after string, n int) (got []repository.Object, more bool, err error) {
	start := ""
	if after != "" {
		start = s.prefix + after
	}
	err = s.try(ctx, "list", prefix, func() error {
		got = nil
		ctx, stop := context.WithCancel(ctx)
		defer stop()
		for o := range s.core.ListObjectsIter(ctx, s.bucket, minio.ListObjectsOptions{Prefix: s.prefix + prefix, StartAfter: start, MaxKeys: n, Recursive: true}) {
			if o.Err != nil {
				return o.Err
			}
			if strings.HasSuffix(o.Key, "/") {
				continue // a folder, as some consoles and file gateways make them; none of ours
			}
			got = append(got, repository.Object{Key: strings.TrimPrefix(o.Key, s.prefix), Size: o.Size, Modified: s.clock.here(o.LastModified)})
			if len(got) == n {
				break
			}
		}
		return ctx.Err()
	})
	return got, len(got) == n, err
}

// Delete removes objects; those that are not there are no error. A thousand go in one call.
func (s *Store) Delete(ctx context.Context, keys ...string) error {
	gone := map[string]bool{}
	if len(keys) > 1 {
		// What this does not confirm, for whatever reason, is deleted one by one below.
		all := func(yield func(minio.ObjectInfo) bool) {
			for _, k := range keys {
				if !yield(minio.ObjectInfo{Key: s.prefix + k}) {
					return
				}
			}
		}
		results, err := s.core.RemoveObjectsWithIter(ctx, s.bucket, all, minio.RemoveObjectsOptions{})
		if err != nil {
			return s.failed("delete", fmt.Sprintf("%d objects", len(keys)), err)
		}
		for r := range results {
			if r.Err == nil {
				gone[strings.TrimPrefix(r.ObjectName, s.prefix)] = true
			}
		}
	}
	var failed []error
	for _, k := range keys {
		if gone[k] {
			continue
		}
		err := s.try(ctx, "delete", k, func() error {
			return s.core.RemoveObject(ctx, s.bucket, s.prefix+k, minio.RemoveObjectOptions{})
		})
		if err != nil && !errdefs.IsNotFound(err) {
			failed = append(failed, err)
		}
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(failed...)
}

// Expire aborts the multipart uploads under the store's prefix that began before a time, and tells how many. The time must lie
// so far back that no put of a living registry can be among them.
func (s *Store) Expire(ctx context.Context, before time.Time) (int, error) {
	var old []minio.ObjectMultipartInfo
	err := s.try(ctx, "list uploads", "", func() error {
		old = old[:0]
		key, id := "", ""
		for {
			page, err := s.core.ListMultipartUploads(ctx, s.bucket, s.prefix, key, id, "", 1000)
			if err != nil {
				return err
			}
			for _, u := range page.Uploads {
				if s.clock.here(u.Initiated).Before(before) {
					old = append(old, u)
				}
			}
			if !page.IsTruncated || page.NextKeyMarker == key && page.NextUploadIDMarker == id {
				return nil
			}
			key, id = page.NextKeyMarker, page.NextUploadIDMarker
		}
	})
	if err != nil {
		return 0, err
	}
	n := 0
	for _, u := range old {
		if err := s.abort(ctx, u.Key, u.UploadID); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
