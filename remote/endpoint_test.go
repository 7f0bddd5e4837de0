package remote

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

// hostsFile writes the hosts.toml of a registry and returns the folder of all of them.
func hostsFile(t *testing.T, registry, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, registry), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, registry, "hosts.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func paths(r *testkit.Registry) (out []string) {
	for _, q := range r.Log() {
		out = append(out, q.Method+" "+q.Path)
	}
	return out
}

// TestHostsFile: mirrors of any registry are asked first and anonymously, for what they are said to be good for; uploads go to
// the registry itself.
func TestHostsFile(t *testing.T) {
	mirror := start(t, testkit.Faults{})
	own := start(t, testkit.Faults{Auth: "basic", User: "u", Password: "p"})
	const registry = "registry.invalid:5000"
	desc := own.PutManifest("x", "1", ocispec.MediaTypeImageManifest, []byte("{}"))
	certs := hostsFile(t, registry, fmt.Sprintf("server = \"http://%s\"\n[host.\"http://%s\"]\ncapabilities = [\"pull\"]\n", own.Host(), mirror.Host()))
	c := client(t, Config{CertsDirs: []string{certs}})
	n := name(t, registry+"/x:1")
	if _, body, err := c.Manifest(t.Context(), n, user()); err != nil || string(body) != "{}" {
		t.Fatalf("by tag: %q %v", body, err)
	}
	if len(mirror.Log()) != 0 {
		t.Errorf("a mirror that is not said to resolve tags was asked %v", paths(mirror))
	}
	if _, _, err := c.Manifest(t.Context(), n.WithDigest(desc), user()); err != nil {
		t.Errorf("what the mirror does not have: %v", err)
	}
	if got := paths(mirror); !slices.Equal(got, []string{"GET /v2/x/manifests/" + desc.String()}) {
		t.Errorf("the mirror was asked %v", got)
	}
	if q := mirror.Log()[0]; q.Query.Get("ns") != registry || q.Authorization != "" {
		t.Errorf("the mirror was asked %+v", q)
	}
	blob := mirror.PutBlob([]byte("content"))
	if body, _, err := c.Blob(t.Context(), n, ocispec.Descriptor{Digest: blob, Size: 7}, 0, user()); err != nil {
		t.Errorf("what only the mirror has: %v", err)
	} else {
		body.Close()
	}
	_, u := content(10)
	before := len(mirror.Log())
	if _, err := c.PutBlob(t.Context(), n, u, user()); err != nil || len(mirror.Log()) != before {
		t.Errorf("upload: %v; the mirror was asked %v", err, paths(mirror)[before:])
	}
	if token, err := c.Login(t.Context(), registry, Credentials{Username: "u", Password: "p"}); err != nil || token != "" {
		t.Errorf("login: %q %v", token, err)
	}
	if _, err := c.Login(t.Context(), registry, Credentials{Username: "u", Password: "no"}); !errdefs.IsUnauthorized(err) {
		t.Errorf("login with a wrong password: %v", err)
	}
}

func TestHostsFileAbilities(t *testing.T) {
	const registry = "registry.invalid"
	for text, want := range map[string]string{
		"server = \"http://own\"\n[host.\"http://m\"]\n":                              "pull m own, resolve m own, push own",
		"server = \"http://own\"\n[host.\"http://m\"]\ncapabilities = [\"push\"]\n":   "pull own, resolve own, push m own",
		"[host.\"http://b\"]\n[host.\"http://a\"]\n":                                  "pull b a registry.invalid, resolve b a registry.invalid, push registry.invalid",
		"server = \"http://own\"\ncapabilities = [\"pull\"]\n":                        "pull own, resolve error, push error",
		"server = \"http://own\"\n[host.\"http://own\"]\ncapabilities = [\"pull\"]\n": "pull own own, resolve own, push own",
		"server = \"nonsense://own\"\n":                                               "pull error, resolve error, push error",
	} {
		c := client(t, Config{CertsDirs: []string{hostsFile(t, registry, text)}})
		var got []string
		for _, wanted := range []struct {
			word string
			what abilities
		}{{"pull", pulling}, {"resolve", pulling | resolving}, {"push", pushing}} {
			places, err := c.endpoints(registry, wanted.what)
			line := wanted.word
			for _, at := range places {
				line += " " + at.host
				if at.own != (at.host == "own" || at.host == registry) {
					t.Errorf("%q: credentials for %s: %v", text, at.host, at.own)
				}
			}
			if err != nil {
				line += " error"
			}
			got = append(got, line)
		}
		if strings.Join(got, ", ") != want {
			t.Errorf("%q: %s, want %s", text, strings.Join(got, ", "), want)
		}
	}
	// What is for a registry with TLS is not for one of the same name without.
	for text, own := range map[string]bool{
		"[host.\"http://registry.invalid\"]\n": false, "[host.\"https://registry.invalid\"]\n": true,
		"server = \"https://own\"\n[host.\"http://own\"]\n": false, "server = \"http://own\"\n[host.\"http://own\"]\n": true,
	} {
		places, err := client(t, Config{CertsDirs: []string{hostsFile(t, registry, text)}}).endpoints(registry, pulling)
		if err != nil || len(places) != 2 || places[0].own != own || !places[1].own {
			t.Errorf("%q: %+v, %v", text, places, err)
		}
	}
	// docker.io answers elsewhere than it is called, and has the mirrors of the command line besides.
	c := client(t, Config{Mirrors: []string{"http://line/x"}, CertsDirs: []string{hostsFile(t, "docker.io", "server = \"https://docker.io\"\n[host.\"https://file\"]\n")}})
	places, err := c.endpoints("docker.io", pulling|resolving)
	if err != nil || len(places) != 3 || places[0].host+places[0].root != "line/x/v2" || places[1].host != "file" || places[2].host != dockerHub || places[2].namespace != "" {
		t.Errorf("docker.io: %+v %v", places, err)
	}
}

// TestHostsFileWithoutPush: a registry that takes no uploads, by its file, is asked all the same what it has.
func TestHostsFileWithoutPush(t *testing.T) {
	own := start(t, testkit.Faults{})
	const registry = "registry.invalid"
	desc := own.PutManifest("x", "1", ocispec.MediaTypeImageManifest, []byte("{}"))
	c := client(t, Config{CertsDirs: []string{hostsFile(t, registry, fmt.Sprintf("server = \"http://%s\"\ncapabilities = [\"pull\", \"resolve\"]\n", own.Host()))}})
	n := name(t, registry+"/x:1")
	if found, err := c.StatManifest(t.Context(), n, user()); err != nil || found.Digest != desc {
		t.Errorf("%+v, %v", found, err)
	}
	_, u := content(10)
	if _, err := c.PutBlob(t.Context(), n, u, user()); !errdefs.IsPermissionDenied(err) {
		t.Errorf("upload: %v", err)
	}
}

// TestHostsFileTLS: certificates and headers named in the file are for the host they are named for, not for where it redirects to.
func TestHostsFileTLS(t *testing.T) {
	ip := hostAddress(t)
	pair, authority := certificate(t, ip)
	secure, err := testkit.NewRegistry(ip+":0", testkit.Faults{}, &pair)
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	push(secure, nil)
	const registry = "registry.invalid"
	n := name(t, registry+"/x:1")
	for extra, want := range map[string]string{"": "x509", "ca = \"ca.pem\"": "", "skip_verify = true": "", "ca = \"nothing.pem\"": "no such file"} {
		certs := hostsFile(t, registry, fmt.Sprintf("server = \"https://%s\"\n%s\ndial_timeout = \"3s\"\n", secure.Host(), extra))
		if err := os.WriteFile(filepath.Join(certs, registry, "ca.pem"), authority, 0o644); err != nil {
			t.Fatal(err)
		}
		_, _, err := client(t, Config{CertsDirs: []string{certs}}).Manifest(t.Context(), n, NewSession(Credentials{}))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v, want %q", extra, err, want)
		}
	}
	var seen []string
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen = append(seen, "storage "+q.Header.Get("X-Key")+q.Header.Get("Authorization"))
		fmt.Fprint(w, "content")
	}))
	defer storage.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		seen = append(seen, "front "+q.Header.Get("X-Key")+q.Header.Get("Authorization"))
		http.Redirect(w, q, storage.URL+"/b", http.StatusTemporaryRedirect)
	}))
	defer front.Close()
	certs := hostsFile(t, registry, fmt.Sprintf("server = %q\n[header]\nx-key = \"k\"\nauthorization = \"a\"\n", front.URL))
	c := client(t, Config{CertsDirs: []string{certs}, Idle: time.Second})
	body, _, err := c.Blob(t.Context(), n, ocispec.Descriptor{Digest: digest.FromString("content"), Size: 7}, 0, NewSession(Credentials{}))
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
	if want := []string{"front ka", "storage "}; !slices.Equal(seen, want) {
		t.Errorf("headers were seen by %q", seen)
	}
}
