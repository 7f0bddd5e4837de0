package access

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"time"
)

// skew is by how much the clocks of two replicas may differ.
const skew = 30 * time.Second

// maxToken is far more than a token of ours with all the scopes it may have.
const maxToken = 64 << 10

// claims are what a token says, under the names of the token specification.
type claims struct {
	Issuer   string  `json:"iss"`
	Subject  string  `json:"sub"` // the account, "" for nobody in particular
	Audience string  `json:"aud"`
	Expires  int64   `json:"exp"`
	NotYet   int64   `json:"nbf"`
	Issued   int64   `json:"iat"`
	ID       string  `json:"jti"`
	Access   []scope `json:"access"`
	// State stands for the password the account had; a token does not outlive it.
	State string `json:"state,omitempty"`
	// Refresh is true for tokens that are good for nothing but getting others.
	Refresh bool `json:"refresh,omitempty"`
}

var (
	errExpired      = errors.New("the token has expired")
	errInvalidToken = errors.New("the token is not valid")
)

var encode = base64.RawURLEncoding.EncodeToString

// header is the first part of every token the key signs. Tokens are made by nobody else, so one with another header is
// none of ours: what it says of algorithms is never looked at.
func (k key) header() string {
	return encode([]byte(`{"alg":"ES256","kid":"` + k.id + `","typ":"JWT"}`))
}

// sign makes a token that is good for life.
func (a *Access) sign(c claims, life time.Duration) (string, error) {
	now := a.now()
	c.Issuer, c.Audience = a.config.Service, a.config.Service
	c.Issued, c.NotYet, c.Expires = now.Unix(), now.Unix(), now.Add(life).Unix()
	c.ID = rand.Text()
	body, err := json.Marshal(c)
	if err != nil {
		return "", fmt.Errorf("make token: %w", err)
	}
	k := a.keys[0]
	text := k.header() + "." + encode(body)
	sum := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, k.private, sum[:])
	if err != nil {
		return "", fmt.Errorf("sign token: %w", err)
	}
	var signature [64]byte
	r.FillBytes(signature[:32])
	s.FillBytes(signature[32:])
	return text + "." + encode(signature[:]), nil
}

// read gives the claims of a token that this service made and that is still good: in time, and its account has the
// password it had.
func (a *Access) read(token string) (claims, error) {
	if len(token) > maxToken {
		return claims{}, errInvalidToken
	}
	c, err := a.verified(token)
	if err != nil {
		return claims{}, err
	}
	now := a.now()
	switch {
	case now.After(time.Unix(c.Expires, 0).Add(skew)):
		return claims{}, errExpired
	case now.Before(time.Unix(c.NotYet, 0).Add(-skew)):
		return claims{}, errInvalidToken
	case c.State != a.state(c.Subject):
		return claims{}, errors.New("the account has changed since the token was made")
	}
	return c, nil
}

// verified gives the claims of a token that one of the keys has signed. A client shows one token with each of an image's
// many requests, and a signature takes a tenth of a millisecond: what was verified is remembered.
func (a *Access) verified(token string) (claims, error) {
	key := sha256.Sum256([]byte(token))
	a.mu.Lock()
	c, ok := a.signed[key]
	a.mu.Unlock()
	if ok {
		return c, nil
	}
	c, err := a.verify(token)
	if err != nil {
		return claims{}, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.signed) >= maxRemembered {
		clear(a.signed)
	}
	a.signed[key] = c
	return c, nil
}

func (a *Access) verify(token string) (claims, error) {
	var c claims
	text, signature, ok := cutLast(token, ".")
	header, body, ok2 := strings.Cut(text, ".")
	i := slices.IndexFunc(a.keys, func(k key) bool { return k.header() == header })
	raw, err := base64.RawURLEncoding.Strict().DecodeString(signature)
	if !ok || !ok2 || i < 0 || err != nil || len(raw) != 64 {
		return c, errInvalidToken
	}
	sum := sha256.Sum256([]byte(text))
	r, s := new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
	if !ecdsa.Verify(&a.keys[i].private.PublicKey, sum[:], r, s) {
		return c, errInvalidToken
	}
	document, err := base64.RawURLEncoding.DecodeString(body)
	if err != nil || json.Unmarshal(document, &c) != nil || c.Issuer != a.config.Service || c.Audience != a.config.Service {
		return claims{}, errInvalidToken
	}
	return c, nil
}

// state stands for an account's password; nobody has none.
func (a *Access) state(user string) string {
	if user == "" {
		return ""
	}
	if state := a.accounts.state(user); state != "" {
		return state
	}
	return "gone"
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

// authorizeToken judges a request that shows a token.
func (a *Access) authorizeToken(r *http.Request, header, repository string, actions []string) error {
	scheme, token, _ := strings.Cut(header, " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return a.refuse(r, repository, actions, "", "a token is wanted: get one from the token service")
	}
	c, err := a.read(strings.TrimSpace(token))
	if err == nil && c.Refresh {
		err = errInvalidToken
	}
	if err != nil {
		return a.refuse(r, repository, actions, "invalid_token", err.Error())
	}
	if len(actions) == 0 {
		return nil
	}
	asked := scopeOf(repository, actions)
	for _, action := range asked.Actions {
		given := slices.ContainsFunc(c.Access, func(s scope) bool {
			return s.Type == asked.Type && s.Name == asked.Name && slices.Contains(s.Actions, action)
		})
		if !given {
			return a.refuse(r, repository, actions, "insufficient_scope", "the token does not allow to "+describe(repository, actions))
		}
	}
	if !a.may(c.Subject, repository, actions) {
		return a.refuse(r, repository, actions, "insufficient_scope", "the account is no longer allowed to "+describe(repository, actions))
	}
	return nil
}
