package remote

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
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
	method    string // "" is GET
	at        endpoint
	path      string // below the API's root, already escaped
	query     url.Values
	to        *url.URL // where an upload goes on, instead of path and query
	header    http.Header
	body      *payload
	scope     string // what a token must allow, "" for the registry itself
	session   *Session
	anonymous bool // the session's credentials are not for this place
}

// payload is the body of a request: a piece of something that can be read again when the request has to be repeated.
type payload struct {
	from         io.ReaderAt
	offset, size int64
	// sent, when set, hears how much of the piece has gone out.
	sent func(n int64)

	mu   sync.Mutex
	live *outgoing // the one whose reading counts
}

// credentials are what may be shown to the place r goes to.
func (r request) credentials() Credentials {
	if r.anonymous {
		return Credentials{}
	}
	return r.session.cred
}

// ask asks until there is a 2xx answer or no hope, and returns the open answer. A refusal is an *Error.
func (c *Client) ask(ctx context.Context, r request) (*http.Response, error) {
	p := patience{limit: maxTries}
	for {
		resp, err := c.once(ctx, r)
		if err == nil {
			return resp, nil
		}
		if !passing(err) || !p.wait(ctx, err) {
			return nil, err
		}
	}
}

// patience is how often and how long has been waited for a registry already.
type patience struct {
	limit  int // of tries
	tries  int
	waited time.Duration
}

// wait waits before another try after err, unless that makes no sense any more.
func (p *patience) wait(ctx context.Context, err error) bool {
	if p.tries++; p.tries >= p.limit || ctx.Err() != nil {
		return false
	}
	var after time.Duration
	if refused := new(Error); errors.As(err, &refused) {
		after = refused.After
	}
	pause := max(after, backOff(p.tries))
	if p.waited += pause; pause > maxWait || p.waited > waitBudget {
		return false
	}
	return sleep(ctx, pause) == nil
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

// once asks once. A refusal is an *Error.
func (c *Client) once(ctx context.Context, r request) (*http.Response, error) {
	resp, err := c.authorized(ctx, r)
	if err == nil && resp.StatusCode/100 != 2 {
		return nil, refusal(resp)
	}
	return resp, err
}

// authorized sends r, and once more with what the registry asked for when it asked for authorization.
func (c *Client) authorized(ctx context.Context, r request) (*http.Response, error) {
	if r.elsewhere() {
		return c.send(ctx, r, "")
	}
	known, err := c.knownAuthorization(ctx, r)
	if err != nil {
		return nil, err
	}
	resp, err := c.send(ctx, r, known)
	if err != nil || resp.StatusCode != http.StatusUnauthorized {
		return resp, err
	}
	// Where a redirect leads has no say in whom to show credentials.
	if at := resp.Request.URL; address(at) != address(&url.URL{Scheme: at.Scheme, Host: r.at.host}) {
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
	if r.to != nil {
		return c.exchange(ctx, r, r.to.Scheme, authorization)
	}
	if r.at.scheme != "" {
		return c.exchange(ctx, r, r.at.scheme, authorization)
	}
	if !c.insecure(r.at.host) {
		return c.exchange(ctx, r, "https", authorization)
	}
	if !r.session.speaksPlain(r.at.host) {
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

// target is where r goes.
func (r request) target(scheme string) string {
	if r.to != nil {
		return r.to.String()
	}
	query := r.query
	if r.at.namespace != "" {
		query = maps.Clone(query)
		if query == nil {
			query = url.Values{}
		}
		query.Set("ns", r.at.namespace)
	}
	target := scheme + "://" + r.at.host + r.at.root + "/" + r.path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	return target
}

func (c *Client) exchange(ctx context.Context, r request, scheme, authorization string) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	w := newWatch(c.config.Idle, cancel)
	req, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, http.MethodGet), r.target(scheme), nil)
	if err != nil {
		cancel(nil)
		return nil, fmt.Errorf("ask registry: %w", err)
	}
	if !r.elsewhere() {
		req = req.WithContext(context.WithValue(ctx, endpointKey{}, r.at))
		maps.Copy(req.Header, r.at.header)
	}
	maps.Copy(req.Header, r.header)
	req.Header.Set("User-Agent", c.config.UserAgent)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	r.body.attach(req, w)
	w.start()
	resp, err := c.http.Do(req)
	r.body.detach()
	if err = w.stop(err); err != nil {
		cancel(nil)
		return nil, err
	}
	resp.Body = &idleBody{body: resp.Body, watch: w, cancel: cancel}
	return resp, nil
}
