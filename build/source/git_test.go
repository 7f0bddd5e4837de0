package source

import (
	"context"
	"net/http"
	"net/http/cgi"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	"github.com/moby/buildkit/session/secrets/secretsprovider"
	"github.com/moby/buildkit/solver/pb"
)

// forge serves repositories over http.
type forge struct {
	t      *testing.T
	folder string
	url    string
	header string // what a client must send
}

func newForge(t *testing.T) *forge {
	t.Helper()
	out, err := exec.Command("git", "--exec-path").Output()
	if err != nil {
		t.Skip("git is not installed")
	}
	backend := filepath.Join(strings.TrimSpace(string(out)), "git-http-backend")
	if _, err := os.Stat(backend); err != nil {
		t.Skip("git-http-backend is not installed")
	}
	f := &forge{t: t, folder: t.TempDir()}
	handler := &cgi.Handler{Path: backend, Env: []string{
		"GIT_PROJECT_ROOT=" + f.folder, "GIT_HTTP_EXPORT_ALL=1", "HOME=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.directory", "GIT_CONFIG_VALUE_0=*",
	}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f.header != "" && r.Header.Get("Authorization") != f.header {
			w.Header().Set("WWW-Authenticate", "Basic")
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		handler.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	f.url = server.URL
	return f
}

// git runs git in a repository and returns what it prints.
func (f *forge) git(repo string, args ...string) string {
	f.t.Helper()
	cmd := exec.Command("git", append([]string{
		"-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=trunk", "-c", "protocol.file.allow=always",
	}, args...)...)
	cmd.Dir = filepath.Join(f.folder, repo)
	cmd.Env = append(os.Environ(), "HOME=/dev/null", "GIT_CONFIG_NOSYSTEM=1", "GIT_COMMITTER_DATE=1700000000 +0000", "GIT_AUTHOR_DATE=1700000000 +0000")
	out, err := cmd.CombinedOutput()
	if err != nil {
		f.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes one with a commit of files.
func (f *forge) repository(name string, files map[string]string) string {
	f.t.Helper()
	dir := filepath.Join(f.folder, name)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		f.t.Fatal(err)
	}
	f.git(name, "init", "-q")
	return f.commit(name, files)
}

func (f *forge) commit(name string, files map[string]string) string {
	f.t.Helper()
	for path, text := range files {
		write(f.t, filepath.Join(f.folder, name, path), text)
	}
	f.git(name, "add", "-A")
	f.git(name, "commit", "-q", "-m", "m")
	return f.git(name, "rev-parse", "HEAD")
}

// source is the identifier and the full address of a repository.
func (f *forge) source(name, fragment string) (id string, attrs map[string]string) {
	full := f.url + "/" + name + "/.git"
	return "git://" + strings.TrimPrefix(full, "http://") + fragment, map[string]string{pb.AttrFullRemoteURL: full}
}

func TestRepositories(t *testing.T) {
	k, f := newKit(t), newForge(t)
	id, _ := k.client("")
	first := f.repository("one", map[string]string{"a": "first", "sub/b": "b", "sub/deep/c": "c"})
	os.Symlink("a", filepath.Join(f.folder, "one/l"))
	os.Chmod(filepath.Join(f.folder, "one/a"), 0o755)
	f.git("one", "tag", "-a", "v1", "-m", "tagged")
	second := f.commit("one", map[string]string{"a": "second"})
	f.git("one", "branch", "feature", first)

	whole := `a 755 0:0 "second" 1700000000000000000
l 777 0:0 -> a 1700000000000000000
sub 755 0:0 / 1700000000000000000
sub/b 644 0:0 "b" 1700000000000000000
sub/deep 755 0:0 / 1700000000000000000
sub/deep/c 644 0:0 "c" 1700000000000000000
`
	keys := map[string]string{}
	for _, ref := range []string{"", "#trunk", "#refs/heads/trunk", "#" + second} {
		source, attrs := f.source("one", ref)
		key, list, err := k.load(source, id, attrs)
		if err != nil || list != whole {
			t.Fatalf("%q: %s %v", ref, list, err)
		}
		keys[key.String()] = ref
	}
	if len(keys) != 1 {
		t.Errorf("one commit has several keys: %v", keys)
	}
	for _, ref := range []string{"#v1", "#refs/tags/v1", "#feature", "#" + first} {
		source, attrs := f.source("one", ref)
		if _, list, err := k.load(source, id, attrs); err != nil || !strings.Contains(list, `a 644 0:0 "first"`) {
			t.Errorf("%q: %s %v", ref, list, err)
		}
	}
	source, attrs := f.source("one", "#:sub")
	if _, list, err := k.load(source, id, attrs); err != nil || list != "b 644 0:0 \"b\" 1700000000000000000\ndeep 755 0:0 / 1700000000000000000\ndeep/c 644 0:0 \"c\" 1700000000000000000\n" {
		t.Error(list, err)
	}
	for fragment, words := range map[string]string{
		"#:l": "invalid subdir", "#:none": "invalid subdir", "#none": "does not contain ref none", "#-x": "invalid git ref",
		"#" + strings.Repeat("ab", 20): "ababab",
	} {
		source, attrs := f.source("one", fragment)
		if _, _, err := k.load(source, id, attrs); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", fragment, err)
		}
	}
	source, attrs = f.source("one", "#v1")
	attrs[pb.AttrGitChecksum] = first[:12]
	if _, _, err := k.load(source, id, attrs); err != nil {
		t.Error(err)
	}
	attrs[pb.AttrGitChecksum] = second
	if _, _, err := k.load(source, id, attrs); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), "expected checksum to match") {
		t.Error(err)
	}
	env, done := k.env(id)
	defer done()
	r, err := k.maker.Resolve(context.Background(), env, &pb.SourceOp{Identifier: source, Attrs: map[string]string{pb.AttrFullRemoteURL: attrs[pb.AttrFullRemoteURL]}}, sourceresolver.Opt{})
	if err != nil || r.Git.CommitChecksum != first || r.Git.Ref != "refs/tags/v1" {
		t.Error(r, err)
	}
}

func TestRepositoriesKept(t *testing.T) {
	k, f := newKit(t), newForge(t)
	id, _ := k.client("")
	commit := f.repository("one", map[string]string{"a": "first"})
	write(t, filepath.Join(f.folder, "one/.git/hooks/post-checkout"), "#!/bin/sh\ntouch /tmp/cove-hook-ran")
	source, attrs := f.source("one", "#trunk")
	attrs[pb.AttrKeepGitDir] = "true"
	_, list, err := k.load(source, id, attrs)
	if err != nil || !strings.Contains(list, ".git/HEAD") || !strings.Contains(list, ".git/refs/heads/trunk") || strings.Contains(list, "FETCH_HEAD") {
		t.Error(list, err)
	}
	if !strings.Contains(list, commit) || !strings.Contains(list, `a 644 0:0 "first"`) {
		t.Error(list)
	}
}

func TestSubmodules(t *testing.T) {
	k, f := newKit(t), newForge(t)
	id, _ := k.client("")
	f.repository("inner", map[string]string{"x": "inner"})
	f.repository("outer", map[string]string{"a": "a"})
	f.git("outer", "submodule", "--quiet", "add", f.url+"/inner/.git", "m")
	f.commit("outer", nil)
	source, attrs := f.source("outer", "")
	_, list, err := k.load(source, id, attrs)
	if err != nil || !strings.Contains(list, `m/x 644 0:0 "inner"`) || strings.Contains(list, ".git ") || strings.Contains(list, ".git/") {
		t.Error(list, err)
	}
	attrs[pb.AttrGitSkipSubmodules] = "true"
	if _, list, err = k.load(source, id, attrs); err != nil || strings.Contains(list, "m/x") {
		t.Error(list, err)
	}
	// A repository that names a place of the host, or a program, as its submodule.
	f.repository("evil", map[string]string{"a": "a"})
	f.git("evil", "submodule", "--quiet", "add", f.url+"/inner/.git", "m")
	for _, url := range []string{f.folder + "/inner", "file://" + f.folder + "/inner/.git", "ext::sh -c touch% /tmp/cove-ext-ran"} {
		f.git("evil", "config", "-f", ".gitmodules", "submodule.m.url", url)
		f.commit("evil", map[string]string{"a": url})
		source, attrs := f.source("evil", "")
		if _, list, err := k.load(source, id, attrs); err == nil {
			t.Errorf("%s was fetched: %s", url, list)
		}
	}
	if _, err := os.Stat("/tmp/cove-ext-ran"); err == nil {
		t.Error("a repository has run a program")
	}
}

// TestPasswordsAreNotKept keeps the repository of an address with a password, and its submodule, which is named from there.
func TestPasswordsAreNotKept(t *testing.T) {
	k, f := newKit(t), newForge(t)
	id, _ := k.client("")
	f.repository("inner", map[string]string{"x": "inner"})
	f.repository("outer", map[string]string{"a": "a"})
	f.git("outer", "submodule", "--quiet", "add", f.url+"/inner/.git", "m")
	f.git("outer", "config", "-f", ".gitmodules", "submodule.m.url", "../../inner/.git")
	f.commit("outer", nil)
	f.header = "Basic dXNlcjpoaWRkZW4=" // user:hidden
	source, attrs := f.source("outer", "")
	attrs[pb.AttrFullRemoteURL] = strings.Replace(attrs[pb.AttrFullRemoteURL], "http://", "http://user:hidden@", 1)
	attrs[pb.AttrKeepGitDir] = "true"
	_, list, err := k.load(source, id, attrs)
	if err != nil || !strings.Contains(list, `m/x 644 0:0 "inner"`) || !strings.Contains(list, ".git/modules/m/HEAD") {
		t.Error(list, err)
	}
	if strings.Contains(list, "hidden") {
		t.Errorf("the password is in the files: %s", list[strings.Index(list, "hidden")-200:][:300])
	}
}

func TestRepositoriesWithSecrets(t *testing.T) {
	k, f := newKit(t), newForge(t)
	f.repository("one", map[string]string{"a": "first"})
	f.header = "basic eC1hY2Nlc3MtdG9rZW46c2VjcmV0" // x-access-token:secret
	source, attrs := f.source("one", "")
	attrs[pb.AttrAuthTokenSecret], attrs[pb.AttrAuthHeaderSecret] = "GIT_AUTH_TOKEN", "GIT_AUTH_HEADER"
	stranger, _ := k.client("")
	if _, _, err := k.load(source, stranger, attrs); err == nil {
		t.Error("a stranger was let in")
	}
	host := strings.TrimPrefix(f.url, "http://")
	for name, value := range map[string]string{
		"GIT_AUTH_TOKEN": "secret", "GIT_AUTH_TOKEN." + host: "secret", "GIT_AUTH_HEADER": f.header,
	} {
		id, _ := k.client("", secretsprovider.FromMap(map[string][]byte{name: []byte(value)}))
		if _, _, err := k.load(source, id, attrs); err != nil {
			t.Error(name, err)
		}
	}
	if _, err := k.maker.git("host/x", map[string]string{pb.AttrFullRemoteURL: "https://other/x"}); err == nil {
		t.Error("a repository stands in for another")
	}
	for _, text := range []string{"ext::sh -c x", "ssh://-oProxyCommand=x/y", "--upload-pack=x", "https://ann:secret@[bad"} {
		if _, err := k.maker.Op(&pb.SourceOp{Identifier: "git://" + text}, nil); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
