package attest

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

const imageDigest = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func aBuild() Build {
	source := &pb.Op{
		Op:       &pb.Op_Source{Source: &pb.SourceOp{Identifier: "docker-image://docker.io/library/busybox:latest@" + imageDigest}},
		Platform: &pb.Platform{OS: "linux", Architecture: "amd64"},
	}
	run := &pb.Op{
		Inputs: []*pb.Input{{Digest: string(digest.FromString("source"))}},
		Op: &pb.Op_Exec{Exec: &pb.ExecOp{
			Meta:   &pb.Meta{Args: []string{"true"}},
			Mounts: []*pb.Mount{{MountType: pb.MountType_SECRET, SecretOpt: &pb.SecretOpt{ID: "token"}}},
		}},
	}
	local := &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "local://context", Attrs: map[string]string{"local.session": "abc"}}}}
	git := &pb.Op{Op: &pb.Op_Source{Source: &pb.SourceOp{Identifier: "git://example.com/x.git#main", Attrs: map[string]string{"git.fullurl": "https://user:pass@example.com/x.git"}}}}
	return Build{
		ID: "one", Started: time.Unix(100, 0), Ended: time.Unix(200, 0), FrontEnd: "dockerfile.v0",
		Options: map[string]string{"filename": "Dockerfile", "build-arg:A": "secret", "target": "t", "vcs:revision": "abc", "platform": "linux/amd64"},
		Host:    ocispec.Platform{OS: "linux", Architecture: "amd64"}, Target: ocispec.Platform{OS: "linux", Architecture: "amd64"},
		Steps: []Step{
			{Digest: digest.FromString("source"), Op: source}, {Digest: digest.FromString("run"), Op: run}, {Digest: digest.FromString("local"), Op: local},
			{Digest: digest.FromString("git"), Op: git, Notes: map[string]string{"commit": strings.Repeat("c", 40)}},
		},
	}
}

func stated(t *testing.T, attrs map[string]string) string {
	t.Helper()
	a, err := Provenance(aBuild(), attrs)
	if err != nil {
		t.Fatal(err)
	}
	body, err := a.Statement(context.Background(), []Named{Self("pkg:docker/x@latest", digest.FromString("image"))})
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestProvenance(t *testing.T) {
	maximal := stated(t, map[string]string{"mode": "max"})
	for _, want := range []string{
		`"_type":"https://in-toto.io/Statement/v1"`, `"predicateType":"https://slsa.dev/provenance/v1"`, `"name":"pkg:docker/x@latest"`,
		`"uri":"pkg:docker/busybox@latest?platform=linux%2Famd64","digest":{"sha256":"aaaa`, `"build-arg:A":"secret"`, `"llbDefinition"`, `"step1"`,
		`"startedOn"`, `"one"`, `"sha1":"cccc`, `"secrets":[{"id":"token"}]`, `"vcs":{"revision":"abc"}`, `"path":"Dockerfile"`,
	} {
		if !strings.Contains(maximal, want) {
			t.Errorf("no %s in %s", want, maximal)
		}
	}
	if strings.Contains(maximal, "local.session") || strings.Contains(maximal, "user:pass") {
		t.Error("it tells too much")
	}
	minimal := stated(t, map[string]string{"mode": "min", "inline-only": "true", "version": "v0.2"})
	if !strings.Contains(minimal, `"predicateType":"https://slsa.dev/provenance/v0.2"`) || !strings.Contains(minimal, `"materials"`) {
		t.Error(minimal)
	}
	for _, never := range []string{"secret", "token", "buildStartedOn", "llbDefinition"} {
		if strings.Contains(minimal, never) {
			t.Errorf("%s in %s", never, minimal)
		}
	}
	for _, attrs := range []map[string]string{{"mode": "x"}, {"version": "v9"}, {"complete-materials": "true"}, {"reproducible": "perhaps"}} {
		if _, err := Provenance(aBuild(), attrs); err == nil {
			t.Errorf("%v is taken", attrs)
		}
	}
	if _, err := (&Attestation{Predicate: "https://slsa.dev/provenance/v1", FrontEnd: true}).Statement(context.Background(), nil); err == nil {
		t.Error("a front end states the provenance")
	}
}

func TestWished(t *testing.T) {
	w, err := Wished(map[string]string{"attest:provenance": "mode=min,inline-only=true", "build-arg:BUILDKIT_ATTEST_SBOM": "generator=x/y", "target": "z"})
	if err != nil || w.Provenance["mode"] != "min" || w.SBOM["generator"] != "x/y" {
		t.Error(w, err)
	}
	if w, err = Wished(map[string]string{"attest:provenance": "disabled=true", "attest:sbom": ""}); err != nil || w.Provenance != nil || w.SBOM == nil {
		t.Error(w, err)
	}
	if _, err = Wished(map[string]string{"attest:horoscope": ""}); err == nil {
		t.Error("any attestation is taken")
	}
}

func TestBillOfMaterials(t *testing.T) {
	dir := t.TempDir()
	put := func(name, body string, mode os.FileMode) {
		t.Helper()
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), mode); err != nil {
			t.Fatal(err)
		}
	}
	put("etc/os-release", "ID=debian\nVERSION_ID=\"13\"\n", 0o644)
	put("var/lib/dpkg/status", "Package: bash\nStatus: install ok installed\nVersion: 5.2-1\nArchitecture: amd64\nMaintainer: M <m@x>\nDescription: a shell\n with more\n\nPackage: gone\nStatus: deinstall ok config-files\nVersion: 1\n", 0o644)
	put("lib/apk/db/installed", "P:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\n\n", 0o644)
	put("app/node_modules/left-pad/package.json", `{"name":"left-pad","version":"1.3.0","license":"MIT"}`, 0o644)
	put("app/node_modules/@a/b/package.json", `{"name":"@a/b","version":"2.0.0"}`, 0o644)
	put("app/node_modules/left-pad/test/package.json", `{"name":"no","version":"0"}`, 0o644)
	put("usr/lib/python3/dist-packages/Some_Thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: Some_Thing\nVersion: 1.0\nLicense: MIT\n\nName: not this\n", 0o644)
	self, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	put("bin/prog", string(self), 0o755)
	put("bin/broken", "\x7fELF"+strings.Repeat("x", 4096), 0o755)
	if err := os.Symlink("/etc/passwd", filepath.Join(dir, "var/lib/dpkg/link")); err != nil {
		t.Fatal(err)
	}
	root, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	a, err := BillOfMaterials(context.Background(), root, time.Unix(1700000000, 0))
	if err != nil {
		t.Fatal(err)
	}
	body, err := a.Content(context.Background())
	if err != nil || !json.Valid(body) {
		t.Fatal(err)
	}
	for _, want := range []string{
		"pkg:deb/debian/bash@5.2-1?arch=amd64\\u0026distro=debian-13", "pkg:apk/debian/musl@1.2.5-r0", "pkg:npm/left-pad@1.3.0", "pkg:npm/%40a/b@2.0.0",
		"pkg:pypi/some-thing@1.0", "pkg:golang/stdlib@", `"created": "2023-11-14T22:13:20Z"`, `"licenseDeclared": "MIT"`,
	} {
		if !strings.Contains(string(body), want) {
			t.Errorf("no %s in %s", want, body)
		}
	}
	for _, never := range []string{`"gone"`, `"no"`, "not this"} {
		if strings.Contains(string(body), never) {
			t.Errorf("%s in %s", never, body)
		}
	}
}
