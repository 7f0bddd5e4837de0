package remote

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// TestChallengeOfAnotherHost: where a registry redirects to cannot ask for the user's password.
func TestChallengeOfAnotherHost(t *testing.T) {
	asked := 0
	var storage *httptest.Server
	storage = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		if _, password, ok := r.BasicAuth(); ok {
			t.Errorf("%s was shown the password %q", r.URL.Path, password)
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+storage.URL+`/token",service="s"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer storage.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, storage.URL+"/blob", http.StatusTemporaryRedirect)
	}))
	defer front.Close()
	_, _, err := client(t, Config{}).Blob(t.Context(), name(t, strings.TrimPrefix(front.URL, "http://")+"/x"),
		ocispec.Descriptor{Digest: "sha256:0"}, 0, NewSession(Credentials{Username: "u", Password: "secret"}))
	if !errdefs.IsUnauthorized(err) || asked != 1 {
		t.Errorf("%v after %d requests", err, asked)
	}
}

// TestRedirectRules: what a redirect may not lead to, whatever net/http thinks of it.
func TestRedirectRules(t *testing.T) {
	c := client(t, Config{Insecure: []string{"lax.example"}})
	for _, tt := range []struct {
		method, from, to string
		ok, authorized   bool
	}{
		{"GET", "https://a.example/1", "https://a.example/2", true, true},
		{"GET", "https://a.example/1", "https://b.example/2", true, false},
		{"GET", "https://a.example/1", "https://a.example:444/2", true, false},
		{"GET", "https://a.example/1", "http://a.example/2", false, false},
		{"GET", "https://a.example/1", "http://lax.example/2", true, false},
		{"GET", "http://a.example/1", "http://b.example/2", true, false},
		{"POST", "https://a.example/1", "https://a.example/2", true, true},
		{"POST", "https://a.example/1", "https://b.example/2", false, false},
	} {
		from := httptest.NewRequest(tt.method, tt.from, nil)
		to := httptest.NewRequest(tt.method, tt.to, nil)
		if tt.method == "POST" {
			to = httptest.NewRequest(tt.method, tt.to, strings.NewReader("refresh_token=secret"))
		}
		to.Header.Set("Authorization", "Basic x")
		err := c.followRedirect(to, []*http.Request{from})
		if (err == nil) != tt.ok || err == nil && (to.Header.Get("Authorization") != "") != tt.authorized {
			t.Errorf("%s %s to %s: %v, authorization %q", tt.method, tt.from, tt.to, err, to.Header.Get("Authorization"))
		}
	}
}

// TestTokenServiceIsNotFound: that there is no token service does not mean that there is no image.
func TestTokenServiceIsNotFound(t *testing.T) {
	var r *httptest.Server
	r = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/token" {
			http.NotFound(w, q)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer realm="`+r.URL+`/token"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer r.Close()
	_, _, err := client(t, Config{}).Manifest(t.Context(), name(t, strings.TrimPrefix(r.URL, "http://")+"/x:1"), NewSession(Credentials{}))
	if !errdefs.IsUnauthorized(err) || errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "token service: received unexpected HTTP status 404") {
		t.Error(err)
	}
}
