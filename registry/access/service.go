package access

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/containerd/errdefs"
)

// maxForm bounds what a client may send to the token service.
const maxForm = 64 << 10

// answer is what the token service says; the two names of the token mean the same, each to other clients.
type answer struct {
	Token        string `json:"token"`
	AccessToken  string `json:"access_token"`
	Scope        string `json:"scope,omitempty"`
	ExpiresIn    int64  `json:"expires_in"`
	IssuedAt     string `json:"issued_at"`
	RefreshToken string `json:"refresh_token,omitempty"`
}

// Serves tells whether a request is for the token service.
func (a *Access) Serves(r *http.Request) bool { return a.config.Tokens && r.URL.Path == "/token" }

// Token is the token service: GET with the password in a Basic header, or POST as OAuth 2 has it, with the grants
// password and refresh_token. It gives what was asked for as far as the account has the right to it; whether that is
// enough the registry says.
func (a *Access) Token(w http.ResponseWriter, r *http.Request) {
	var got answer
	var err error
	switch r.Method {
	case http.MethodGet:
		got, err = a.get(r)
	case http.MethodPost:
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		got, err = a.post(r)
	default:
		w.Header().Set("Allow", "GET, POST")
		refuseToken(w, http.StatusMethodNotAllowed, "UNSUPPORTED", "invalid_request", "the token service takes GET and POST")
		return
	}
	if err != nil {
		a.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(got) // a client that is gone needs no answer
}

// fail answers a request that gets no token, in the words of registries and of OAuth at once.
func (a *Access) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, errdefs.ErrUnauthenticated):
		user, _, _ := r.BasicAuth()
		// Only of a form that was read already: asking for one would read whatever comes along with a GET, of any size.
		a.config.Log.Warn("registry: sign-in refused", "user", cmp.Or(user, r.PostForm.Get("username")), "from", r.RemoteAddr, "reason", err)
		w.Header().Set("WWW-Authenticate", "Basic realm="+quote(a.config.Service))
		refuseToken(w, http.StatusUnauthorized, "UNAUTHORIZED", "invalid_grant", err.Error())
	case errors.Is(err, errdefs.ErrInvalidArgument):
		refuseToken(w, http.StatusBadRequest, "UNSUPPORTED", "invalid_request", err.Error())
	case errors.Is(err, errdefs.ErrNotImplemented):
		refuseToken(w, http.StatusBadRequest, "UNSUPPORTED", "unsupported_grant_type", err.Error())
	case r.Context().Err() != nil:
	default:
		a.config.Log.Error("registry: no token made", "error", err)
		refuseToken(w, http.StatusInternalServerError, "UNKNOWN", "server_error", "internal error")
	}
}

func refuseToken(w http.ResponseWriter, status int, code, oauth, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"errors": []map[string]string{{"code": code, "message": message}},
		"error":  oauth, "error_description": message,
	})
}

func (a *Access) get(r *http.Request) (answer, error) {
	query := r.URL.Query()
	if err := a.checkService(query); err != nil {
		return answer{}, err
	}
	user, password, basic := r.BasicAuth()
	if r.Header.Get("Authorization") != "" && !basic {
		return answer{}, errdefs.ErrUnauthenticated.WithMessage("sign in with a user name and password")
	}
	if !basic || user == "" && password == "" {
		if !a.anonymous() {
			return answer{}, errdefs.ErrUnauthenticated.WithMessage("authentication required")
		}
		return a.issue("", "", query["scope"], false)
	}
	state, err := a.accounts.check(r.Context(), user, password)
	if err != nil {
		return answer{}, err
	}
	offline := query.Get("offline_token")
	return a.issue(user, state, query["scope"], offline == "true" || offline == "1")
}

func (a *Access) post(r *http.Request) (answer, error) {
	if err := r.ParseForm(); err != nil {
		return answer{}, errdefs.ErrInvalidArgument.WithMessage("the form cannot be read: " + err.Error())
	}
	form := r.PostForm
	if err := a.checkService(form); err != nil {
		return answer{}, err
	}
	switch grant := form.Get("grant_type"); grant {
	case "password":
		user := form.Get("username")
		state, err := a.accounts.check(r.Context(), user, form.Get("password"))
		if err != nil {
			return answer{}, err
		}
		return a.issue(user, state, form["scope"], form.Get("access_type") == "offline")
	case "refresh_token":
		shown := form.Get("refresh_token")
		c, err := a.read(shown)
		if err == nil && !c.Refresh {
			err = errInvalidToken
		}
		if err != nil {
			return answer{}, errdefs.ErrUnauthenticated.WithMessage("refresh token: " + err.Error() + ": log in again")
		}
		got, err := a.issue(c.Subject, c.State, form["scope"], false)
		got.RefreshToken = shown // clients keep what the newest answer says
		return got, err
	case "":
		return answer{}, errdefs.ErrInvalidArgument.WithMessage("grant_type is missing")
	default:
		return answer{}, errdefs.ErrNotImplemented.WithMessage("grant_type must be password or refresh_token")
	}
}

// checkService refuses to make tokens for another registry, which would be good here and nowhere else.
func (a *Access) checkService(values url.Values) error {
	if service := values.Get("service"); service != "" && service != a.config.Service {
		return errdefs.ErrInvalidArgument.WithMessage("this token service is for " + a.config.Service + " only")
	}
	return nil
}

// issue makes the tokens for a user who has shown who he is; state is that of the account when he did.
func (a *Access) issue(user, state string, asked []string, offline bool) (answer, error) {
	c := claims{Subject: user, State: state, Access: a.grant(user, parseScopes(asked))}
	token, err := a.sign(c, a.config.Life)
	if err != nil {
		return answer{}, err
	}
	out := answer{Token: token, AccessToken: token, ExpiresIn: int64(a.config.Life / time.Second), IssuedAt: a.now().UTC().Format(time.RFC3339)}
	var scopes []string
	for _, s := range c.Access {
		scopes = append(scopes, s.String())
	}
	out.Scope = strings.Join(scopes, " ")
	if offline {
		c.Access, c.Refresh = nil, true
		out.RefreshToken, err = a.sign(c, a.config.RefreshLife)
	}
	return out, err
}
