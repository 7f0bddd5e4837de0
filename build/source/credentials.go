package source

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
)

// credentials are those that a client of the build has for the registry of a name; none where no client has any. Clients that
// can speak with token services keep their passwords.
func credentials(ctx context.Context, env *step.Env, name ref.Name) remote.Credentials {
	if env.Sessions == nil || env.Group == nil {
		return remote.Credentials{}
	}
	w := &client{env: env, host: name.Host}
	if w.host == ref.DefaultHost {
		w.host = "registry-1.docker.io" // as BuildKit's clients know it
	}
	if _, key, err := auth.GetTokenAuthority(ctx, w.host, env.Sessions, env.Group); err == nil && key != nil {
		return remote.Credentials{Keeper: w}
	}
	user, secret, err := w.Login(ctx)
	switch {
	case err != nil:
		if env.Warn != nil {
			env.Warn(fmt.Sprintf("no credentials for %s: %v", w.host, err), "")
		}
		return remote.Credentials{}
	case user == "" && secret != "":
		return remote.Credentials{IdentityToken: secret}
	}
	return remote.Credentials{Username: user, Password: secret}
}

// client is a client of the build as the keeper of its credentials for a registry.
type client struct {
	env  *step.Env
	host string
}

// Token has the client ask the token service.
func (c *client) Token(ctx context.Context, realm, service string, scopes []string) (string, time.Duration, error) {
	r, err := auth.FetchToken(ctx, &auth.FetchTokenRequest{
		ClientID: "cove", Host: c.host, Realm: realm, Service: service, Scopes: scopes,
	}, c.env.Sessions, c.env.Group)
	if err != nil {
		return "", 0, err
	}
	if r.GetToken() == "" {
		return "", 0, errdefs.ErrUnauthenticated.WithMessage("the client got no token from " + realm)
	}
	return r.GetToken(), time.Duration(r.GetExpiresIn()) * time.Second, nil
}

// Login asks the client for name and password. No client, or one that has none, is no error.
func (c *client) Login(ctx context.Context) (string, string, error) {
	_, user, secret, err := auth.CredentialsFunc(ctx, c.env.Sessions, c.env.Group)(c.host)
	if errors.Is(err, session.ErrNoActiveSessions) {
		err = nil
	}
	return user, secret, err
}
