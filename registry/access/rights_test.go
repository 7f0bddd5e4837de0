package access

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

func TestRights(t *testing.T) {
	rules, err := ParseRights([]byte(`
# who            where                what
alice,bob        team/**              pull,push
bob              team/secret          delete
ci               build/*,base         *
*                {user}/**            *
*                shared/*-v?          pull
anonymous        public/**            pull
`))
	if err != nil {
		t.Fatal(err)
	}
	r := rights{&watched[[]rule]{value: rules, path: filepath.Join(t.TempDir(), "none")}}
	for _, c := range []struct {
		user, repository string
		want             []string
	}{
		{"alice", "team/a", []string{Pull, Push}},
		{"alice", "team/a/b/c", []string{Pull, Push}},
		{"alice", "team", []string{Pull, Push}},
		{"alice", "teams/a", nil},
		{"alice", "x/team/a", nil},
		{"alice", "team/secret", []string{Pull, Push}},
		{"bob", "team/secret", everything},
		{"ci", "build/x", everything},
		{"ci", "build/x/y", nil},
		{"ci", "base", everything},
		{"ci", "based", nil},
		{"alice", "alice/anything/below", everything},
		{"alice", "bob/anything", nil},
		{"al*", "alice/x", nil},
		{"al*", "al*/x", everything},
		{"[a-z]", "q/x", nil},
		{"ci", "shared/tool-v1", []string{Pull}},
		{"ci", "shared/tool-v12", nil},
		{"ci", "shared/a/tool-v1", nil},
		{"", "public/a", []string{Pull}},
		{"ci", "public/a", []string{Pull}},
		{"", "shared/tool-v1", nil},
		{"", "team/a", nil},
		{"", "/x", nil},
		{"*", "team/a", nil},
		{"anonymous", "team/a", nil},
		{"alice", "", nil},
		{"alice", "alice/../team/secret", everything}, // the registry takes no such name
	} {
		got := r.of(c.user, c.repository)
		slices.Sort(got)
		got = slices.Compact(got)
		want := slices.Sorted(slices.Values(c.want))
		if !slices.Equal(got, want) {
			t.Errorf("%q on %q: %v, want %v", c.user, c.repository, got, want)
		}
	}
}

func TestRightsToTheWholeRegistry(t *testing.T) {
	dir := t.TempDir()
	accounts := write(t, filepath.Join(dir, "htpasswd"), account(t, "root", "r"), account(t, "reader", "r"), account(t, "dev", "r"))
	a := opened(t, Config{Accounts: accounts, Rights: write(t, filepath.Join(dir, "rights"), "root ** *", "reader ** pull", "dev dev/** *")})
	for _, c := range []struct {
		user    string
		actions []string
		may     bool
	}{
		{"root", []string{Catalog}, true}, {"root", []string{Admin}, true},
		{"reader", []string{Catalog}, true}, {"reader", []string{Admin}, false},
		{"dev", []string{Catalog}, false}, {"dev", nil, true},
	} {
		err := a.Authorize(request(c.user, "r"), "", c.actions...)
		if c.may != (err == nil) || !c.may && !errors.Is(err, errdefs.ErrPermissionDenied) {
			t.Errorf("%s %v: %v", c.user, c.actions, err)
		}
	}
	if err := a.Authorize(request("dev", "r"), "ops/x", Pull, Push); err == nil || err.Error() != "dev is not allowed to pull and push repository ops/x" {
		t.Errorf("refused as %v", err)
	}
}

func TestRightsWithoutAccounts(t *testing.T) {
	file := write(t, filepath.Join(t.TempDir(), "rights"), "anonymous open/** pull,push", "anonymous ** pull")
	a := opened(t, Config{Rights: file})
	for repository, want := range map[string]error{"open/x": nil, "other": errdefs.ErrPermissionDenied} {
		if err := a.Authorize(request("", ""), repository, Pull, Push); !errors.Is(err, want) {
			t.Errorf("push to %s: %v", repository, err)
		}
	}
	if err := a.Authorize(request("", ""), ""); err != nil {
		t.Errorf("there is nothing to sign in to: %v", err)
	}
	write(t, file, "anonymous ** *")
	if err := a.Authorize(request("", ""), "other", Delete); err != nil {
		t.Errorf("after the change: %v", err)
	}
}

func FuzzParseRights(f *testing.F) {
	f.Add([]byte("alice,bob team/** pull,push\n* {user}/** *\n"), "alice", "team/x")
	f.Add([]byte("* a/**/b/**/c pull\r\n"), "u", "a/b/c")
	f.Fuzz(func(t *testing.T, text []byte, user, repository string) {
		rules, err := ParseRights(text)
		if err != nil {
			return
		}
		for _, r := range rules {
			if len(r.actions) == 0 || len(r.patterns) == 0 {
				t.Fatalf("a rule without words: %v", r)
			}
			if len(repository) <= maxName && len(text) < 200 {
				r.covers(user, repository)
			}
		}
	})
}
