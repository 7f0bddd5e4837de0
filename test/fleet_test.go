package test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

// replica is a registry in a process of its own that can be killed and comes back at the same address.
type replica struct {
	t    *testing.T
	addr string
	args []string
	env  []string

	mu  sync.Mutex
	cmd *exec.Cmd
	log string
}

func newReplica(t *testing.T, env []string, args ...string) *replica {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	addr := freeAddress()
	r := &replica{t: t, addr: addr, env: env, log: filepath.Join(t.TempDir(), "log")}
	r.args = append([]string{filepath.Join(bin, "coved"), "registry", "serve", "--listen", addr}, args...)
	r.start()
	t.Cleanup(r.kill)
	return r
}

func (r *replica) start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	log, err := os.OpenFile(r.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		r.t.Error(err)
		return
	}
	defer log.Close()
	r.cmd = exec.Command(r.args[0], r.args[1:]...)
	r.cmd.Env = append(os.Environ(), r.env...)
	r.cmd.Stdout, r.cmd.Stderr = log, log
	if err := r.cmd.Start(); err != nil {
		r.t.Error(err)
		return
	}
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if c, err := net.Dial("tcp", r.addr); err == nil {
			c.Close()
			return
		}
	}
	text, _ := os.ReadFile(r.log)
	r.t.Errorf("the registry does not answer: %s", text)
}

// kill ends the process as a power failure would.
func (r *replica) kill() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.cmd != nil && r.cmd.Process != nil {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	}
	r.cmd = nil
}

// refusedError is an answer that says no.
type refusedError struct {
	what   string
	status int
	body   string
}

func (e *refusedError) Error() string { return fmt.Sprintf("%s: %d %s", e.what, e.status, e.body) }

// call makes one request and returns the answer's header and body.
func (r *replica) call(method, path string, header map[string]string, body []byte, want ...int) (http.Header, []byte, error) {
	url := path
	if strings.HasPrefix(path, "/") {
		url = "http://" + r.addr + path
	}
	q, err := http.NewRequest(method, url, bytes.NewReader(body))
	if err != nil {
		return nil, nil, err
	}
	for k, v := range header {
		q.Header.Set(k, v)
	}
	resp, err := registryClient.Do(q)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, nil, err
	}
	for _, status := range want {
		if resp.StatusCode == status {
			return resp.Header, got, nil
		}
	}
	return nil, nil, &refusedError{method + " " + path, resp.StatusCode, string(got)}
}

var registryClient = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}}

// later tells whether a call that failed may do better the next time: nobody answered, the server said that something is wrong with
// itself, or what was relied on has gone with an upload that was never finished.
func later(err error) bool {
	var no *refusedError
	return !errors.As(err, &no) || no.status >= 500 || strings.Contains(no.body, "BLOB_UPLOAD_") || strings.Contains(no.body, "MANIFEST_BLOB_UNKNOWN")
}

// fleet is registries that serve the same content, with what has been pushed to them.
type fleet struct {
	t        *testing.T
	replicas []*replica
	shared   []byte // a layer that every image has

	mu     sync.Mutex
	images map[string]*pushed // by name:tag, those whose push was confirmed and that nobody removes

	pushes, pulls, retries, deletions, lost, corrupt atomic.Int64
}

type pushed struct {
	name, tag string
	manifest  []byte
}

func (f *fleet) any(r *rand.Rand) *replica { return f.replicas[r.IntN(len(f.replicas))] }

// blob uploads content in one of the ways clients do; each call goes to any of the registries.
func (f *fleet) blob(r *rand.Rand, name string, content []byte) error {
	d := digest.FromBytes(content)
	if _, _, err := f.any(r).call("HEAD", "/v2/"+name+"/blobs/"+d.String(), nil, nil, 200); err == nil {
		return nil
	}
	if r.IntN(3) == 0 {
		_, _, err := f.any(r).call("POST", "/v2/"+name+"/blobs/uploads/?digest="+d.String(), nil, content, 201)
		return err
	}
	h, _, err := f.any(r).call("POST", "/v2/"+name+"/blobs/uploads/", nil, nil, 202)
	if err != nil {
		return err
	}
	at := 0
	for parts := r.IntN(3); parts > 0 && at+1 < len(content); parts-- {
		n := 1 + r.IntN(len(content)-at-1)
		header := map[string]string{"Content-Range": fmt.Sprintf("%d-%d", at, at+n-1), "Content-Type": "application/octet-stream"}
		if h, _, err = f.any(r).call("PATCH", path(h), header, content[at:at+n], 202); err != nil {
			return err
		}
		at += n
		if want := fmt.Sprintf("0-%d", at-1); h.Get("Range") != want {
			return fmt.Errorf("after %d bytes the upload stands at %s", at, h.Get("Range"))
		}
	}
	_, _, err = f.any(r).call("PUT", path(h)+"?digest="+d.String(), map[string]string{"Content-Type": "application/octet-stream"}, content[at:], 201)
	return err
}

// path is where an upload goes on, at whichever registry.
func path(h http.Header) string {
	location := h.Get("Location")
	if _, rest, ok := strings.Cut(location, "://"); ok {
		_, rest, _ = strings.Cut(rest, "/")
		location = "/" + rest
	}
	return location
}

// push pushes an image of a few layers, again and again until it is confirmed.
func (f *fleet) push(r *rand.Rand, name, tag string) *pushed {
	random := func(n int) []byte {
		out := make([]byte, n)
		for i := range out {
			out[i] = byte(r.Uint32())
		}
		return out
	}
	contents := [][]byte{[]byte(fmt.Sprintf(`{"name":%q,"tag":%q}`, name, tag)), f.shared, random(1 + r.IntN(200_000))}
	if r.IntN(6) == 0 {
		contents = append(contents, random(9<<20))
	}
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for i, c := range contents {
		d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(c), Size: int64(len(c))}
		if i == 0 {
			d.MediaType = ocispec.MediaTypeImageConfig
			m.Config = d
		} else {
			m.Layers = append(m.Layers, d)
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		f.t.Error(err)
		return nil
	}
	for attempt := range 200 {
		err = nil
		for _, c := range contents {
			err = errors.Join(err, f.blob(r, name, c))
		}
		if err == nil {
			_, _, err = f.any(r).call("PUT", "/v2/"+name+"/manifests/"+tag, map[string]string{"Content-Type": m.MediaType}, body, 201)
		}
		if err == nil {
			f.pushes.Add(1)
			return &pushed{name, tag, body}
		}
		for _, one := range split(err) {
			if !later(one) {
				f.t.Errorf("push %s:%s: %v", name, tag, one)
				return nil
			}
		}
		f.retries.Add(1)
		time.Sleep(time.Duration(20+10*attempt) * time.Millisecond)
	}
	f.t.Errorf("push %s:%s never succeeded: %v", name, tag, err)
	return nil
}

func split(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		var out []error
		for _, one := range many.Unwrap() {
			out = append(out, split(one)...)
		}
		return out
	}
	return []error{err}
}

// pull reads an image whole from one registry and compares every byte.
func (f *fleet) pull(from *replica, p *pushed) {
	get := func(path string, header map[string]string) []byte {
		for attempt := range 200 {
			_, body, err := from.call("GET", path, header, nil, 200)
			if err == nil {
				return body
			}
			if !later(err) {
				f.lost.Add(1)
				f.t.Errorf("pull %s:%s: %v", p.name, p.tag, err)
				return nil
			}
			f.retries.Add(1)
			time.Sleep(time.Duration(20+10*attempt) * time.Millisecond)
		}
		f.t.Errorf("pull %s:%s: %s never answered", p.name, p.tag, from.addr)
		return nil
	}
	body := get("/v2/"+p.name+"/manifests/"+p.tag, map[string]string{"Accept": ocispec.MediaTypeImageManifest})
	if body == nil {
		return
	}
	if !bytes.Equal(body, p.manifest) {
		f.corrupt.Add(1)
		f.t.Errorf("%s:%s has another manifest than was pushed", p.name, p.tag)
		return
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(body, &m); err != nil {
		f.t.Error(err)
		return
	}
	for _, d := range append(m.Layers, m.Config) {
		blob := get("/v2/"+p.name+"/blobs/"+d.Digest.String(), nil)
		if blob != nil && fmt.Sprintf("sha256:%x", sha256.Sum256(blob)) != d.Digest.String() {
			f.corrupt.Add(1)
			f.t.Errorf("%s:%s: blob %s has other bytes", p.name, p.tag, d.Digest)
		}
	}
	f.pulls.Add(1)
}

// remove deletes an image by its digest; whoever deletes has taken it out of f.images before.
func (f *fleet) remove(r *rand.Rand, p *pushed) {
	for range 200 {
		_, _, err := f.any(r).call("DELETE", "/v2/"+p.name+"/manifests/"+digest.FromBytes(p.manifest).String(), nil, nil, 202, 404)
		if err == nil {
			f.deletions.Add(1)
			return
		}
		if !later(err) {
			f.t.Errorf("delete %s:%s: %v", p.name, p.tag, err)
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// load pushes, pulls and deletes for a while, with several clients.
func (f *fleet) load(clients int, d time.Duration) {
	f.images = map[string]*pushed{}
	f.shared = bytes.Repeat([]byte("shared by all "), 5000)
	end := time.Now().Add(d)
	var wait sync.WaitGroup
	for client := range clients {
		wait.Go(func() {
			r := rand.New(rand.NewPCG(uint64(client), 42))
			for n := 0; time.Now().Before(end); n++ {
				p := f.push(r, fmt.Sprintf("team%d/app%d", client%2, r.IntN(3)), fmt.Sprintf("c%d-%d", client, n))
				if p == nil {
					return
				}
				// What one registry has confirmed, each of them has.
				for _, from := range f.replicas {
					f.pull(from, p)
				}
				f.mu.Lock()
				f.images[p.name+":"+p.tag] = p
				var old *pushed
				if n%3 == 0 {
					for k, q := range f.images {
						if strings.HasPrefix(q.tag, fmt.Sprintf("c%d-", client)) {
							old = q
							delete(f.images, k)
							break
						}
					}
				}
				f.mu.Unlock()
				if old != nil {
					f.remove(r, old)
				}
			}
		})
	}
	wait.Wait()
}

// check pulls all that was confirmed from every registry.
func (f *fleet) check() {
	for _, from := range f.replicas {
		for _, p := range f.images {
			f.pull(from, p)
		}
	}
	f.t.Logf("%d pushes, %d pulls, %d deletions, %d calls tried again; of %d images kept %d lost, %d corrupt",
		f.pushes.Load(), f.pulls.Load(), f.deletions.Load(), f.retries.Load(), len(f.images), f.lost.Load(), f.corrupt.Load())
}

// empty removes everything and demands that the garbage collections leave no blob.
func (f *fleet) empty(s *testkit.S3) {
	r := rand.New(rand.NewPCG(1, 1))
	for _, p := range f.images {
		f.remove(r, p)
	}
	var left []string
	for deadline := time.Now().Add(5 * time.Minute); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		left = s.Keys("blobs/")
		if len(left) == 0 {
			return
		}
	}
	f.t.Errorf("with all images removed %d blobs are left, the first %s", len(left), left[0])
}
