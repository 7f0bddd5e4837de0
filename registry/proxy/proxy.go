// Package proxy makes a registry a pull-through cache of another, the upstream. It is what the registry's door pulls from:
// what is not kept, or not known to be fresh, is fetched, kept and passed on in one stream.
//
// A tag is believed for a while, then the upstream is asked whether it still means the same; a digest means the same for
// ever. While the upstream cannot be reached, what is kept is served. What the upstream says no to is not served, though
// it be kept.
//
//	proxy/<name>+/<digest>     a manifest somebody pulled, as old as its last pull; an object of the registry's storage
package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/sync/singleflight"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/repository"
)

// How long the upstream may take.
const (
	patience   = 2 * time.Minute  // for a small answer nothing can stand in for
	impatience = 5 * time.Second  // for one that something kept can
	rest       = 15 * time.Second // how long an upstream that failed is not asked what something kept can answer
)

// Config says what is cached, and how.
type Config struct {
	Upstream    Upstream
	Credentials remote.Credentials
	// Fresh is how long a tag is believed without asking.
	Fresh time.Duration
	// Keep is how long what nobody pulls is kept; 0 is for ever.
	Keep time.Duration
	// Spool is the folder for downloads in the making. Nothing stays in it.
	Spool string
}

// Parts are what a Proxy works with.
type Parts struct {
	Store   *repository.Store
	Storage repository.Storage // the store's
	Remote  *remote.Client
	Log     *slog.Logger
}

// Proxy is the cache. It is safe for concurrent use.
type Proxy struct {
	config  Config
	parts   Parts
	session *remote.Session
	life    context.Context
	end     context.CancelFunc
	tasks   sync.WaitGroup
	slots   chan struct{} // one for each download under way
	asking  singleflight.Group

	mu        sync.Mutex
	checked   map[string]time.Time // when the upstream last confirmed "name tag"
	touched   map[string]time.Time // when the last use of a manifest was written down
	downUntil time.Time
	downloads map[string]*download // by "name digest"
	sizes     map[string]int64     // likewise, of blobs the upstream was just asked about
}

// New makes the cache; Close ends it, when nobody calls it any more.
func New(config Config, parts Parts) *Proxy {
	p := &Proxy{
		config: config, parts: parts, session: remote.NewSession(config.Credentials),
		checked: map[string]time.Time{}, touched: map[string]time.Time{}, downloads: map[string]*download{}, sizes: map[string]int64{},
		slots: make(chan struct{}, maxDownloads),
	}
	p.life, p.end = context.WithCancel(context.Background())
	return p
}

// Close ends downloads and waits for them.
func (p *Proxy) Close() {
	p.end()
	p.tasks.Wait()
}

// Upstream is the registry that is cached: a host, and what stands before the names of its repositories.
type Upstream struct{ Host, Prefix string }

// ParseUpstream reads the URL or host of a registry; plain tells that it is to be reached without TLS.
func ParseUpstream(text string) (u Upstream, plain bool, err error) {
	if !strings.Contains(text, "://") {
		text = "https://" + text
	}
	at, err := url.Parse(text)
	if err != nil || at.Scheme != "https" && at.Scheme != "http" || at.Host == "" || at.User != nil || at.RawQuery != "" || at.Fragment != "" {
		return u, false, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid upstream %q: want a registry's http or https URL, without user and query", text))
	}
	u = Upstream{at.Host, strings.Trim(strings.TrimPrefix(strings.TrimSuffix(at.Path, "/")+"/", "/v2/"), "/")}
	switch u.Host {
	case "registry-1.docker.io", "index.docker.io", "hub.docker.com":
		u.Host = ref.DefaultHost
	}
	if u.Prefix != "" && repository.CheckName(u.Prefix) != nil {
		return u, false, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid upstream %q: its path cannot begin a repository's name", text))
	}
	return u, at.Scheme == "http", nil
}

// name is what the upstream calls a repository of ours: on Docker Hub, a name of one part is short for an official image.
func (u Upstream) name(ours string) ref.Name {
	path := ours
	switch {
	case u.Prefix != "":
		path = u.Prefix + "/" + ours
	case u.Host == ref.DefaultHost && !strings.Contains(ours, "/"):
		path = "library/" + ours
	}
	return ref.Name{Host: u.Host, Path: path}
}

// String is the upstream as users write it.
func (u Upstream) String() string { return strings.TrimSuffix(u.Host+"/"+u.Prefix, "/") }

// down tells whether the upstream failed a moment ago.
func (p *Proxy) down() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return time.Now().Before(p.downUntil)
}

// judge notes what an answer, or its absence, says of the upstream, and tells whether err means that it cannot be reached.
func (p *Proxy) judge(err error) bool {
	failed := err != nil && unreachable(err)
	p.mu.Lock()
	defer p.mu.Unlock()
	if failed {
		if time.Now().After(p.downUntil) {
			p.parts.Log.Warn("registry: the upstream cannot be reached", "upstream", p.config.Upstream.String(), "error", err)
		}
		p.downUntil = time.Now().Add(rest)
	} else {
		p.downUntil = time.Time{}
	}
	return failed
}

// unreachable tells an upstream that cannot answer from one that says no.
func unreachable(err error) bool {
	var refused *remote.Error
	if errors.As(err, &refused) {
		return refused.Status >= 500 || refused.Status == http.StatusTooManyRequests || refused.Status == http.StatusRequestTimeout
	}
	return !errors.Is(err, errSpool) && !errors.Is(err, errKeep) && !errors.Is(err, errdefs.ErrFailedPrecondition) && !errors.Is(err, errdefs.ErrInvalidArgument)
}

// refused says what an error of asking the upstream means here; unknown is the code for what is not there.
func (p *Proxy) refused(err error, unknown repository.Code) error {
	var said *remote.Error
	if !errors.As(err, &said) && !unreachable(err) || p.life.Err() != nil {
		return err
	}
	code, kind := unknown, error(errdefs.ErrNotFound)
	switch {
	case unreachable(err):
		code, kind = "", errdefs.ErrUnavailable
	case errdefs.IsNotFound(err):
	// Not "unauthenticated": the client would sign in here once more, where nothing is wrong.
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err):
		code, kind = repository.Denied, errdefs.ErrPermissionDenied
	default:
		kind = errdefs.ErrInternal
	}
	err = fmt.Errorf("upstream %s: %v: %w", p.config.Upstream, err, kind)
	if code != "" {
		err = &repository.Error{Code: code, Err: err}
	}
	return err
}
