package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/common"
)

// call is one request: everything but the method and path may stay empty.
type call struct {
	method, path string
	query        url.Values
	header       http.Header
	body         any       // sent as JSON
	stream       io.Reader // sent as it is, instead of body
	streamType   string
	upgrade      string // what a connection that is taken over speaks from then on, "tcp" when empty
}

// do sends k and gives back the answer, whose body the caller closes. An answer of 400 and above
// is an *Error.
func (c *Client) do(ctx context.Context, k call) (*http.Response, error) {
	if k.stream != nil && !c.settled.Load() {
		if _, err := c.Ping(ctx); err != nil { // a stream cannot be sent twice: settle the version first
			return nil, err
		}
	}
	for {
		version := c.Version()
		req, err := c.request(ctx, k)
		if err != nil {
			return nil, err
		}
		res, err := c.http.Do(req)
		if err != nil {
			return nil, plain(err)
		}
		if res.StatusCode < 400 { // 304 is what start and stop say when there was nothing to do
			c.settled.Store(true)
			return res, nil
		}
		err = readError(res)
		if k.stream != nil || !c.lower(version, err) {
			return nil, err
		}
	}
}

// checkNamed refuses a call for something without a name: its path would be that of another call.
func checkNamed(path string) error {
	for _, kind := range []string{"container", "volume", "network"} {
		if name, ok := strings.CutPrefix(path, "/"+kind+"s/"); ok && (name == "" || name[0] == '/') {
			return errdefs.ErrInvalidArgument.WithMessage("invalid " + kind + " name or ID: value is empty")
		}
	}
	return nil
}

func (c *Client) request(ctx context.Context, k call) (*http.Request, error) {
	if err := checkNamed(k.path); err != nil {
		return nil, err
	}
	body, header := k.stream, http.Header{}
	if k.body != nil {
		raw, err := json.Marshal(k.body)
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", k.path, err)
		}
		body = bytes.NewReader(raw)
		header.Set("Content-Type", "application/json")
	}
	if k.stream != nil && k.streamType != "" {
		header.Set("Content-Type", k.streamType)
	}
	target := "http://" + c.hostHeader() + c.base + "/v" + c.Version() + k.path
	if len(k.query) > 0 {
		target += "?" + k.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, k.method, target, body)
	if err != nil {
		return nil, fmt.Errorf("make request %s: %w", k.path, err)
	}
	for _, h := range []http.Header{c.config.Header, header, k.header} {
		for name, values := range h {
			req.Header[name] = values
		}
	}
	return req, nil
}

func (c *Client) hostHeader() string {
	if c.network == "tcp" {
		return c.address
	}
	return "api.moby.localhost"
}

// plain takes the wrapping of net/http off an error, so that a user reads the cause and not the URL.
func plain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	var connect *ConnectError
	if errors.As(err, &connect) {
		return connect
	}
	return err
}

// readError turns an answer of 400 and above into an *Error and closes its body.
func readError(res *http.Response) error {
	defer res.Body.Close()
	raw, _ := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	e := &Error{Status: res.StatusCode}
	var body common.ErrorResponse
	if json.Unmarshal(raw, &body) == nil && body.Message != "" {
		e.Message = strings.TrimSpace(body.Message)
		return e
	}
	if e.Message = strings.TrimSpace(string(raw)); e.Message == "" {
		e.Message = "request returned " + http.StatusText(res.StatusCode) + " for API route and version " + res.Request.URL.Path +
			", check if the server supports the requested API version"
	}
	return e
}

// lower reads from a refusal which version the daemon would have taken, and takes that one. It tells whether the
// request is worth sending again.
func (c *Client) lower(sent string, err error) bool {
	var e *Error
	if c.settled.Load() || !errors.As(err, &e) || e.Status != http.StatusBadRequest || !strings.Contains(e.Message, "is too new") {
		return false
	}
	_, newest, ok := strings.Cut(e.Message, "Maximum supported API version is ")
	newest = strings.TrimRight(newest, ". \n")
	if !ok || newest == "" || newest == sent {
		return false
	}
	c.version.Store(newest)
	return true
}

// get asks for path and decodes the JSON answer into out.
func (c *Client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.decode(ctx, call{method: http.MethodGet, path: path, query: query}, out)
}

// post sends body as JSON and decodes the answer into out; both may be nil.
func (c *Client) post(ctx context.Context, path string, query url.Values, body, out any) error {
	return c.decode(ctx, call{method: http.MethodPost, path: path, query: query, body: body}, out)
}

func (c *Client) decode(ctx context.Context, k call, out any) error {
	res, err := c.do(ctx, k)
	if err != nil {
		return err
	}
	defer func() {
		_, _ = io.CopyN(io.Discard, res.Body, 64<<10) // a body read to its end lets the connection be used again
		res.Body.Close()
	}()
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(res.Body).Decode(out); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("decode answer of %s: %w", k.path, err)
	}
	return nil
}

// raw asks for path and gives the answer's bytes as they are.
func (c *Client) raw(ctx context.Context, path string, query url.Values) ([]byte, error) {
	res, err := c.do(ctx, call{method: http.MethodGet, path: path, query: query})
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	return io.ReadAll(res.Body)
}
