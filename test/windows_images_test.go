package test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

// TestWindowsImages: images for Windows are pulled, listed, inspected, pushed, saved and loaded as they are, the layers included that only
// their maker may hand out; running one is refused, with the reason.
func TestWindowsImages(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	bases := map[string][]byte{}
	var served atomic.Int32
	maker := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := bases[strings.TrimPrefix(r.URL.Path, "/")]
		if !ok {
			http.NotFound(w, r)
			return
		}
		served.Add(1)
		w.Write(body)
	}))
	defer maker.Close()
	made := map[string]*testkit.Image{}
	var entries []ocispec.Descriptor
	r := openRegistry(t, testkit.Faults{})
	for _, version := range []string{"10.0.17763.6189", "10.0.20348.2113"} {
		im, err := testkit.Windows(version, "of "+version, func(base digest.Digest) []string {
			return []string{"http://" + r.Host() + "/nothing/here", maker.URL + "/" + base.Encoded()}
		})
		if err != nil {
			t.Fatal(err)
		}
		base := digest.FromBytes(im.Layers[0])
		bases[base.Encoded()], made[version] = im.Layers[0], im
		r.Push("win", version, im)
		r.Forget(base) // whoever asks the registry for it gets nothing
		e := entry(im, "windows/amd64")
		e.Platform.OSVersion = version
		entries = append(entries, e)
	}
	old, recent := made["10.0.17763.6189"], made["10.0.20348.2113"]
	index := indexOf(t, entries...)
	r.PutManifest("win", "all", ocispec.MediaTypeImageIndex, index)
	single := r.Host() + "/win:10.0.20348.2113"
	for _, client := range clients() {
		e := newEngine(t)
		e.Start()
		said := func(want int, words string, args ...string) {
			t.Helper()
			out, errOut, code := e.Try(append([]string{client}, args...)...)
			if code != want || !strings.Contains(out+errOut, words) {
				t.Errorf("%s %q: status %d, want %d and %q\n%s%s", client, args, code, want, words, out, errOut)
			}
		}
		const refused = `image operating system "windows" cannot be used on this platform`
		said(1, refused, "pull", single)
		said(1, "no matching manifest for linux/amd64", "pull", r.Host()+"/win:all")
		served.Store(0)
		said(0, "Downloaded newer image", "pull", "--platform", "windows/amd64", single)
		if served.Load() != 1 {
			t.Errorf("%s: the base was fetched %d times from its maker", client, served.Load())
		}
		said(0, "up to date", "pull", "--platform", "windows/amd64", single)
		said(0, "win", "images")
		said(0, "windows/amd64 10.0.20348.2113 2\n", "inspect", "-f", "{{.Os}}/{{.Architecture}} {{.OsVersion}} {{len .RootFS.Layers}}", single)
		said(0, "craft", "history", single)
		for _, args := range [][]string{{"run", "--rm", single}, {"run", "--rm", "--platform", "windows/amd64", single}, {"create", single, "cmd"}} {
			said(map[string]int{"run": 125, "create": 1}[args[0]], refused, args...)
		}
		if got := e.Run("cove", "ps", "-aq"); got != "" {
			t.Errorf("%s: left: %s", client, got)
		}
		if trees, err := os.ReadDir(filepath.Join(e.DataRoot, "layers", "trees")); err == nil && len(trees) > 0 {
			t.Errorf("%s: %d layers of Windows were unpacked", client, len(trees))
		}
		e.sound(client+": with a Windows image", "--deep")

		// Saved, loaded again, pushed: byte for byte, foreign layers not sent.
		archive := filepath.Join(t.TempDir(), "saved.tar")
		said(0, "", "save", "-o", archive, single)
		archived(t, archive, recent.Manifest, recent.Config, recent.Layers[0], recent.Layers[1])
		said(0, "Untagged", "rmi", single)
		clean(t, e, client+": removed")
		said(0, single, "load", "-i", archive)
		e.Run(client, "tag", single, r.Host()+"/copy:"+client)
		said(0, "digest: "+digest.FromBytes(recent.Manifest).String(), "push", r.Host()+"/copy:"+client)
		if !bytes.Equal(r.Manifest("copy", client), recent.Manifest) {
			t.Errorf("%s: another manifest was pushed", client)
		}
		for _, q := range r.Log() {
			if strings.HasPrefix(q.Path, "/v2/copy/") && strings.Contains(q.Path+q.RawQuery, digest.FromBytes(recent.Layers[0]).Encoded()) && q.Method != http.MethodHead {
				t.Errorf("%s: the base went to a registry that may not have it: %s %s", client, q.Method, q.Path)
			}
		}

		// Of an index the version of Windows that is asked for.
		for version, im := range map[string]*testkit.Image{"10.0.17763": old, "10.0.20348.2113": recent} {
			platform := "windows(" + version + ")/amd64"
			e.Run("cove", "pull", "--platform", platform, r.Host()+"/win:all")
			var config struct {
				Version string `json:"os.version"`
			}
			if err := json.Unmarshal(im.Config, &config); err != nil {
				t.Fatal(err)
			}
			if got := e.Run("cove", "image", "inspect", "--platform", platform, "-f", "{{.OsVersion}}", r.Host()+"/win:all"); got != config.Version {
				t.Errorf("asked for %s, got %s", platform, got)
			}
		}
		e.finishOnce()
	}
}

// archived expects an archive to hold files with these contents.
func archived(t *testing.T, path string, contents ...[]byte) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	found := map[digest.Digest]bool{}
	for r := tar.NewReader(f); ; {
		if _, err := r.Next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		found[digest.FromBytes(content)] = true
	}
	for i, content := range contents {
		if !found[digest.FromBytes(content)] {
			t.Errorf("%s does not hold the %dth of what it should", filepath.Base(path), i+1)
		}
	}
}
