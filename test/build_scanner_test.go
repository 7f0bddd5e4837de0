package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// scanner speaks BuildKit's protocol of scanners: it counts files.
const scanner = `#!/bin/sh
set -e
[ "$BUILDKIT_SCAN_MODE" != fail ] || { echo the scanner gives up; exit 4; }
if touch "$BUILDKIT_SCAN_SOURCE/x" 2>/dev/null; then echo the source can be written to; exit 5; fi
scan() {
	[ "$BUILDKIT_SCAN_MODE" != lie ] || { echo '{"predicateType":"https://example.com/else","predicate":{}}' >$BUILDKIT_SCAN_DESTINATION/$1.spdx.json; return; }
	printf '{"_type":"https://in-toto.io/Statement/v0.1","predicateType":"https://spdx.dev/Document","predicate":{"name":"%s","files":%d,"mode":"%s","home":"%s"}}' \
		$1 $(find $2 -type f | wc -l) "$BUILDKIT_SCAN_MODE" "$PWD" >$BUILDKIT_SCAN_DESTINATION/$1.spdx.json
}
scan $(basename $BUILDKIT_SCAN_SOURCE) $BUILDKIT_SCAN_SOURCE
[ -n "$BUILDKIT_SCAN_SOURCE_EXTRAS" ] || exit 0
for extra in $BUILDKIT_SCAN_SOURCE_EXTRAS/*; do scan $(basename $extra) $extra; done
`

// scanned is what that scanner states.
type scanned struct {
	Subject []struct {
		Name   string
		Digest map[string]string
	}
	PredicateType string
	Predicate     struct {
		Name, Mode, Home string
		Files            int
	}
}

// TestScannerImages has an image list what was built: the last stage, and the others and the context when the Dockerfile says so.
func TestScannerImages(t *testing.T) {
	t.Parallel()
	needDocker(t)
	b := newBuilder(t)
	r := serve(t, t.TempDir())
	image := r.Host + "/scanner:1"
	tools := folder(t, "Dockerfile", "FROM busybox\nCOPY --chmod=755 scan /scan\nWORKDIR /work\nENTRYPOINT [\"/scan\"]\n", "scan", scanner)
	b.must(tools, "", "cove", "build", "--push", "-t", image, ".")
	plain := folder(t, "Dockerfile", "FROM scratch\nCOPY a b /\n", "a", "a", "b", "b")
	all := folder(t, "a", "a", "b", "b", "c", "c", "Dockerfile",
		"ARG BUILDKIT_SBOM_SCAN_CONTEXT=true\nFROM busybox AS tools\nARG BUILDKIT_SBOM_SCAN_STAGE=true\nRUN rm -rf /bin /lib /usr /etc; true\nCOPY a b c /d/\nFROM scratch\nCOPY --from=tools /d/a /\n")
	clients := map[string][]string{"cove": {"cove", "build", "--progress=plain"}, "buildx": {"docker", "buildx", "build", "--progress=plain"}}
	for client, build := range clients {
		for n, wish := range []string{"--sbom=generator=" + image + ",MODE=deep", "--attest=type=sbom,generator=" + image + ",MODE=deep"} {
			name := fmt.Sprintf("%s%d", client, n)
			out := b.must(plain, "", append(build[:len(build):len(build)], wish, "--provenance=false", "--push", "-t", r.Host+"/"+name+":1", ".")...)
			if client == "buildx" && !strings.Contains(out, "generating sbom using") && !strings.Contains(out, "CACHED") {
				t.Errorf("%s", out)
			}
			found, manifest := statements(t, r.Host, name)
			if len(found) != 1 {
				t.Fatalf("%s: %d statements", name, len(found))
			}
			s := found[0]
			if s.Predicate.Files != 2 || s.Predicate.Name != "sbom" || s.Predicate.Mode != "deep" || s.Predicate.Home != "/work" || s.PredicateType != "https://spdx.dev/Document" {
				t.Errorf("%s: %+v", name, s)
			}
			if len(s.Subject) == 0 || "sha256:"+s.Subject[0].Digest["sha256"] != manifest {
				t.Errorf("%s: it speaks of %+v, the image is %s", name, s.Subject, manifest)
			}
			if told := b.must("", "", "docker", "buildx", "imagetools", "inspect", "--format", "{{json .SBOM}}", r.Host+"/"+name+":1"); !strings.Contains(told, `"files"`) {
				t.Errorf("%s: %s", name, told)
			}
		}
		name := client + "-all"
		b.must(all, "", append(build[:len(build):len(build)], "--sbom=generator="+image, "--provenance=false", "--push", "-t", r.Host+"/"+name+":1", ".")...)
		found, _ := statements(t, r.Host, name)
		var got []string
		for _, s := range found {
			got = append(got, fmt.Sprintf("%s %d", s.Predicate.Name, s.Predicate.Files))
		}
		if slices.Sort(got); !slices.Equal(got, []string{"sbom 1", "sbom-context 3", "sbom-tools 3"}) {
			t.Errorf("%s: %v", name, got)
		}
		files := filepath.Join(t.TempDir(), "files")
		b.must(plain, "", append(build[:len(build):len(build)], "--sbom=generator="+image, "-o", files, ".")...)
		var s scanned
		if text, err := os.ReadFile(filepath.Join(files, "sbom.spdx.json")); err != nil || json.Unmarshal(text, &s) != nil || s.Predicate.Files != 2 {
			t.Errorf("%s, files: %v %s", client, err, text)
		}
		for mode, words := range map[string]string{"fail": "the scanner gives up", "lie": "does not match required predicate type"} {
			if out, err := b.plugin(plain, "", append(build[:len(build):len(build)], "--sbom=generator="+image+",MODE="+mode, "-t", "never", ".")...); err == nil || !strings.Contains(out, words) {
				t.Errorf("%s, a scanner that would %s: %v\n%s", client, mode, err, out)
			}
		}
		if out, err := b.plugin(plain, "", append(build[:len(build):len(build)], "--sbom=generator="+r.Host+"/nobody:1", "-t", "never", ".")...); err == nil || !strings.Contains(out, "not found") {
			t.Errorf("%s, a scanner that is not there: %v\n%s", client, err, out)
		}
	}
	if out := b.Run("cove", "images"); strings.Contains(out, "never") {
		t.Errorf("an image without its list:\n%s", out)
	}
}

// statements are the attestations of an image in a registry, with the digest of the image's own manifest.
func statements(t *testing.T, host, name string) (found []scanned, manifest string) {
	t.Helper()
	body, _ := fetch(t, fmt.Sprintf("http://%s/v2/%s/manifests/1", host, name))
	var index ocispec.Index
	if err := json.Unmarshal(body, &index); err != nil {
		t.Fatal(err)
	}
	for _, m := range index.Manifests {
		if m.Annotations["vnd.docker.reference.type"] != "attestation-manifest" {
			manifest = m.Digest.String()
			continue
		}
		if m.Annotations["vnd.docker.reference.digest"] != manifest {
			t.Errorf("%s: attestations of %s", name, m.Annotations["vnd.docker.reference.digest"])
		}
		body, _ := fetch(t, fmt.Sprintf("http://%s/v2/%s/manifests/%s", host, name, m.Digest))
		var attestations ocispec.Manifest
		if err := json.Unmarshal(body, &attestations); err != nil {
			t.Fatal(err)
		}
		for _, l := range attestations.Layers {
			body, _ := fetch(t, fmt.Sprintf("http://%s/v2/%s/blobs/%s", host, name, l.Digest))
			var s scanned
			if err := json.Unmarshal(body, &s); err != nil || l.Annotations["in-toto.io/predicate-type"] != s.PredicateType {
				t.Errorf("%s: %v %+v", name, err, l)
			}
			found = append(found, s)
		}
	}
	return found, manifest
}
