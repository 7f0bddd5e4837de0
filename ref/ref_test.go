package ref

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
)

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

func TestParseNormalForm(t *testing.T) {
	for in, want := range map[string]string{
		"foo:5000":                        "docker.io/library/foo:5000",
		"foo:5000/bar":                    "foo:5000/bar",
		"localhost/foo":                   "localhost/foo",
		"FOO/bar":                         "FOO/bar",
		"foo__bar":                        "docker.io/library/foo__bar",
		"foo--bar":                        "docker.io/library/foo--bar",
		"foo:_x":                          "docker.io/library/foo:_x",
		"[::1]:5000/x":                    "[::1]:5000/x",
		"index.docker.io/alpine":          "docker.io/library/alpine",
		"docker.io/a/b":                   "docker.io/a/b",
		"a@" + sum:                        "docker.io/library/a@" + sum,
		"h:1/a:t@" + sum:                  "h:1/a:t@" + sum,
		"foo:" + strings.Repeat("a", 128): "docker.io/library/foo:" + strings.Repeat("a", 128),
	} {
		n, err := Parse(in)
		if err != nil || n.String() != want {
			t.Errorf("Parse(%q) = %q, %v; want %q", in, n, err, want)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, in := range []string{
		"", "Foo", "foo/Bar", "localhost:5000/A", "foo___bar", "foo..bar", "foo-.bar", "foo:.x", "foo:-x",
		"foo:" + strings.Repeat("a", 129), "a//b", "/a", "a/", "foo:a:b", "ab:c/d", "http://h/x",
		strings.Repeat("0f", 32), "h.io/" + strings.Repeat("a", 256), "[fe80::1%eth0]:5000/x", "a@sha256:12", "foo:", "a@",
		"a@sha256:" + strings.Repeat("Z", 64), "-a/b.c", "a b", "foo\n", "é",
	} {
		n, err := Parse(in)
		if err == nil || !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), "invalid") {
			t.Errorf("Parse(%q) = %q, %v; want an invalid argument", in, n, err)
		}
	}
}

func TestFamiliar(t *testing.T) {
	for in, want := range map[string]string{
		"docker.io/library/alpine:3":       "alpine:3",
		"docker.io/library/a/b":            "library/a/b",
		"docker.io/u/b":                    "u/b",
		"127.0.0.1:5000/x:1":               "127.0.0.1:5000/x:1",
		"index.docker.io/library/a@" + sum: "a@" + sum,
	} {
		n, err := Parse(in)
		if err != nil || n.Familiar() != want {
			t.Errorf("Familiar(%q) = %q, %v; want %q", in, n.Familiar(), err, want)
		}
	}
	if n, _ := ParseTagged("alpine"); n.Familiar() != "alpine:latest" {
		t.Errorf("default tag: %q", n.Familiar())
	}
}

func TestIDs(t *testing.T) {
	if !IsIDPrefix("sha256:0f") || !IsIDPrefix("0f") || IsIDPrefix("x") || IsIDPrefix("") || IsIDPrefix("0F") {
		t.Error("IsIDPrefix")
	}
}

// FuzzParse holds the grammar against the reference implementation: both accept the same names and give
// the same normal form.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"alpine", "foo:5000/bar", "a__b/c-d.e:_x@" + sum, "[::1]:5000/x", "FOO/bar", "localhost/x", "index.docker.io/a",
		"a@sha256+b64:0123456789abcdef0123456789abcdef", "foo.-bar", "x@md5:0123456789abcdef0123456789abcdef", "a.b:1/c@" + sum,
		"é.x/y", "K.io/x", "a@b:c", ":", "@", "/", "a:b@" + sum + ":x", "ſ/x",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		want, wantErr := reference.ParseNormalizedNamed(s)
		got, err := Parse(s)
		if (err == nil) != (wantErr == nil) {
			t.Fatalf("Parse(%q): %v; reference says %v", s, err, wantErr)
		}
		if err != nil {
			return
		}
		if got.String() != want.String() || got.Familiar() != reference.FamiliarString(want) {
			t.Fatalf("Parse(%q) = %q; reference says %q", s, got, want)
		}
		again, err := Parse(got.Familiar())
		if err != nil || again != got {
			t.Fatalf("Parse(Familiar(%q)) = %q, %v", s, again, err)
		}
	})
}
