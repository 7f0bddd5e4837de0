package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/testkit"
)

// upstream is a registry for a cache to stand before, with an image x:1 of one layer of about size bytes.
func upstream(t *testing.T, faults testkit.Faults, size int) (*testkit.Registry, *testkit.Image) {
	t.Helper()
	im, err := testkit.Craft(fmt.Sprintf("L comp=none; z big %d", size), nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := testkit.NewRegistry("127.0.0.1:0", faults, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Push("x", "1", im)
	t.Cleanup(r.Close)
	return r, im
}

// asked counts the upstream's answers to a method and path that begins so, of one status.
func asked(r *testkit.Registry, method, path string, status int) int {
	n := 0
	for _, q := range r.Log() {
		if q.Method == method && strings.HasPrefix(q.Path, path) && q.Status == status {
			n++
		}
	}
	return n
}

// want makes a call and expects a status.
func want(t *testing.T, status int, url string, header ...string) (*http.Response, []byte) {
	t.Helper()
	resp, body, err := get(t, url, header...)
	if err != nil {
		t.Fatalf("%s: %v", url, err)
	}
	if resp.StatusCode != status {
		t.Fatalf("%s: %d, want %d: %s", url, resp.StatusCode, status, body)
	}
	return resp, body
}

func layerOf(im *testkit.Image) digest.Digest { return digest.FromBytes(im.Layers[0]) }

// TestCacheFetchesOnceForAll: concurrent pulls of what is not there share one download, get it while it comes in, and
// whoever comes later is served out of the cache.
func TestCacheFetchesOnceForAll(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{Rate: 4 << 20}, 6<<20)
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host())
	var wait sync.WaitGroup
	began := time.Now()
	for range 8 {
		wait.Go(func() {
			_, manifest := want(t, 200, s.URL("x/manifests/1"))
			if !bytes.Equal(manifest, im.Manifest) {
				t.Error("another manifest")
			}
			_, body := want(t, 200, s.URL("x/blobs/"+layerOf(im).String()))
			if digest.FromBytes(body) != layerOf(im) {
				t.Error("other bytes")
			}
		})
	}
	wait.Wait()
	if took := time.Since(began); took > 9*time.Second {
		t.Errorf("took %v, one takes the upstream 1.5s, eight take it 12s", took)
	}
	if n := asked(up, "GET", "/v2/x/blobs/"+layerOf(im).String(), 200); n != 1 {
		t.Errorf("%d downloads", n)
	}
	if n := asked(up, "GET", "/v2/x/manifests/1", 200); n != 1 {
		t.Errorf("%d fetches of the manifest", n)
	}
	before := len(up.Log())
	want(t, 200, s.URL("x/blobs/"+layerOf(im).String()))
	want(t, 200, s.URL("x/manifests/1"))
	if after := len(up.Log()); after != before {
		t.Errorf("the upstream was asked for what is kept: %v", up.Log()[before:])
	}
	if _, part := want(t, 206, s.URL("x/blobs/"+layerOf(im).String()), "Range: bytes=100-199"); !bytes.Equal(part, im.Layers[0][100:200]) {
		t.Error("a range of what is kept is wrong")
	}
}

// TestCacheGivesRangesOfWhatComesIn: a range of a blob that is not there yet is served as soon as it has come.
func TestCacheGivesRangesOfWhatComesIn(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{}, 3<<20)
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host())
	resp, part := want(t, 206, s.URL("x/blobs/"+layerOf(im).String()), "Range: bytes=2000000-2000999")
	if !bytes.Equal(part, im.Layers[0][2000000:2001000]) {
		t.Error("other bytes")
	}
	if got, want := resp.Header.Get("Content-Range"), fmt.Sprintf("bytes 2000000-2000999/%d", len(im.Layers[0])); got != want {
		t.Errorf("Content-Range %q, want %q", got, want)
	}
	want(t, 416, s.URL("x/blobs/"+layerOf(im).String()), "Range: bytes=9000000-")
	// A broken connection to the upstream is nobody's business.
	cut, other := upstream(t, testkit.Faults{CutAfter: 1000000}, 3<<20)
	s2 := serve(t, t.TempDir(), "--proxy", "http://"+cut.Host())
	if _, body := want(t, 200, s2.URL("x/blobs/"+layerOf(other).String())); digest.FromBytes(body) != layerOf(other) {
		t.Error("other bytes after a cut")
	}
	ranges := 0
	for _, q := range cut.Log() {
		if q.Range != "" {
			ranges++
		}
	}
	if ranges == 0 {
		t.Errorf("the download was not resumed: %v", cut.Log())
	}
	whole, third := upstream(t, testkit.Faults{CutAfter: 1000000, NoRange: true}, 3<<20)
	s3 := serve(t, t.TempDir(), "--proxy", "http://"+whole.Host())
	if _, body := want(t, 200, s3.URL("x/blobs/"+layerOf(third).String())); digest.FromBytes(body) != layerOf(third) {
		t.Error("other bytes after a cut, without ranges")
	}
}

// TestCacheFollowsTags: a tag is believed for a while, then follows the upstream; a tag that has gone there goes here.
func TestCacheFollowsTags(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{}, 1000)
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host(), "--proxy-fresh", "3s")
	want(t, 200, s.URL("x/manifests/1"))
	next, err := testkit.Craft("L; f q 2", nil)
	if err != nil {
		t.Fatal(err)
	}
	moved := up.Push("x", "1", next)
	if _, body := want(t, 200, s.URL("x/manifests/1")); !bytes.Equal(body, im.Manifest) {
		t.Error("a fresh tag was asked for again")
	}
	time.Sleep(3100 * time.Millisecond)
	resp, body := want(t, 200, s.URL("x/manifests/1"))
	if !bytes.Equal(body, next.Manifest) || resp.Header.Get("Docker-Content-Digest") != moved.String() {
		t.Error("the tag did not follow")
	}
	if n := asked(up, "HEAD", "/v2/x/manifests/1", 200); n != 1 {
		t.Errorf("asked %d times whether the tag has moved", n)
	}
	if _, body := want(t, 200, s.URL("x/manifests/"+digest.FromBytes(im.Manifest).String())); !bytes.Equal(body, im.Manifest) {
		t.Error("the old manifest has gone")
	}
	up.Push("x", "2", im)
	if _, body := want(t, 200, s.URL("x/tags/list")); !strings.Contains(string(body), `["1","2"]`) {
		t.Errorf("tags: %s", body)
	}
	if resp, body := want(t, 200, s.URL("x/tags/list?n=1")); !strings.Contains(string(body), `["1"]`) || !strings.Contains(resp.Header.Get("Link"), "last=1") {
		t.Errorf("a page of tags: %s, %v", body, resp.Header)
	}
	want(t, 404, s.URL("x/manifests/9"))
	want(t, 404, s.URL("y/manifests/1"))
	want(t, 404, s.URL("x/blobs/"+digest.FromString("absent").String()))
	want(t, 400, s.URL("x%2f..%2fy/manifests/1"))
}

// TestCacheOutlivesItsUpstream: what is kept is served while the upstream is down, and tags follow again when it is back.
func TestCacheOutlivesItsUpstream(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{}, 100000)
	address := up.Host()
	s := serve(t, t.TempDir(), "--proxy", "http://"+address, "--proxy-fresh", "0s")
	want(t, 200, s.URL("x/manifests/1"))
	want(t, 200, s.URL("x/blobs/"+layerOf(im).String()))
	up.Close()
	began := time.Now()
	if _, body := want(t, 200, s.URL("x/manifests/1")); !bytes.Equal(body, im.Manifest) {
		t.Error("another manifest while the upstream is down")
	}
	want(t, 200, s.URL("x/blobs/"+layerOf(im).String()))
	if _, body := want(t, 200, s.URL("x/tags/list")); !strings.Contains(string(body), `"1"`) {
		t.Errorf("tags while the upstream is down: %s", body)
	}
	if took := time.Since(began); took > 8*time.Second {
		t.Errorf("what is kept took %v while the upstream is down", took)
	}
	want(t, 503, s.URL("x/manifests/2"))
	want(t, 503, s.URL("x/blobs/"+digest.FromString("absent").String()))
	// The cache is started anew meanwhile.
	s.Kill()
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	want(t, 200, s.URL("x/manifests/1"))
	s.Stop()
	back, err := testkit.NewRegistry(address, testkit.Faults{}, nil)
	if err != nil {
		t.Skipf("the upstream's address was taken meanwhile: %v", err)
	}
	defer back.Close()
	next, err := testkit.Craft("L; f q 2", nil)
	if err != nil {
		t.Fatal(err)
	}
	back.Push("x", "1", next)
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	if _, body := want(t, 200, s.URL("x/manifests/1")); !bytes.Equal(body, next.Manifest) {
		t.Error("the tag does not follow the upstream that is back")
	}
}

// TestCacheKeepsNothingWrong: bytes that are not what their digest says are neither passed on whole nor kept.
func TestCacheKeepsNothingWrong(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{}, 300000)
	wrong := bytes.Clone(im.Layers[0])
	wrong[1000] ^= 1
	up.Faults.Swap = map[digest.Digest][]byte{layerOf(im): wrong}
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host())
	for range 2 {
		resp, body, err := get(t, s.URL("x/blobs/"+layerOf(im).String()))
		if err == nil && resp.StatusCode == 200 && len(body) == len(wrong) {
			t.Fatal("wrong bytes were passed on as if they were whole")
		}
	}
	stored, err := filepath.Glob(filepath.Join(s.Root, "blobs", "sha256", "*"))
	if err != nil || len(stored) != 0 {
		t.Errorf("kept: %v, %v", stored, err)
	}
	manifest := digest.FromBytes(im.Manifest)
	up.Faults.Swap = map[digest.Digest][]byte{manifest: []byte("{}")}
	if resp, body, err := get(t, s.URL("x/manifests/"+manifest.String())); err == nil && resp.StatusCode == 200 {
		t.Errorf("a wrong manifest was passed on: %s", body)
	}
	up.Faults.Swap = nil
	if _, body := want(t, 200, s.URL("x/blobs/"+layerOf(im).String())); digest.FromBytes(body) != layerOf(im) {
		t.Error("other bytes once the upstream is right again")
	}
}

// TestCacheOfAPrivateRegistry: the cache has an account there, its users have theirs here; nothing is fetched for who may not.
func TestCacheOfAPrivateRegistry(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p"}, 1000)
	dir := t.TempDir()
	for name, text := range map[string]string{"password": "p\n", "wrong": "q", "htpasswd": account("alice", "secret")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host(), "--proxy-username", "u", "--proxy-password-file", filepath.Join(dir, "password"), "--htpasswd", filepath.Join(dir, "htpasswd"))
	want(t, 401, s.URL("x/manifests/1"))
	want(t, 401, s.URL("x/blobs/"+layerOf(im).String()))
	if n := len(up.Log()); n != 0 {
		t.Errorf("the upstream was asked for somebody without an account: %v", up.Log())
	}
	alice := "Authorization: Basic YWxpY2U6c2VjcmV0"
	want(t, 200, s.URL("x/manifests/1"), alice)
	want(t, 200, s.URL("x/blobs/"+layerOf(im).String()), alice)
	for _, q := range up.Log() {
		if strings.HasPrefix(q.Path, "/v2/") && q.Authorization == "Basic" {
			t.Errorf("the password went to %s", q.Path)
		}
	}
	refused := serve(t, t.TempDir(), "--proxy", "http://"+up.Host(), "--proxy-username", "u", "--proxy-password-file", filepath.Join(dir, "wrong"))
	_, body := want(t, 403, refused.URL("x/manifests/1"))
	if !strings.Contains(string(body), "DENIED") || !strings.Contains(string(body), up.Host()) {
		t.Errorf("refused with %s", body)
	}
	resp, err := http.Post(refused.URL("x/blobs/uploads/"), "", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("a push to a cache: %d", resp.StatusCode)
	}
}

// TestCacheForgetsWhatNobodyPulls: after --proxy-keep without a pull, content is gone, and comes back when it is asked for.
func TestCacheForgetsWhatNobodyPulls(t *testing.T) {
	t.Parallel()
	up, im := upstream(t, testkit.Faults{}, 100000)
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host(), "--proxy-keep", "4s", "--gc-interval", "500ms", "--gc-grace", "1ms")
	want(t, 200, s.URL("x/manifests/1"))
	want(t, 200, s.URL("x/blobs/"+layerOf(im).String()))
	size := func() int {
		resp, err := http.Get(s.URL("_cove/du"))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var usage struct{ Bytes int }
		if err := json.NewDecoder(resp.Body).Decode(&usage); err != nil {
			t.Fatal(err)
		}
		return usage.Bytes
	}
	time.Sleep(time.Second)
	if size() < 100000 {
		t.Error("gone before its time")
	}
	for deadline := time.Now().Add(20 * time.Second); size() > 0; time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes are still kept", size())
		}
	}
	if _, body := want(t, 200, s.URL("x/blobs/"+layerOf(im).String())); digest.FromBytes(body) != layerOf(im) {
		t.Error("other bytes when it is fetched again")
	}
}

// TestCacheAsMirror: a daemon that is told of the cache as a mirror pulls Docker Hub's images from it by their own names.
func TestCacheAsMirror(t *testing.T) {
	needRoot(t)
	t.Parallel()
	up, im := upstream(t, testkit.Faults{}, 1000)
	up.Push("library/cached", "latest", im)
	up.Push("me/cached", "1", im)
	s := serve(t, t.TempDir(), "--proxy", "http://"+up.Host())
	e := newEngine(t, "--registry-mirror", "http://"+s.Host)
	e.Start()
	e.Run("cove", "pull", "-q", "cached")
	e.Run("cove", "pull", "-q", "me/cached:1")
	if got := e.Run("cove", "images", "--format", "{{.Repository}}:{{.Tag}}"); got != "cached:latest\nme/cached:1" && got != "me/cached:1\ncached:latest" {
		t.Errorf("pulled %q", got)
	}
	up.Close()
	e.Run("cove", "rmi", "cached", "me/cached:1")
	e.Run("cove", "pull", "-q", "cached")
}

// TestCachesShareABucket: what one cache has fetched, another on the same bucket serves, with no word to the upstream.
func TestCachesShareABucket(t *testing.T) {
	t.Parallel()
	bucket, env := s3Server(t)
	up, im := upstream(t, testkit.Faults{}, 9<<20)
	args := []string{"--s3-endpoint", bucket.URL, "--s3-bucket", bucket.Bucket, "--proxy", "http://" + up.Host()}
	one, two := newReplica(t, env, args...), newReplica(t, env, args...)
	blob := "/v2/x/blobs/" + layerOf(im).String()
	manifest := "/v2/x/manifests/" + digest.FromBytes(im.Manifest).String()
	for _, r := range []*replica{one, two} {
		if _, body := want(t, 200, "http://"+r.addr+manifest); !bytes.Equal(body, im.Manifest) {
			t.Error("another manifest")
		}
		if _, body := want(t, 200, "http://"+r.addr+blob); digest.FromBytes(body) != layerOf(im) {
			t.Error("other bytes")
		}
		// What has been passed on may be on its way into the bucket for a moment yet.
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			_, body := want(t, 200, "http://"+r.addr+"/v2/_cove/du")
			if strings.Contains(string(body), `"manifests":1,"blobs":1,`) {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("not kept: %s", body)
			}
		}
	}
	if n := asked(up, "GET", blob, 200); n != 1 {
		t.Errorf("%d downloads for two caches", n)
	}
}
