package remote

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/ref"
)

// Login finds out whether a registry accepts the credentials. serverAddress is what clients call the registry: a
// host, a URL, or "" for docker.io. The token, when there is one, stands for the password from now on. Wrong
// credentials are errdefs.ErrUnauthenticated.
func (c *Client) Login(ctx context.Context, serverAddress string, cred Credentials) (string, error) {
	places, err := c.endpoints(registryName(serverAddress), 0)
	if err != nil {
		return "", err
	}
	r := request{at: places[len(places)-1], session: NewSession(cred)}
	resp, err := c.send(ctx, r, "")
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusUnauthorized {
		defer resp.Body.Close()
		if resp.StatusCode/100 == 2 && !strings.Contains(resp.Header.Get("Content-Type"), "html") {
			return "", nil
		}
		return "", loginError(resp, &Error{Status: resp.StatusCode, URL: resp.Request.URL.Redacted()})
	}
	defer resp.Body.Close()
	bearer, basic := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	var value, refresh string
	switch {
	case bearer != nil:
		t, fresh, err := c.fetchToken(ctx, r, resp.Request.URL, bearer, cred.IdentityToken == "")
		if err != nil {
			return "", loginError(resp, err)
		}
		value, refresh = t.value, fresh
	case basic:
		value = basicValue(cred)
	default:
		return "", loginError(resp, errdefs.ErrUnauthenticated.WithMessage("the registry does not say how to sign in"))
	}
	checked, err := c.send(ctx, r, value)
	if err != nil {
		return "", err
	}
	if checked.StatusCode/100 != 2 {
		return "", loginError(resp, refusal(checked))
	}
	checked.Body.Close()
	return refresh, nil
}

func loginError(resp *http.Response, err error) error {
	return fmt.Errorf("Get %q: %w", resp.Request.URL.Redacted(), err)
}

// registryName reduces what clients call a registry to how names begin.
func registryName(address string) string {
	if u, err := url.Parse(address); err == nil && u.Host != "" {
		address = u.Host
	}
	address, _, _ = strings.Cut(address, "/")
	switch address {
	case "", "index.docker.io", dockerHub:
		return ref.DefaultHost
	}
	return address
}
