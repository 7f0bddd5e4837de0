// Package remote talks to OCI and Docker registries: it resolves names, fetches and
// uploads manifests and blobs, lists and deletes, and signs in.
//
// Tokens and what a registry turned out to speak live no longer than a Session: one command, as a rule. The next one asks anew.
//
// It speaks HTTPS to everybody. Only hosts on the loopback interface and those the configuration calls insecure
// may also answer in plain HTTP or with a certificate nobody vouches for. A registry is believed in nothing: answers
// are bounded in size and time, credentials go to the registry and its token service and nowhere else, and every
// digest is computed here.
package remote

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
)

// Config is what a Client needs to know about this machine.
type Config struct {
	// Insecure are registries that need no valid TLS: "host", "host:port" or an address range in CIDR form.
	// 127.0.0.0/8, ::1 and localhost always are.
	Insecure []string
	// Mirrors are base URLs asked before docker.io for its images.
	Mirrors []string
	// CertsDirs are folders with a folder per registry, named host or host:port, with *.crt (authorities),
	// *.cert with *.key (our own certificate), and hosts.toml (where its images are to be had, see hosts). They are read
	// anew at each use.
	CertsDirs []string
	// UserAgent is sent with every request.
	UserAgent string
	// Idle is how long a registry may be silent within an answer; 0 means 30 seconds.
	Idle time.Duration
}

// A Keeper has credentials somewhere else and speaks with token services itself, so that a password need not come here.
type Keeper interface {
	// Token asks the service at realm for a token with these scopes, and tells how long it is good.
	Token(ctx context.Context, realm, service string, scopes []string) (token string, life time.Duration, err error)
	// Login gives the name and password for a registry without a token service; "" when there are none.
	Login(ctx context.Context) (username, password string, err error)
}

// Credentials are what a user presents to one registry. The zero value is an anonymous user.
type Credentials struct {
	Username, Password string
	// IdentityToken is exchanged for access tokens at the token service.
	IdentityToken string
	// RegistryToken is presented to the registry as it is.
	RegistryToken string
	// Keeper, when set, stands in for all of these.
	Keeper Keeper
}

// Session is one user's dealings with one registry, for one command or for as long as a cache of it runs: it keeps the tokens it was
// given and how the registry speaks. It is safe for concurrent use.
type Session struct {
	cred   Credentials
	mu     sync.Mutex
	plain  map[string]bool // insecure hosts that turned out to speak plain HTTP
	tokens map[tokenKey]token
}

// NewSession begins a session of the user with these credentials.
func NewSession(cred Credentials) *Session {
	return &Session{cred: cred, plain: map[string]bool{}, tokens: map[tokenKey]token{}}
}

func (s *Session) speaksPlain(host string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.plain[host]
}

// Client speaks to registries. It is safe for concurrent use and keeps connections between calls.
type Client struct {
	config Config
	reach  atomic.Pointer[reach]
	http   *http.Client

	mu     sync.Mutex
	pools  map[string]pool
	sloppy map[string]bool // hosts that send bodies with answers that have none
}

// dockerHub is where docker.io really answers.
const dockerHub = "registry-1.docker.io"

// New checks the configuration; it connects to nobody. Errors are errdefs.ErrInvalidArgument.
func New(config Config) (*Client, error) {
	config.Idle = cmp.Or(config.Idle, 30*time.Second)
	config.UserAgent = cmp.Or(config.UserAgent, "cove")
	c := &Client{config: config, pools: map[string]pool{}, sloppy: map[string]bool{}}
	c.http = &http.Client{Transport: transport{c}, CheckRedirect: c.followRedirect}
	if err := c.Configure(config.Insecure, config.Mirrors); err != nil {
		return nil, err
	}
	return c, nil
}

// reach is whom a client asks besides the registries themselves, and whom it trusts without TLS.
type reach struct {
	insecure []string
	ranges   []netip.Prefix
	mirrors  []endpoint
}

// Configure changes, for what begins from then on, what New was told of insecure registries and of mirrors; all or none. Errors
// are errdefs.ErrInvalidArgument.
func (c *Client) Configure(insecure, mirrors []string) error {
	r := &reach{insecure: insecure}
	for _, entry := range insecure {
		if !strings.Contains(entry, "/") {
			continue
		}
		p, err := netip.ParsePrefix(entry)
		if err != nil {
			return fmt.Errorf("insecure registry %q: %w (%w)", entry, err, errdefs.ErrInvalidArgument)
		}
		r.ranges = append(r.ranges, p.Masked())
	}
	for _, raw := range mirrors {
		u, err := url.Parse(raw)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid mirror: %q is not a plain http or https URL", raw))
		}
		r.mirrors = append(r.mirrors, endpoint{host: u.Host, root: strings.TrimRight(u.Path, "/") + "/v2", scheme: u.Scheme, can: pulling | resolving})
	}
	c.reach.Store(r)
	return nil
}

// Close drops idle connections.
func (c *Client) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range c.pools {
		p.transport.CloseIdleConnections()
	}
}
