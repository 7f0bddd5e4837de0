package remote

import (
	"context"
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote/hosts"
)

// abilities are what a place may be asked for: content by digest, tags, to take uploads.
type abilities int

const (
	pulling abilities = 1 << iota
	resolving
	pushing
)

func (a abilities) String() string {
	switch a {
	case pushing:
		return "push to"
	case resolving:
		return "resolve names of"
	}
	return "pull from"
}

// endpoint is where requests for a repository go.
type endpoint struct {
	host   string
	root   string // path that the API lies below, "/v2" as a rule
	scheme string // "" when it is to be found out
	can    abilities
	own    bool // it is the registry itself: the user's credentials are for it
	// What hosts.toml says: the namespace a mirror is asked for, headers, and how to reach it.
	namespace string
	header    http.Header
	trust     *hosts.TLS
}

// endpoints are the places to ask for what a registry has, in order, the registry itself last; only those that can do what is
// wanted.
func (c *Client) endpoints(registry string, wanted abilities) ([]endpoint, error) {
	upstream := endpoint{host: registry, root: "/v2", can: pulling | resolving | pushing, own: true}
	if registry == ref.DefaultHost {
		upstream.host = dockerHub
	}
	var all []endpoint
	if registry == ref.DefaultHost {
		all = append(all, c.reach.Load().mirrors...)
	}
	if file := hosts.Find(c.config.CertsDirs, registry); file != "" {
		n, err := hosts.Read(file)
		if err != nil {
			return nil, err
		}
		if n.Server != nil {
			upstream = place(*n.Server, registry)
			upstream.own = true
		}
		for _, h := range n.Mirrors {
			at := place(h, registry)
			at.own = at.host == upstream.host && (at.scheme == "https" || c.plain(upstream))
			all = append(all, at)
		}
	}
	var out []endpoint
	for _, at := range append(all, upstream) {
		if at.can&wanted == wanted {
			out = append(out, at)
		}
	}
	if len(out) == 0 {
		return nil, errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("no host is configured to %s %s", wanted, registry))
	}
	return out, nil
}

// plain tells whether credentials for a registry may be shown to it without TLS.
func (c *Client) plain(at endpoint) bool {
	return at.scheme == "http" || at.scheme == "" && c.insecure(at.host)
}

// place is the endpoint that a host in hosts.toml stands for.
func place(h hosts.Host, registry string) endpoint {
	at := endpoint{host: h.Host, root: h.Root, scheme: h.Scheme, header: h.Header, trust: &h.TLS}
	if registry == ref.DefaultHost && at.host == ref.DefaultHost {
		at.host = dockerHub
	}
	if h.Pull {
		at.can |= pulling
	}
	if h.Resolve {
		at.can |= resolving
	}
	if h.Push {
		at.can |= pushing
	}
	if at.host != registry && at.host != dockerHub {
		at.namespace = registry
	}
	return at
}

// everywhere tries the endpoints of name in order: what a mirror cannot give, the registry itself may.
func (c *Client) everywhere(ctx context.Context, name ref.Name, wanted abilities, session *Session, ask func(r request) error) error {
	places, err := c.endpoints(name.Host, wanted)
	if err != nil {
		return err
	}
	for i, at := range places {
		r := request{at: at, scope: "repository:" + name.Path + ":pull", session: session, anonymous: !at.own}
		err = ask(r)
		if err == nil || i == len(places)-1 || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// writing begins a request that changes the repository of name: mirrors have no part in it, unless hosts.toml says so.
func (c *Client) writing(name ref.Name, session *Session) (request, error) {
	places, err := c.endpoints(name.Host, pushing)
	if err != nil {
		return request{}, err
	}
	return request{at: places[0], anonymous: !places[0].own, path: name.Path, scope: "repository:" + name.Path + ":pull,push", session: session}, nil
}

// itself begins a request to the registry itself, past all mirrors: there where uploads go, or the last of all where none are taken.
func (c *Client) itself(name ref.Name, session *Session) (request, error) {
	r, err := c.writing(name, session)
	if err == nil {
		return r, nil
	}
	places, none := c.endpoints(name.Host, pulling)
	if none != nil {
		return request{}, err
	}
	at := places[len(places)-1]
	return request{at: at, anonymous: !at.own, path: name.Path, scope: "repository:" + name.Path + ":pull", session: session}, nil
}
