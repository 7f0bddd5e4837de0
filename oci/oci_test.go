package oci

import (
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

var zero = "sha256:" + strings.Repeat("0", 64)

func TestParse(t *testing.T) {
	desc := fmt.Sprintf(`{"mediaType":"x","digest":%q,"size":1}`, zero)
	manifest := `{"schemaVersion":2,"config":` + desc + `,"layers":[` + desc + `]}`
	index := `{"schemaVersion":2,"manifests":[` + desc + `]}`
	for _, c := range []struct{ media, body, want string }{
		{"", manifest, ocispec.MediaTypeImageManifest},
		{DockerManifest + "; charset=utf-8", manifest, DockerManifest},
		{"application/json", index, ocispec.MediaTypeImageIndex},
		{DockerManifestList, index, DockerManifestList},
		{"application/octet-stream", strings.Replace(index, "{", `{"mediaType":"`+DockerManifestList+`",`, 1), DockerManifestList},
		{"", strings.Replace(manifest, "{", `{"manifests":null,`, 1), ocispec.MediaTypeImageManifest},
	} {
		doc, err := Parse(c.media, []byte(c.body))
		if err != nil || doc.MediaType != c.want || (doc.Index == nil) == (doc.Manifest == nil) || len(doc.Children()) == 0 {
			t.Errorf("Parse(%q, %s) = %+v, %v", c.media, c.body, doc, err)
		}
	}
	for _, c := range []struct{ media, body, words string }{
		{Schema1, `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"", `{"schemaVersion":1,"fsLayers":[]}`, "schema 1"},
		{"", `{"schemaVersion":2,"mediaType":"` + Schema1 + `","layers":[]}`, "schema 1"},
		{ocispec.MediaTypeImageManifest, index, "ambiguous"},
		{ocispec.MediaTypeImageIndex, manifest, "ambiguous"},
		{"", `{"schemaVersion":2,"layers":[],"manifests":[]}`, "ambiguous"},
		{"", `{"schemaVersion":2,"layers":[],"Layers":[]}`, "ambiguous"},
		{"", `{"schemaVersion":2,"layers":[],"layers":[]}`, "ambiguous"},
		{DockerManifest, `{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageManifest + `","layers":[]}`, "ambiguous"},
		{"text/html", "<html>", "text/html"},
		{"", "[]", "not a JSON"},
		{"", "null", "not a JSON object"},
		{"", "{}", "schemaVersion 0"},
		{"", `{"schemaVersion":2}`, "neither"},
		{"", strings.Replace(manifest, zero, "sha256:12", 1), "not a digest"},
		{"", strings.Replace(manifest, zero, "sha512:"+strings.Repeat("0", 128), 1), "sha512"},
		{"", strings.Replace(manifest, `"size":1`, `"size":-1`, 1), "size -1"},
		{"", strings.Repeat(" ", MaxDocument+1), "larger"},
	} {
		if _, err := Parse(c.media, []byte(c.body)); !errdefs.IsInvalidArgument(err) || !strings.Contains(err.Error(), c.words) {
			t.Errorf("Parse(%q, %.80s): %v, want %q", c.media, c.body, err, c.words)
		}
	}
}

func TestParseImage(t *testing.T) {
	img, err := ParseImage([]byte(`{"os":"linux","architecture":"amd64","config":{"Healthcheck":{"Test":["CMD","x"]},"OnBuild":["RUN y"],"Shell":["s"],"Env":["A=1"]},"rootfs":{"type":"layers","diff_ids":["` + zero + `"]}}`))
	if err != nil || img.Config.Healthcheck.Test[1] != "x" || img.Config.OnBuild[0] != "RUN y" || img.Config.Shell[0] != "s" || len(img.Config.Env) != 1 || len(img.RootFS.DiffIDs) != 1 {
		t.Errorf("%+v %v", img, err)
	}
	for _, bad := range []string{"", "[]", `{"rootfs":{"diff_ids":["x"]}}`} {
		if _, err := ParseImage([]byte(bad)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func TestPlatforms(t *testing.T) {
	for in, want := range map[string]string{
		"linux/amd64": "linux/amd64", "linux/x86_64": "linux/amd64", "linux/arm64/v8": "linux/arm64", "linux/aarch64": "linux/arm64", "Linux/ARM": "linux/arm/v7",
		"linux/arm/v6": "linux/arm/v6", "linux/armhf": "linux/arm/v7", "arm64": "linux/arm64", "windows/amd64": "windows/amd64", "linux/amd64/v3": "linux/amd64/v3",
		"windows(10.0.20348.2113)/amd64": "windows/amd64",
	} {
		if p, err := ParsePlatform(in); err != nil || FormatPlatform(p) != want {
			t.Errorf("ParsePlatform(%q) = %s, %v", in, FormatPlatform(p), err)
		}
	}
	for _, bad := range []string{"", "nosuch", "linux/nosuch", "a/b/c/d", "linux/"} {
		if _, err := ParsePlatform(bad); !errdefs.IsInvalidArgument(err) {
			t.Errorf("ParsePlatform(%q): %v", bad, err)
		}
	}
	for _, c := range []struct {
		want, have string
		rank       int
	}{
		{"linux/arm64", "linux/arm64/v8", 0}, {"linux/amd64", "linux/amd64", 0}, {"linux/amd64", "linux/386", -1}, {"linux/amd64", "linux/amd64/v3", -1},
		{"linux/amd64/v3", "linux/amd64", 2}, {"linux/amd64/v3", "linux/amd64/v2", 1}, {"linux/arm/v7", "linux/arm/v6", 1}, {"linux/arm/v6", "linux/arm/v7", -1},
		{"windows/amd64", "linux/amd64", -1}, {"linux/arm64", "linux/arm", -1},
		{"windows/amd64", "windows(10.0.20348.2113)/amd64", 0}, {"windows(10.0.20348)/amd64", "windows(10.0.20348.2113)/amd64", 1},
		{"windows(10.0.17763)/amd64", "windows(10.0.20348.2113)/amd64", -1}, {"windows(10.0.17763)/amd64", "windows/amd64", -1},
	} {
		want, _ := ParsePlatform(c.want)
		have, _ := ParsePlatform(c.have)
		if got := Rank(want, have); got != c.rank {
			t.Errorf("Rank(%s, %s) = %d, want %d", c.want, c.have, got, c.rank)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("", `{"schemaVersion":2,"config":{"digest":"`+zero+`"},"layers":[]}`)
	f.Add(ocispec.MediaTypeImageIndex, `{"schemaVersion":2,"manifests":[{"digest":"`+zero+`","platform":{}}]}`)
	f.Add(DockerManifest, `{"schemaVersion":2,"Manifests":[],"layers":[]}`)
	f.Fuzz(func(t *testing.T, media, body string) {
		doc, err := Parse(media, []byte(body))
		if err != nil {
			if !errdefs.IsInvalidArgument(err) {
				t.Fatalf("kind of %v", err)
			}
			return
		}
		if (doc.Index == nil) == (doc.Manifest == nil) || !IsDocument(doc.MediaType) {
			t.Fatalf("Parse(%q, %q) = %+v", media, body, doc)
		}
		for _, d := range doc.Children() {
			if CheckDigest(d.Digest) != nil {
				t.Fatalf("bad digest %q let through", d.Digest)
			}
		}
	})
}

func FuzzParseImage(f *testing.F) {
	f.Add(`{"rootfs":{"diff_ids":["` + zero + `"]},"config":{"Healthcheck":{}}}`)
	f.Fuzz(func(t *testing.T, body string) { ParseImage([]byte(body)) })
}

func FuzzParsePlatform(f *testing.F) {
	f.Add("linux/arm/v7")
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePlatform(s)
		if err != nil {
			return
		}
		if again, err := ParsePlatform(FormatPlatform(p)); err != nil || FormatPlatform(again) != FormatPlatform(p) {
			t.Fatalf("%q → %s → %v", s, FormatPlatform(p), err)
		}
	})
}
