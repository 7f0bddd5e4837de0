package hosts

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestParse(t *testing.T) {
	got, err := parse(`
server = "https://registry.example:5000"
ca = "own.crt"

[host."https://z.example"]
  capabilities = ["pull", "resolve"]
  ca = ["a.crt", "/abs/b.crt"]
  client = [["me.cert", "me.key"], "both.pem"]
  dial_timeout = "5s"
  [host."https://z.example".header]
    x-team = "a"
    X-More = ["b", "c"]

[host."http://a.example:81/hub"]
  skip_verify = true

[host."b.example/root"]
  capabilities = ["push"]
  override_path = true

[host."https://c.example/v2"]
`, "/d")
	if err != nil {
		t.Fatal(err)
	}
	want := Namespace{
		Mirrors: []Host{
			{Scheme: "https", Host: "z.example", Root: "/v2", Pull: true, Resolve: true, Header: map[string][]string{"X-Team": {"a"}, "X-More": {"b", "c"}},
				TLS: TLS{CA: []string{"/d/a.crt", "/abs/b.crt"}, Client: [][2]string{{"/d/me.cert", "/d/me.key"}, {"/d/both.pem", "/d/both.pem"}}, Dial: 5 * time.Second}},
			{Scheme: "http", Host: "a.example:81", Root: "/hub/v2", Pull: true, Resolve: true, Header: map[string][]string{}, TLS: TLS{SkipVerify: true}},
			{Scheme: "https", Host: "b.example", Root: "/root", Push: true, Header: map[string][]string{}},
			{Scheme: "https", Host: "c.example", Root: "/v2", Pull: true, Resolve: true, Header: map[string][]string{}},
		},
		Server: &Host{Scheme: "https", Host: "registry.example:5000", Root: "/v2", Pull: true, Resolve: true, Push: true, Header: map[string][]string{}, TLS: TLS{CA: []string{"/d/own.crt"}}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for text, want := range map[string]string{
		`server = `:                                     "expected value",
		`server = "ftp://x"`:                            "not a plain http or https URL",
		`[host."https://u:p@x"]`:                        "not a plain http or https URL",
		"[host.\"x\"]\ncapabilities = [\"fly\"]":        "unknown capability",
		"[host.\"x\"]\nca = 1":                          "neither a text nor a list",
		"[host.\"x\"]\nclient = [[\"a\",\"b\",\"c\"]]":  "not a pair",
		"[host.\"x\"]\ndial_timeout = \"soon\"":         "is no duration",
		"[host.\"x\"]\n[host.\"x\".header]\na = [1, 2]": "not a list of texts",
	} {
		if _, err := parse(text, "/d"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestFind(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	for _, f := range []string{"x.example/hosts.toml", "_default/hosts.toml", "certs.example/ca.crt"} {
		path := filepath.Join(b, f)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for registry, want := range map[string]string{"x.example": "x.example/hosts.toml", "y.example": "_default/hosts.toml", "certs.example": "", "../x.example": "x.example/hosts.toml"} {
		if want != "" {
			want = filepath.Join(b, want)
		}
		if got := Find([]string{a, b}, registry); got != want {
			t.Errorf("%s: %q, want %q", registry, got, want)
		}
	}
	if got := Find([]string{a}, "x.example"); got != "" {
		t.Errorf("found %q where nothing is", got)
	}
	if err := os.WriteFile(filepath.Join(b, "x.example/hosts.toml"), []byte("server = 1"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(filepath.Join(b, "x.example/hosts.toml")); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "x.example/hosts.toml") {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("server = \"https://x\"\n[host.\"y\"]\ncapabilities=[\"pull\"]\nca=[\"a\"]\nclient=[[\"a\",\"b\"]]")
	f.Fuzz(func(t *testing.T, text string) {
		n, err := parse(text, "/d")
		for _, h := range n.Mirrors {
			if err == nil && (h.Host == "" || h.Scheme != "http" && h.Scheme != "https") {
				t.Errorf("host %+v", h)
			}
		}
	})
}
