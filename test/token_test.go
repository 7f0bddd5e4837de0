package test

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/go-digest"
)

// guarded is a registry with a token service, two accounts and a rule for each.
func guarded(t *testing.T, args ...string) *served {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		"htpasswd": account("alice", "secret") + account("bob", "b"),
		"rights":   "alice ** *\nbob bob/** pull,push\n* public/** pull\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return serve(t, t.TempDir(), append([]string{"--token", "--htpasswd", filepath.Join(dir, "htpasswd"), "--rights", filepath.Join(dir, "rights")}, args...)...)
}

// tokenFor asks the token service of a registry.
func tokenFor(t *testing.T, s *served, user, password string, scopes ...string) string {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+s.Host+"/token?"+url.Values{"service": {"cove-registry"}, "scope": scopes}.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(user, password)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var got struct{ Token string }
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil || got.Token == "" {
		t.Fatalf("no token: %d %v", resp.StatusCode, err)
	}
	return got.Token
}

// call makes a call with a token and returns the answer, closed.
func call(t *testing.T, method, target, token, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequest(method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// TestTokensOnTheWire: what no token, a bad one, and one for something else are answered with, and that names are told to
// nobody who may not see them.
func TestTokensOnTheWire(t *testing.T) {
	t.Parallel()
	s := guarded(t)
	alice := tokenFor(t, s, "alice", "secret", "repository:alice/x:pull,push,delete", "registry:catalog:*", "registry:maintenance:*")
	secret := "what only alice has"
	d := digest.FromString(secret)
	if resp := call(t, "POST", s.URL("alice/x/blobs/uploads/?digest="+d.String()), alice, secret); resp.StatusCode != 201 {
		t.Fatalf("alice pushes: %d", resp.StatusCode)
	}
	bob := tokenFor(t, s, "bob", "b", "repository:bob/x:pull,push,delete", "repository:alice/x:pull,push", "registry:catalog:*", "registry:maintenance:*")
	forged := bob[:len(bob)-10] + strings.Repeat("A", 10)
	realm := `Bearer realm="http://` + s.Host + `/token",service="cove-registry"`
	for name, c := range map[string]struct {
		method, path, token string
		status              int
		challenge           string
	}{
		"ping without":         {"GET", "", "", 401, realm},
		"ping with":            {"GET", "", bob, 200, ""},
		"pull without":         {"GET", "alice/x/blobs/" + d.String(), "", 401, realm + `,scope="repository:alice/x:pull"`},
		"pull, another's":      {"GET", "alice/x/blobs/" + d.String(), bob, 401, realm + `,scope="repository:alice/x:pull",error="insufficient_scope"`},
		"pull what is not":     {"GET", "alice/nothing/blobs/" + d.String(), bob, 401, realm + `,scope="repository:alice/nothing:pull",error="insufficient_scope"`},
		"forged":               {"GET", "alice/x/blobs/" + d.String(), forged, 401, realm + `,scope="repository:alice/x:pull",error="invalid_token"`},
		"push, another's":      {"POST", "alice/x/blobs/uploads/", bob, 401, realm + `,scope="repository:alice/x:pull,push",error="insufficient_scope"`},
		"push, own":            {"POST", "bob/x/blobs/uploads/", bob, 202, ""},
		"delete beyond rights": {"DELETE", "bob/x/blobs/" + d.String(), bob, 401, realm + `,scope="repository:bob/x:delete",error="insufficient_scope"`},
		"list all":             {"GET", "_catalog", bob, 401, realm + `,scope="registry:catalog:*",error="insufficient_scope"`},
		"list all, may":        {"GET", "_catalog", alice, 200, ""},
		"garbage":              {"POST", "_cove/gc", bob, 401, realm + `,scope="registry:maintenance:*",error="insufficient_scope"`},
		"garbage, may":         {"POST", "_cove/gc", alice, 200, ""},
		"name with dots":       {"GET", "bob/..%2falice/x/blobs/" + d.String(), bob, 400, ""},
		// Nobody gets at a blob by claiming to have it somewhere.
		"mount, another's": {"POST", "bob/x/blobs/uploads/?mount=" + d.String() + "&from=alice/x", bob, 202, ""},
		"mount, anywhere":  {"POST", "bob/x/blobs/uploads/?mount=" + d.String(), bob, 202, ""},
		"not mounted":      {"HEAD", "bob/x/blobs/" + d.String(), bob, 404, ""},
	} {
		resp := call(t, c.method, s.URL(c.path), c.token, "")
		if got := resp.Header.Get("WWW-Authenticate"); resp.StatusCode != c.status || got != c.challenge {
			t.Errorf("%s: %d, challenge %s\nwant %d, %s", name, resp.StatusCode, got, c.status, c.challenge)
		}
	}
	both := tokenFor(t, s, "alice", "secret", "repository:bob/x:pull,push", "repository:alice/x:pull")
	if resp := call(t, "POST", s.URL("bob/x/blobs/uploads/?mount="+d.String()+"&from=alice/x"), both, ""); resp.StatusCode != 201 {
		t.Errorf("a mount by who may: %d", resp.StatusCode)
	}
}

// TestReplicasTakeEachOthersTokens: with one key, a token of the one registry is good at the other.
func TestReplicasTakeEachOthersTokens(t *testing.T) {
	t.Parallel()
	key := filepath.Join(t.TempDir(), "key")
	one, two, other := guarded(t, "--token-key", key), guarded(t, "--token-key", key), guarded(t)
	// The accounts are the same people with other salts; a token is bound to the very line of the file.
	two.Stop()
	two.args = one.args
	if err := two.Start(); err != nil {
		t.Fatal(err)
	}
	token := tokenFor(t, one, "bob", "b", "repository:bob/x:pull,push")
	if resp := call(t, "POST", two.URL("bob/x/blobs/uploads/"), token, ""); resp.StatusCode != 202 {
		t.Errorf("at the other replica: %d", resp.StatusCode)
	}
	if resp := call(t, "POST", other.URL("bob/x/blobs/uploads/"), token, ""); resp.StatusCode != 401 {
		t.Errorf("at a registry with another key: %d", resp.StatusCode)
	}
	if info, err := os.Stat(filepath.Join(other.Root, "token.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key made beside the data: %v %v", info, err)
	}
}
