package access

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

// service is an access with tokens behind a real HTTP server, with a registry of one call.
type service struct {
	*Access
	server   *httptest.Server
	accounts string
	mu       sync.Mutex
	ahead    time.Duration
}

func (s *service) later(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ahead += d
}

func newService(t *testing.T, c Config, rights ...string) *service {
	t.Helper()
	dir := t.TempDir()
	c.Accounts = write(t, filepath.Join(dir, "htpasswd"), account(t, "alice", "secret"), account(t, "bob", "b"))
	c.Tokens, c.Service = true, "fake reg, v1"
	if c.Key == "" {
		c.Key = filepath.Join(dir, "deep", "key")
	}
	if rights != nil {
		c.Rights = write(t, filepath.Join(dir, "rights"), rights...)
	}
	s := &service{Access: opened(t, c), accounts: c.Accounts}
	s.now = func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return time.Now().Add(s.ahead)
	}
	s.server = httptest.NewServer(http.HandlerFunc(s.Token))
	t.Cleanup(s.server.Close)
	return s
}

// ask sends a request to the token service and reads its answer whatever it is.
func (s *service) ask(t *testing.T, r *http.Request) (int, map[string]any) {
	t.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(body, &out); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return resp.StatusCode, out
}

func (s *service) get(t *testing.T, user, password string, query url.Values) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, s.server.URL+"/token?"+query.Encode(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return s.ask(t, r)
}

func (s *service) post(t *testing.T, form url.Values) (int, map[string]any) {
	t.Helper()
	r, err := http.NewRequest(http.MethodPost, s.server.URL+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return s.ask(t, r)
}

// tokenFor is a token for scopes that a user with the right password gets.
func (s *service) tokenFor(t *testing.T, user, password string, scopes ...string) string {
	t.Helper()
	status, got := s.get(t, user, password, url.Values{"scope": scopes})
	if status != 200 {
		t.Fatalf("no token: %d %v", status, got)
	}
	return got["token"].(string)
}

func (s *service) with(token, repository string, actions ...string) error {
	r := request("", "")
	r.Header.Set("Authorization", "Bearer "+token)
	return s.Authorize(r, repository, actions...)
}

func TestChallengesOfTheTokenSpecification(t *testing.T) {
	s := newService(t, Config{})
	proxied := request("", "")
	proxied.Header.Set("X-Forwarded-Proto", "https")
	basic := request("alice", "secret")
	for name, c := range map[string]struct {
		r          *http.Request
		repository string
		actions    []string
		want       string
	}{
		"pull":     {request("", ""), "a/b", []string{Pull}, `Bearer realm="http://reg.example:5000/token",service="fake reg, v1",scope="repository:a/b:pull"`},
		"push":     {request("", ""), "a/b", []string{Pull, Push}, `Bearer realm="http://reg.example:5000/token",service="fake reg, v1",scope="repository:a/b:pull,push"`},
		"ping":     {request("", ""), "", nil, `Bearer realm="http://reg.example:5000/token",service="fake reg, v1"`},
		"catalog":  {request("", ""), "", []string{Catalog}, `Bearer realm="http://reg.example:5000/token",service="fake reg, v1",scope="registry:catalog:*"`},
		"proxied":  {proxied, "", nil, `Bearer realm="https://reg.example:5000/token",service="fake reg, v1"`},
		"password": {basic, "", nil, `Bearer realm="http://reg.example:5000/token",service="fake reg, v1"`},
	} {
		err := s.Authorize(c.r, c.repository, c.actions...)
		if got := challenge(err); got != c.want || !errors.Is(err, errdefs.ErrUnauthenticated) {
			t.Errorf("%s: %v\n got %s\nwant %s", name, err, got, c.want)
		}
	}
	elsewhere := newService(t, Config{Realm: "https://auth.example/token?x=1"})
	if got := challenge(elsewhere.Authorize(request("", ""), "")); got != `Bearer realm="https://auth.example/token?x=1",service="fake reg, v1"` {
		t.Errorf("own realm: %s", got)
	}
}

func TestTokens(t *testing.T) {
	s := newService(t, Config{}, "alice team/** *", "bob team/** pull", "alice ** pull")
	token := s.tokenFor(t, "alice", "secret", "repository:team/x:pull,push repository:other:pull,push", "registry:catalog:*", "registry:maintenance:*")
	for name, c := range map[string]struct {
		repository string
		actions    []string
		may        bool
	}{
		"pull":                      {"team/x", []string{Pull}, true},
		"push":                      {"team/x", []string{Pull, Push}, true},
		"not asked for":             {"team/x", []string{Delete}, false},
		"another repository":        {"team/y", []string{Pull}, false},
		"the second scope":          {"other", []string{Pull}, true},
		"beyond the right":          {"other", []string{Push}, false},
		"catalog":                   {"", []string{Catalog}, true},
		"maintenance not permitted": {"", []string{Admin}, false},
		"ping":                      {"", nil, true},
	} {
		err := s.with(token, c.repository, c.actions...)
		if c.may != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.may && !strings.HasSuffix(challenge(err), `,error="insufficient_scope"`) {
			t.Errorf("%s: challenge %s", name, challenge(err))
		}
	}
	if err := s.with(s.tokenFor(t, "bob", "b", "repository:team/x:*"), "team/x", Push); err == nil {
		t.Error("bob pushes with all of what he may")
	}
	if err := s.with(s.tokenFor(t, "alice", "secret", "repository:team/x:*"), "team/x", Pull, Push, Delete); err != nil {
		t.Errorf("alice with all of what she may: %v", err)
	}
	if err := s.with(s.tokenFor(t, "alice", "secret", "repository(plugin):host:5000/x:pull", "repository:", "::", "repository:host:5000/x:pull"), "host:5000/x", Pull); err != nil {
		t.Errorf("a name with a colon: %v", err)
	}
}

func TestAnswersOfTheTokenService(t *testing.T) {
	s := newService(t, Config{Life: time.Minute})
	status, got := s.get(t, "alice", "secret", url.Values{"service": {"fake reg, v1"}, "scope": {"repository:x:pull"}, "account": {"alice"}})
	if status != 200 || got["token"] != got["access_token"] || got["expires_in"] != float64(60) || got["refresh_token"] != nil {
		t.Errorf("GET: %d %v", status, got)
	}
	if at, err := time.Parse(time.RFC3339, got["issued_at"].(string)); err != nil || time.Since(at).Abs() > 2*time.Second {
		t.Errorf("issued_at %v", got["issued_at"])
	}
	status, got = s.post(t, url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"secret"}, "client_id": {"t"}, "service": {"fake reg, v1"}, "scope": {"repository:x:pull repository:y:pull,push"}, "access_type": {"offline"}})
	if status != 200 || got["scope"] != "repository:x:pull repository:y:pull,push" || got["refresh_token"] == nil {
		t.Errorf("POST: %d %v", status, got)
	}
	if err := s.with(got["access_token"].(string), "y", Pull, Push); err != nil {
		t.Errorf("token of POST: %v", err)
	}
	for name, c := range map[string]struct {
		form   url.Values
		status int
		word   string
	}{
		"wrong password":  {url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {"no"}}, 401, "invalid_grant"},
		"no grant":        {url.Values{}, 400, "invalid_request"},
		"another grant":   {url.Values{"grant_type": {"client_credentials"}}, 400, "unsupported_grant_type"},
		"another service": {url.Values{"grant_type": {"password"}, "service": {"elsewhere"}}, 400, "invalid_request"},
		"no such token":   {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}, 401, "invalid_grant"},
		"access token":    {url.Values{"grant_type": {"refresh_token"}, "refresh_token": {got["access_token"].(string)}}, 401, "invalid_grant"},
		"too much":        {url.Values{"grant_type": {strings.Repeat("x", maxForm+1)}}, 400, "invalid_request"},
	} {
		if status, got := s.post(t, c.form); status != c.status || got["error"] != c.word || got["errors"] == nil {
			t.Errorf("%s: %d %v", name, status, got)
		}
	}
	for name, user := range map[string]string{"wrong": "alice", "unknown": "carol", "nobody": ""} {
		if status, got := s.get(t, user, "no", url.Values{"scope": {"repository:x:pull"}}); status != 401 || got["token"] != nil {
			t.Errorf("GET, %s: %d %v", name, status, got)
		}
	}
	put, err := http.NewRequest(http.MethodPut, s.server.URL+"/token", nil)
	if err != nil {
		t.Fatal(err)
	}
	if status, _ := s.ask(t, put); status != 405 {
		t.Errorf("PUT: %d", status)
	}
}

// unread fails the test when somebody reads it.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("the body was read")
	return 0, io.EOF
}

// TestBodiesThatNobodyAskedFor: what comes along with a request for a token by GET is left alone, whatever it says it is. A form
// with files would go to the disk.
func TestBodiesThatNobodyAskedFor(t *testing.T) {
	s := newService(t, Config{})
	for _, user := range []string{"", "alice"} {
		r := httptest.NewRequest(http.MethodGet, "/token", unread{t})
		r.Header.Set("Content-Type", "multipart/form-data; boundary=x")
		if user != "" {
			r.SetBasicAuth(user, "no")
		}
		w := httptest.NewRecorder()
		s.Token(w, r)
		if w.Code != http.StatusUnauthorized {
			t.Errorf("%q: %d %s", user, w.Code, w.Body)
		}
	}
}

func TestAnonymousTokens(t *testing.T) {
	s := newService(t, Config{Anonymous: true})
	if err := s.Authorize(request("", ""), "x", Pull); err != nil {
		t.Errorf("pull without a token: %v", err)
	}
	token := s.tokenFor(t, "", "", "repository:x:pull,push")
	if err := s.with(token, "x", Pull); err != nil {
		t.Errorf("pull: %v", err)
	}
	if err := s.with(token, "x", Pull, Push); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("push: %v", err)
	}
	if status, got := s.get(t, "alice", "wrong", nil); status != 401 {
		t.Errorf("a wrong password is not nobody: %d %v", status, got)
	}
	if _, got := s.get(t, "", "", url.Values{"offline_token": {"true"}}); got["refresh_token"] != nil {
		t.Error("nobody got a refresh token")
	}
	some := newService(t, Config{}, "anonymous public/** pull")
	if err := some.with(some.tokenFor(t, "", "", "repository:public/x:pull"), "public/x", Pull); err != nil {
		t.Errorf("by a rule: %v", err)
	}
	if err := some.with(some.tokenFor(t, "", "", "repository:x:pull"), "x", Pull); err == nil {
		t.Error("pulled without a rule")
	}
}

// Bad input: tokens that have been tampered with, are another's, too old, or not yet good.
func TestBadTokens(t *testing.T) {
	s := newService(t, Config{})
	good := s.tokenFor(t, "bob", "b", "repository:x:pull")
	parts := strings.Split(good, ".")
	_, refresh := s.get(t, "alice", "secret", url.Values{"offline_token": {"true"}})
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	more := encode([]byte(strings.Replace(string(body), `["pull"]`, `["pull","push"]`, 1)))
	none := encode([]byte(`{"alg":"none","typ":"JWT"}`))
	hmacked := encode([]byte(`{"alg":"HS256","kid":"` + s.keys[0].id + `","typ":"JWT"}`))
	other := newService(t, Config{})
	flipped := []byte(parts[2])
	flipped[10] ^= 1
	for name, token := range map[string]string{
		"empty":            "",
		"garbage":          "abc",
		"dots":             "..",
		"no signature":     parts[0] + "." + parts[1] + ".",
		"more claims":      parts[0] + "." + more + "." + parts[2],
		"no algorithm":     none + "." + more + ".",
		"HMAC":             hmacked + "." + parts[1] + "." + parts[2],
		"flipped":          parts[0] + "." + parts[1] + "." + string(flipped),
		"zero signature":   parts[0] + "." + parts[1] + "." + encode(make([]byte, 64)),
		"long signature":   good + "AAAA",
		"another's":        other.tokenFor(t, "bob", "b", "repository:x:pull"),
		"refresh token":    refresh["refresh_token"].(string),
		"endless":          strings.Repeat("a", maxToken) + good,
		"with another dot": good + ".",
	} {
		err := s.with(token, "x", Pull)
		if !errors.Is(err, errdefs.ErrUnauthenticated) || !strings.HasSuffix(challenge(err), `scope="repository:x:pull",error="invalid_token"`) {
			t.Errorf("%s: %v, challenge %s", name, err, challenge(err))
		}
	}
	if err := s.with(good, "x", Pull); err != nil {
		t.Fatalf("the good one: %v", err)
	}
	s.later(-time.Hour)
	if err := s.with(good, "x", Pull); err == nil {
		t.Error("a token of the future was taken")
	}
	s.later(time.Hour + s.config.Life + skew - 2*time.Second)
	if err := s.with(good, "x", Pull); err != nil {
		t.Errorf("within the clocks' difference: %v", err)
	}
	s.later(5 * time.Second)
	if err := s.with(good, "x", Pull); err == nil || err.Error() != errExpired.Error() || !strings.Contains(challenge(err), `error="invalid_token"`) {
		t.Errorf("expired: %v", err)
	}
}

func TestRefreshTokensLiveAsLongAsThePassword(t *testing.T) {
	s := newService(t, Config{RefreshLife: time.Hour})
	_, first := s.get(t, "alice", "secret", url.Values{"offline_token": {"true"}, "client_id": {"docker"}})
	refresh := first["refresh_token"].(string)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh}, "scope": {"repository:x:pull,push"}}
	status, got := s.post(t, form)
	if status != 200 || got["refresh_token"] != refresh {
		t.Fatalf("refresh: %d %v", status, got)
	}
	access := got["access_token"].(string)
	if err := s.with(access, "x", Pull, Push); err != nil {
		t.Errorf("refreshed: %v", err)
	}
	s.later(30 * time.Minute)
	if status, _ := s.post(t, form); status != 200 {
		t.Errorf("half an hour later: %d", status)
	}
	s.later(40 * time.Minute)
	if status, _ := s.post(t, form); status != 401 {
		t.Errorf("after its life: %d", status)
	}
	s.later(-70 * time.Minute)
	write(t, s.accounts, account(t, "alice", "changed"), account(t, "bob", "b"))
	if status, got := s.post(t, form); status != 401 || !strings.Contains(got["error_description"].(string), "account has changed") {
		t.Errorf("after the password changed: %d %v", status, got)
	}
	if err := s.with(access, "x", Pull); err == nil {
		t.Error("an access token outlived the password")
	}
	bobs := s.tokenFor(t, "bob", "b", "repository:x:pull")
	write(t, s.accounts, account(t, "alice", "changed"))
	if err := s.with(bobs, "x", Pull); err == nil {
		t.Error("an access token outlived the account")
	}
}

func TestWithdrawnRightsEndTokens(t *testing.T) {
	s := newService(t, Config{}, "alice x *")
	token := s.tokenFor(t, "alice", "secret", "repository:x:pull,push")
	write(t, s.config.Rights, "alice x pull")
	if err := s.with(token, "x", Push); err == nil || !strings.Contains(err.Error(), "no longer") {
		t.Errorf("push: %v", err)
	}
	if err := s.with(token, "x", Pull); err != nil {
		t.Errorf("pull: %v", err)
	}
}

func TestKeys(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "a", "key")
	var wait sync.WaitGroup
	made := make([][]key, 8)
	for i := range made { // several replicas that start at once agree
		wait.Go(func() {
			var err error
			if made[i], err = openKeys(file); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	for _, keys := range made {
		if len(keys) != 1 || keys[0].id != made[0][0].id {
			t.Fatalf("different keys: %v", made)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if left, _ := os.ReadDir(filepath.Dir(file)); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
	// A new key before the old one: what the old one signed stays good.
	before := newService(t, Config{Key: file})
	token := before.tokenFor(t, "alice", "secret", "repository:x:pull")
	second := filepath.Join(dir, "second")
	if _, err := openKeys(second); err != nil {
		t.Fatal(err)
	}
	one, _ := os.ReadFile(file)
	two, _ := os.ReadFile(second)
	both := write(t, filepath.Join(dir, "both"), string(two), string(one))
	after := opened(t, Config{Accounts: before.accounts, Tokens: true, Service: "fake reg, v1", Key: both})
	if _, err := after.read(token); err != nil {
		t.Errorf("signed by the old key: %v", err)
	}
	if fresh, err := after.sign(claims{}, time.Minute); err != nil || strings.HasPrefix(fresh, strings.Split(token, ".")[0]) {
		t.Errorf("the new key does not sign: %v", err)
	}
	rotated := opened(t, Config{Accounts: before.accounts, Tokens: true, Service: "fake reg, v1", Key: second})
	if _, err := rotated.read(token); !errors.Is(err, errInvalidToken) {
		t.Errorf("signed by a key that is gone: %v", err)
	}
}

func FuzzRead(f *testing.F) {
	dir := f.TempDir()
	file := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		f.Fatal(err)
	}
	a, err := New(Config{Accounts: file, Tokens: true, Key: filepath.Join(dir, "key")})
	if err != nil {
		f.Fatal(err)
	}
	good, err := a.sign(claims{Access: []scope{{"repository", "x", []string{Pull}}}}, time.Hour)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := a.read(token); err == nil && token != good {
			t.Fatalf("taken for a token: %q", token)
		}
	})
}

func FuzzParseScopes(f *testing.F) {
	f.Add("repository:host:5000/a:pull,push registry:catalog:*")
	f.Fuzz(func(t *testing.T, text string) {
		scopes := parseScopes([]string{text})
		if len(scopes) > maxScopes {
			t.Fatal("too many scopes")
		}
		for _, s := range scopes {
			if again := parseScopes([]string{s.String()}); len(again) != 1 || again[0].Name != s.Name {
				t.Fatalf("%q reads as %v", s.String(), again)
			}
		}
	})
}
