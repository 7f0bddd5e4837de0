package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// defaultLife is how long a token is good when the service does not say, by the token specification.
const defaultLife = 60 * time.Second

// tokenKey names what an authorization is good for.
type tokenKey struct{ host, scope string }

// token is a value for the Authorization header; a zero until means that it does not age.
type token struct {
	value string
	until time.Time
	// asked and challenge are what it was fetched for, to fetch another.
	asked     *url.URL
	challenge map[string]string
}

func (r request) key() tokenKey { return tokenKey{r.at.host + r.at.root, r.scope} }

// knownAuthorization is what an earlier answer of this registry asked for, "" when it has not asked yet. What has run
// out meanwhile is fetched anew: a body sent for nothing costs more.
func (c *Client) knownAuthorization(ctx context.Context, r request) (string, error) {
	r.session.mu.Lock()
	t, ok := r.session.tokens[r.key()]
	r.session.mu.Unlock()
	if !ok {
		return "", nil
	}
	if t.until.IsZero() || time.Now().Before(t.until) {
		return t.value, nil
	}
	fresh, _, err := c.fetchToken(ctx, r, t.asked, t.challenge, false)
	if err != nil {
		return "", err
	}
	r.remember(fresh)
	return fresh.value, nil
}

// maxTokens bounds what a session remembers: that of a registry's cache lasts as long as the cache, and clients name its repositories.
const maxTokens = 1024

func (r request) remember(t token) {
	r.session.mu.Lock()
	defer r.session.mu.Unlock()
	if len(r.session.tokens) >= maxTokens {
		clear(r.session.tokens)
	}
	r.session.tokens[r.key()] = t
}

// authorization finds out how to satisfy a 401: the value of the Authorization header, "" when nothing at hand will.
func (c *Client) authorization(ctx context.Context, r request, resp *http.Response) (string, error) {
	cred := r.credentials()
	bearer, basic := parseChallenges(resp.Header.Values("WWW-Authenticate"))
	var t token
	switch {
	case cred.RegistryToken != "":
		return "Bearer " + cred.RegistryToken, nil
	case bearer != nil:
		var err error
		if t, _, err = c.fetchToken(ctx, r, resp.Request.URL, bearer, false); err != nil {
			return "", err
		}
	case basic && cred.Keeper != nil:
		var err error
		if cred.Username, cred.Password, err = cred.Keeper.Login(ctx); err != nil || cred.Username == "" {
			return "", err
		}
		t = token{value: basicValue(cred)}
	case basic && cred.Username != "":
		t = token{value: basicValue(cred)}
	default:
		return "", nil
	}
	r.remember(t)
	return t.value, nil
}

func basicValue(c Credentials) string {
	return "Basic " + base64.StdEncoding.EncodeToString([]byte(c.Username+":"+c.Password))
}

// tokenAnswer is what token services say; the two names of the token mean the same.
type tokenAnswer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	RefreshToken string `json:"refresh_token"`
	ExpiresIn    int64  `json:"expires_in"`
}

// fetchToken asks the token service a registry's challenge names. With offline it also asks for, and returns, a
// refresh token.
func (c *Client) fetchToken(ctx context.Context, r request, asked *url.URL, challenge map[string]string, offline bool) (token, string, error) {
	if k := r.credentials().Keeper; k != nil {
		t, err := c.keptToken(ctx, r, asked, challenge, k)
		return t, "", err
	}
	req, err := c.tokenRequest(ctx, r, asked, challenge, offline)
	if err != nil {
		return token{}, "", err
	}
	ctx, cancel := context.WithTimeout(ctx, c.config.Idle)
	defer cancel()
	resp, err := c.http.Do(req.WithContext(ctx))
	if err != nil {
		return token{}, "", fmt.Errorf("ask token service: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		refused := refusal(resp)
		if refused.Code == "" && !passing(refused) { // that it cannot be found says nothing of the image
			refused.Code, refused.Message = "UNAUTHORIZED", "token service: "+refused.Error()
		}
		return token{}, "", refused
	}
	defer resp.Body.Close()
	var answer tokenAnswer
	if err := json.NewDecoder(io.LimitReader(resp.Body, 1<<20)).Decode(&answer); err != nil {
		return token{}, "", fmt.Errorf("read answer of token service %s: %w", req.URL.Host, err)
	}
	value := answer.Token
	if value == "" {
		value = answer.AccessToken
	}
	if value == "" {
		return token{}, "", fmt.Errorf("token service %s answered without a token", req.URL.Host)
	}
	return bearerToken(value, time.Duration(answer.ExpiresIn)*time.Second, asked, challenge), answer.RefreshToken, nil
}

// bearerToken is a token that is good for so long, asked for with a challenge.
func bearerToken(value string, life time.Duration, asked *url.URL, challenge map[string]string) token {
	life = max(life, defaultLife)
	return token{"Bearer " + value, time.Now().Add(life - life/10), asked, challenge}
}

// keptToken has the keeper of the credentials ask the token service.
func (c *Client) keptToken(ctx context.Context, r request, asked *url.URL, challenge map[string]string, k Keeper) (token, error) {
	realm, err := c.realm(asked, challenge)
	if err != nil {
		return token{}, err
	}
	scopes := strings.Fields(mergeScopes(r.scope, challenge["scope"]))
	value, life, err := k.Token(ctx, realm.String(), challenge["service"], scopes)
	if err != nil {
		return token{}, fmt.Errorf("ask token service: %w", err)
	}
	return bearerToken(value, life, asked, challenge), nil
}

// realm is the token service that a challenge names.
func (c *Client) realm(asked *url.URL, challenge map[string]string) (*url.URL, error) {
	realm, err := url.Parse(challenge["realm"])
	if err != nil || realm.Host == "" || realm.Scheme != "https" && realm.Scheme != "http" {
		return nil, fmt.Errorf("the registry names no usable token service: %q", challenge["realm"])
	}
	if realm.Scheme == "http" && asked.Scheme == "https" && !c.insecure(realm.Host) {
		return nil, errors.New("the registry speaks TLS but its token service does not: " + realm.Redacted())
	}
	return realm, nil
}

func (c *Client) tokenRequest(ctx context.Context, r request, asked *url.URL, challenge map[string]string, offline bool) (*http.Request, error) {
	realm, err := c.realm(asked, challenge)
	if err != nil {
		return nil, err
	}
	scope := mergeScopes(r.scope, challenge["scope"])
	cred := r.credentials()
	if cred.IdentityToken != "" {
		form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {cred.IdentityToken}, "service": {challenge["service"]}, "client_id": {"cove"}}
		if scope != "" {
			form.Set("scope", scope)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, realm.String(), strings.NewReader(form.Encode()))
		if err != nil {
			return nil, fmt.Errorf("ask token service: %w", err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("User-Agent", c.config.UserAgent)
		return req, nil
	}
	query := realm.Query()
	if challenge["service"] != "" {
		query.Set("service", challenge["service"])
	}
	for _, s := range strings.Fields(scope) {
		query.Add("scope", s)
	}
	if cred.Username != "" {
		query.Set("account", cred.Username)
	}
	if offline {
		query.Set("offline_token", "true")
		query.Set("client_id", "cove")
	}
	realm.RawQuery = query.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, realm.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("ask token service: %w", err)
	}
	req.Header.Set("User-Agent", c.config.UserAgent)
	if cred.Username != "" {
		req.Header.Set("Authorization", basicValue(cred))
	}
	return req, nil
}

// mergeScopes adds what a challenge asks for to what we are about to do, action by action. A challenge that speaks of another
// repository than we do knows better what it is called.
func mergeScopes(ours, asked string) string {
	mine, theirs := strings.Fields(ours), strings.Fields(asked)
	if len(theirs) == 0 {
		return ours
	}
	if len(mine) == 0 {
		return asked
	}
	about, _ := splitScope(mine[0])
	known := false
	for _, s := range theirs {
		resource, actions := splitScope(s)
		known = known || resource == about
		i := slices.IndexFunc(mine, func(m string) bool { of, _ := splitScope(m); return of == resource })
		if i < 0 {
			mine = append(mine, s)
			continue
		}
		_, have := splitScope(mine[i])
		for _, action := range actions {
			if !slices.Contains(have, action) {
				mine[i] += "," + action
			}
		}
	}
	if !known {
		return asked
	}
	return strings.Join(mine, " ")
}

// splitScope takes a scope apart: "repository:x:pull,push".
func splitScope(scope string) (resource string, actions []string) {
	if i := strings.LastIndexByte(scope, ':'); i >= 0 {
		return scope[:i], strings.Split(scope[i+1:], ",")
	}
	return scope, nil
}
