package access

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"golang.org/x/crypto/bcrypt"
)

// write makes a file of lines and gives its path.
func write(t *testing.T, path string, lines ...string) string {
	t.Helper()
	// Renamed into place, as whoever edits such a file with care does.
	next := path + ".next"
	if err := os.WriteFile(next, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, path); err != nil {
		t.Fatal(err)
	}
	return path
}

// account is a line of an htpasswd file.
func account(t *testing.T, user, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return user + ":" + string(hash)
}

func opened(t *testing.T, c Config) *Access {
	t.Helper()
	a, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func request(user, password string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "http://reg.example:5000/v2/", nil)
	if user != "" {
		r.SetBasicAuth(user, password)
	}
	return r
}

func challenge(err error) string {
	var c interface{ Challenge() string }
	if errors.As(err, &c) {
		return c.Challenge()
	}
	return ""
}

func TestTheOpenRegistryAsksForNothing(t *testing.T) {
	a := opened(t, Config{})
	if err := a.Authorize(request("", ""), "x", Pull, Push, Delete); err != nil {
		t.Error(err)
	}
	if err := a.Authorize(request("who", "ever"), ""); err != nil {
		t.Error(err)
	}
}

func TestAccounts(t *testing.T) {
	accounts := write(t, filepath.Join(t.TempDir(), "htpasswd"), "# people", account(t, "alice", "secret"), "", account(t, "bob", "päss:word"))
	closed := opened(t, Config{Accounts: accounts, Service: `my "reg"`})
	public := opened(t, Config{Accounts: accounts, Anonymous: true})
	for name, c := range map[string]struct {
		a              *Access
		user, password string
		repository     string
		actions        []string
		want           error
	}{
		"right":                           {closed, "alice", "secret", "x", []string{Pull, Push, Delete}, nil},
		"right, with a colon":             {closed, "bob", "päss:word", "x", []string{Push}, nil},
		"right, whole registry":           {closed, "alice", "secret", "", []string{Admin}, nil},
		"wrong":                           {closed, "alice", "Secret", "x", []string{Pull}, errdefs.ErrUnauthenticated},
		"another's":                       {closed, "bob", "secret", "x", []string{Pull}, errdefs.ErrUnauthenticated},
		"unknown":                         {closed, "carol", "secret", "x", []string{Pull}, errdefs.ErrUnauthenticated},
		"empty password":                  {closed, "alice", "", "x", []string{Pull}, errdefs.ErrUnauthenticated},
		"nobody":                          {closed, "", "", "x", []string{Pull}, errdefs.ErrUnauthenticated},
		"nobody, public":                  {public, "", "", "x", []string{Pull}, nil},
		"nobody lists, public":            {public, "", "", "", []string{Catalog}, nil},
		"nobody pushes, public":           {public, "", "", "x", []string{Pull, Push}, errdefs.ErrUnauthenticated},
		"nobody deletes, public":          {public, "", "", "x", []string{Delete}, errdefs.ErrUnauthenticated},
		"nobody collects garbage, public": {public, "", "", "", []string{Admin}, errdefs.ErrUnauthenticated},
		"wrong password, public":          {public, "alice", "no", "x", []string{Pull}, errdefs.ErrUnauthenticated},
		"nobody asks for a login, public": {public, "", "", "", nil, errdefs.ErrUnauthenticated},
		"login":                           {public, "alice", "secret", "", nil, nil},
	} {
		err := c.a.Authorize(request(c.user, c.password), c.repository, c.actions...)
		if !errors.Is(err, c.want) || (err == nil) != (c.want == nil) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	if got := challenge(closed.Authorize(request("", ""), "x", Pull)); got != `Basic realm="my \"reg\""` {
		t.Errorf("challenge %s", got)
	}
	// skopeo and podman without an account send an empty one.
	empty := request("", "")
	empty.Header.Set("Authorization", "Basic Og==")
	if err := public.Authorize(empty, "x", Pull); err != nil {
		t.Errorf("an empty user and password are nobody: %v", err)
	}
	bearer := request("", "")
	bearer.Header.Set("Authorization", "Bearer abc")
	if err := public.Authorize(bearer, "x", Pull); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("a token where none are made: %v", err)
	}
}

func TestARightPasswordIsHashedOnce(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("secret"), 12)
	if err != nil {
		t.Fatal(err)
	}
	a := opened(t, Config{Accounts: write(t, filepath.Join(t.TempDir(), "htpasswd"), "alice:"+string(hash))})
	start := time.Now()
	if err := a.Authorize(request("alice", "secret"), "x", Pull); err != nil {
		t.Fatal(err)
	}
	first := time.Since(start)
	start = time.Now()
	for range 20 {
		if err := a.Authorize(request("alice", "secret"), "x", Pull); err != nil {
			t.Fatal(err)
		}
	}
	if rest := time.Since(start); rest > first {
		t.Errorf("20 requests with a password that was right took %v, the first took %v", rest, first)
	}
	// One that is wrong stays as slow as the first, and takes no shortcut by the one that is right.
	if err := a.Authorize(request("alice", "secret2"), "x", Pull); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("wrong password after the right one: %v", err)
	}
}

func TestChangedAccountsCountAtOnce(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "htpasswd"), account(t, "alice", "old"), account(t, "bob", "b"))
	a := opened(t, Config{Accounts: file})
	try := func(user, password string) error { return a.Authorize(request(user, password), "x", Pull) }
	if try("alice", "old") != nil || try("bob", "b") != nil {
		t.Fatal("not let in")
	}
	write(t, file, account(t, "alice", "new"))
	if err := try("alice", "old"); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("the old password: %v", err)
	}
	if err := try("alice", "new"); err != nil {
		t.Errorf("the new password: %v", err)
	}
	if err := try("bob", "b"); !errors.Is(err, errdefs.ErrUnauthenticated) {
		t.Errorf("a removed account: %v", err)
	}
	// Half an edit neither lets anybody in nor locks everybody out.
	write(t, file, "alice:$2y$05$half")
	if err := try("alice", "new"); err != nil {
		t.Errorf("with a file that is wrong: %v", err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := try("alice", "new"); err != nil {
		t.Errorf("with a file that is gone: %v", err)
	}
	// Written in place within a moment, at the same length.
	lines := [2]string{account(t, "dora", "one"), account(t, "dora", "two")}
	for i := range 6 {
		if err := os.WriteFile(file, []byte(lines[i%2]), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := try("dora", []string{"one", "two"}[i%2]); err != nil {
			t.Fatalf("change %d: %v", i, err)
		}
	}
}

func TestFilesThatAreWrong(t *testing.T) {
	dir := t.TempDir()
	accounts := write(t, filepath.Join(dir, "good"), account(t, "alice", "a"))
	for name, c := range map[string]struct {
		config Config
		says   string
	}{
		"absent":           {Config{Accounts: filepath.Join(dir, "absent")}, "no such file"},
		"no hash":          {Config{Accounts: write(t, filepath.Join(dir, "1"), "alice")}, "line 1: want USER:HASH"},
		"md5":              {Config{Accounts: write(t, filepath.Join(dir, "2"), account(t, "bob", "b"), "alice:$apr1$y1mlvL/u$oG0OtWnyu.Jlfj1vfyfcB0")}, "line 2: the password of \"alice\" is not kept with bcrypt"},
		"half a hash":      {Config{Accounts: write(t, filepath.Join(dir, "3"), "alice:$2y$05$abc")}, "not kept with bcrypt"},
		"reserved name":    {Config{Accounts: write(t, filepath.Join(dir, "4"), account(t, "anonymous", "a"))}, "no account may be called"},
		"rights":           {Config{Rights: write(t, filepath.Join(dir, "5"), "", "alice x")}, "line 2: want three words"},
		"action":           {Config{Rights: write(t, filepath.Join(dir, "6"), "alice x read")}, "unknown action"},
		"pattern":          {Config{Rights: write(t, filepath.Join(dir, "7"), "alice a** pull")}, "must stand alone"},
		"bracket":          {Config{Rights: write(t, filepath.Join(dir, "8"), "alice a[ pull")}, "syntax error"},
		"part":             {Config{Rights: write(t, filepath.Join(dir, "9"), "alice a//b pull")}, "empty part"},
		"user":             {Config{Rights: write(t, filepath.Join(dir, "10"), "alice,,bob a pull")}, "a user without a name"},
		"tokens for whom":  {Config{Tokens: true, Key: filepath.Join(dir, "key")}, "needs accounts"},
		"no key in it":     {Config{Accounts: accounts, Tokens: true, Key: accounts}, "no private key"},
		"a key of another": {Config{Accounts: accounts, Tokens: true, Key: write(t, filepath.Join(dir, "11"), ed25519Key)}, "P-256"},
	} {
		if _, err := New(c.config); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
}

const ed25519Key = `-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIHKP1c0rdwQxdR0wBmCl3fIRwUpjTJuwiTl6KBKrFAdR
-----END PRIVATE KEY-----`
