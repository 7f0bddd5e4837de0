package remote

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"syscall"
	"time"
)

// How stubborn one request is.
const (
	maxTries   = 5
	maxWait    = 30 * time.Second // for one Retry-After
	waitBudget = 60 * time.Second // for all of them
)

// request is one question to a registry.
type request struct {
	at        endpoint
	path      string // below /v2/, already escaped
	query     url.Values
	header    http.Header
	scope     string // what a token must allow, "" for the registry itself
	session   *Session
	anonymous bool // the session's credentials are not for this place
}

// credentials are what may be shown to the place r goes to.
func (r request) credentials() Credentials {
	if r.anonymous {
		return Credentials{}
	}
	return r.session.cred
}

// get asks until there is a 2xx answer or no hope, and returns the open answer. A refusal is an *Error.
func (c *Client) get(ctx context.Context, r request) (*http.Response, error) {
	var waited time.Duration
	for try := 1; ; try++ {
		resp, err := c.authorized(ctx, r)
		if err == nil && resp.StatusCode/100 == 2 {
			return resp, nil
		}
		var after time.Duration
		if err == nil {
			after = retryAfter(resp)
			err = refusal(resp)
		}
		if !passing(err) || try == maxTries || ctx.Err() != nil {
			return nil, err
		}
		wait := max(after, backOff(try))
		if waited += wait; wait > maxWait || waited > waitBudget {
			return nil, err
		}
		if err := sleep(ctx, wait); err != nil {
			return nil, err
		}
	}
}

// passing tells whether another try may go better.
func passing(err error) bool {
	var e *Error
	if errors.As(err, &e) {
		switch e.Status {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return true
		}
		return false
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

func backOff(try int) time.Duration {
	base := 250 * time.Millisecond << (try - 1)
	return base + rand.N(base/2)
}

func retryAfter(resp *http.Response) time.Duration {
	value := resp.Header.Get("Retry-After")
	if seconds, err := strconv.ParseInt(value, 10, 32); err == nil {
		return time.Duration(max(seconds, 0)) * time.Second
	}
	if at, err := http.ParseTime(value); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// authorized sends r, and once more with what the registry asked for when it asked for authorization.
func (c *Client) authorized(ctx context.Context, r request) (*http.Response, error) {
	known := r.knownAuthorization()
	resp, err := c.send(ctx, r, known)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	if resp.Request.URL.Host != r.at.host { // where a redirect leads has no say in whom to show credentials
		return resp, nil
	}
	value, err := c.authorization(ctx, r, resp)
	if err != nil {
		resp.Body.Close()
		return nil, err
	}
	if value == "" || value == known {
		return resp, nil
	}
	io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
	resp.Body.Close()
	return c.send(ctx, r, value)
}

// send makes one exchange. Hosts that need no TLS are tried with it first.
func (c *Client) send(ctx context.Context, r request, authorization string) (*http.Response, error) {
	if r.at.scheme != "" {
		return c.exchange(ctx, r, r.at.scheme, authorization)
	}
	if !c.insecure(r.at.host) {
		return c.exchange(ctx, r, "https", authorization)
	}
	r.session.mu.Lock()
	plain := r.session.plain[r.at.host]
	r.session.mu.Unlock()
	if !plain {
		resp, err := c.exchange(ctx, r, "https", authorization)
		if err == nil || ctx.Err() != nil || !speaksPlain(err) {
			return resp, err
		}
	}
	resp, err := c.exchange(ctx, r, "http", authorization)
	if err == nil {
		r.session.mu.Lock()
		r.session.plain[r.at.host] = true
		r.session.mu.Unlock()
	}
	return resp, err
}

// speaksPlain tells whether a failed TLS attempt leaves plain HTTP as a possibility.
func speaksPlain(err error) bool {
	var record tls.RecordHeaderError
	return errors.As(err, &record) || errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ECONNRESET) ||
		errors.Is(err, io.EOF) || errors.Is(err, http.ErrSchemeMismatch)
}

func (c *Client) exchange(ctx context.Context, r request, scheme, authorization string) (*http.Response, error) {
	target := scheme + "://" + r.at.host + r.at.prefix + "/v2/" + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("ask registry: %w", err)
	}
	for key, values := range r.header {
		req.Header[key] = values
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = newIdleBody(resp.Body, c.config.Idle, cancel)
	return resp, nil
}

// idleBody ends a transfer when nothing came for too long.
type idleBody struct {
	body   io.ReadCloser
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	fired  chan struct{}
}

func newIdleBody(body io.ReadCloser, limit time.Duration, cancel context.CancelCauseFunc) *idleBody {
	b := &idleBody{body: body, limit: limit, cancel: cancel, fired: make(chan struct{})}
	b.timer = time.AfterFunc(limit, func() {
		close(b.fired)
		cancel(errStalled)
	})
	b.timer.Stop()
	return b
}

func (b *idleBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.limit)
	n, err := b.body.Read(p)
	if !b.timer.Stop() && err != nil {
		select {
		case <-b.fired:
			return n, errStalled
		default:
		}
	}
	return n, err
}

func (b *idleBody) Close() error {
	b.timer.Stop()
	err := b.body.Close()
	b.cancel(nil)
	return err
}
