// Package access decides who may pull, push and delete what in a registry: accounts of an htpasswd file, rights by
// repository, and a token service as Docker's clients know it.
//
// Three words name what is done to a repository: pull, push, delete. Two name what is done to the registry as a whole, with an
// empty repository: catalog, to list the repositories, takes the right to pull everything; admin the right to delete
// everything.
//
// A change of the files with accounts and rights counts at the next request. Tokens are no way around it: one is good for
// what it was given for and its owner still may, and a changed password ends it.
package access

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
)

// Config says whom to let in. The zero value lets everybody do everything.
type Config struct {
	// Accounts is an htpasswd file with bcrypt passwords.
	Accounts string
	// Rights is a file of lines "USERS REPOSITORIES ACTIONS", described at ParseRights. Without one every account may do
	// everything.
	Rights string
	// Anonymous lets those without an account pull everything.
	Anonymous bool
	// Tokens has clients show tokens of the token service instead of passwords.
	Tokens bool
	// Key is a file with the EC P-256 private keys that sign tokens, made when it is missing: the first one signs, all are
	// accepted.
	Key string
	// Realm is the token service's URL; "" is /token at the address the client used.
	Realm string
	// Service is the registry's name, to itself and its token service.
	Service string
	// Life is how long a token is good, 0 means five minutes; RefreshLife is that of a refresh token, 0 means 90 days.
	Life, RefreshLife time.Duration

	Log *slog.Logger
}

// Access answers who may do what. It is safe for concurrent use.
type Access struct {
	config   Config
	accounts *accounts
	rights   *rights
	keys     []key
	now      func() time.Time

	mu     sync.Mutex
	signed map[[sha256.Size]byte]claims // by the hash of the token
}

// New reads the files of the configuration. What is wrong in them is errdefs.ErrInvalidArgument.
func New(config Config) (*Access, error) {
	config.Service = cmp.Or(config.Service, "cove-registry")
	config.Life = cmp.Or(config.Life, 5*time.Minute)
	config.RefreshLife = cmp.Or(config.RefreshLife, 90*24*time.Hour)
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	if config.Tokens && config.Accounts == "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("a token service needs accounts")
	}
	a := &Access{config: config, now: time.Now, signed: map[[sha256.Size]byte]claims{}}
	var err error
	if config.Accounts != "" {
		if a.accounts, err = openAccounts(config.Accounts, config.Log); err != nil {
			return nil, err
		}
	}
	if config.Rights != "" {
		if a.rights, err = openRights(config.Rights, config.Log); err != nil {
			return nil, err
		}
	}
	if config.Tokens {
		if a.keys, err = openKeys(config.Key); err != nil {
			return nil, err
		}
	}
	return a, nil
}

// Authorize tells whether a request may do all of actions to a repository, "" meaning the registry itself. One that shows
// nothing, or nothing valid, is errdefs.ErrUnauthenticated, and the error has a method Challenge with the value for the
// WWW-Authenticate header; one that may not is errdefs.ErrPermissionDenied.
func (a *Access) Authorize(r *http.Request, repository string, actions ...string) error {
	if a.accounts == nil && a.rights == nil {
		return nil
	}
	header := r.Header.Get("Authorization")
	user, password, basic := r.BasicAuth()
	if header == "" || basic && user == "" && password == "" { // some clients write "nobody" so
		return a.authorizeNobody(r, repository, actions)
	}
	if a.config.Tokens {
		return a.authorizeToken(r, header, repository, actions)
	}
	if !basic {
		return a.refuse(r, repository, actions, "", "sign in with a user name and password")
	}
	if a.accounts == nil {
		return a.denied("", repository, actions)
	}
	if _, err := a.accounts.check(r.Context(), user, password); err != nil {
		if errors.Is(err, errdefs.ErrUnauthenticated) {
			a.config.Log.Warn("registry: sign-in refused", "user", user, "from", r.RemoteAddr)
			return a.refuse(r, repository, actions, "", "incorrect username or password")
		}
		return err
	}
	if !a.may(user, repository, actions) {
		return a.denied(user, repository, actions)
	}
	return nil
}

// authorizeNobody judges a request that shows nothing. One without actions asks whether there is anything to sign in to:
// where there are accounts it must hear so, else no client would ever find out.
func (a *Access) authorizeNobody(r *http.Request, repository string, actions []string) error {
	if a.accounts == nil {
		if len(actions) == 0 || a.may("", repository, actions) {
			return nil
		}
		return a.denied("", repository, actions)
	}
	if len(actions) > 0 && a.may("", repository, actions) {
		return nil
	}
	return a.refuse(r, repository, actions, "", "authentication required")
}

// may tells whether a user, "" being nobody in particular, has the right to do all of actions.
func (a *Access) may(user, repository string, actions []string) bool {
	granted := a.granted(user, repository)
	if repository == "" {
		for right, includes := range map[string]string{Pull: Catalog, Delete: Admin} {
			if slices.Contains(granted, right) {
				granted = append(granted, includes)
			}
		}
	}
	return !slices.ContainsFunc(actions, func(action string) bool { return !slices.Contains(granted, action) })
}

// granted lists what a user may do to a repository. Everybody may do what somebody without an account may.
func (a *Access) granted(user, repository string) []string {
	var out []string
	if a.config.Anonymous {
		out = append(out, Pull)
	}
	switch {
	case a.rights != nil:
		out = append(out, a.rights.of(user, repository)...)
	case user != "" || a.accounts == nil:
		out = append(out, everything...)
	}
	return out
}

// anonymous tells whether somebody without an account has any right at all.
func (a *Access) anonymous() bool {
	return a.config.Anonymous || a.rights != nil && a.rights.anonymous()
}

func (a *Access) denied(user, repository string, actions []string) error {
	who := user + " is not allowed to"
	if user == "" {
		who = "nobody without an account may"
	}
	return errdefs.ErrPermissionDenied.WithMessage(who + " " + describe(repository, actions))
}

// describe says what is asked for.
func describe(repository string, actions []string) string {
	switch {
	case repository != "":
		return strings.Join(actions, " and ") + " repository " + repository
	case slices.Contains(actions, Admin):
		return "look after the registry"
	}
	return "list all repositories"
}

// refusal is an error that tells how to sign in.
type refusal struct{ message, challenge string }

func (e *refusal) Error() string     { return e.message }
func (e *refusal) Unwrap() error     { return errdefs.ErrUnauthenticated }
func (e *refusal) Challenge() string { return e.challenge }

// refuse makes the refusal of a request; code is the token specification's word for what is wrong with a token.
func (a *Access) refuse(r *http.Request, repository string, actions []string, code, message string) error {
	if !a.config.Tokens {
		return &refusal{message, "Basic realm=" + quote(a.config.Service)}
	}
	challenge := "Bearer realm=" + quote(a.realm(r)) + ",service=" + quote(a.config.Service)
	if len(actions) > 0 {
		challenge += ",scope=" + quote(scopeOf(repository, actions).String())
	}
	if code != "" {
		challenge += ",error=" + quote(code)
	}
	return &refusal{message, challenge}
}

// realm is the address of the token service as the client of r reaches it: a proxy before us may speak TLS for us.
func (a *Access) realm(r *http.Request) string {
	if a.config.Realm != "" {
		return a.config.Realm
	}
	scheme := "http"
	if r.TLS != nil || strings.EqualFold(r.Header.Get("X-Forwarded-Proto"), "https") {
		scheme = "https"
	}
	return scheme + "://" + cmp.Or(r.Host, "localhost") + "/token"
}

// quote writes a quoted string of HTTP.
func quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\r", "", "\n", "").Replace(s) + `"`
}
