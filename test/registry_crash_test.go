package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// pusher pushes images made of random bytes to one registry, in the way Docker's client does it.
type pusher struct {
	host   string
	random *rand.ChaCha8
}

func newPusher(host string, seed byte) *pusher {
	return &pusher{host, rand.NewChaCha8([32]byte{seed})}
}

// answered is an answer that is not the one wanted.
type answered struct {
	status int
	text   string
}

func (a *answered) Error() string { return fmt.Sprintf("status %d: %s", a.status, a.text) }

func (p *pusher) call(ctx context.Context, method, path string, body []byte, want int) (http.Header, error) {
	r, err := http.NewRequestWithContext(ctx, method, "http://"+p.host+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if method == "PUT" && strings.Contains(path, "/manifests/") {
		r.Header.Set("Content-Type", ocispec.MediaTypeImageManifest)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode != want {
		err = &answered{answer.StatusCode, method + " " + path + ": " + string(text)}
	}
	return answer.Header, err
}

// blob asks for a blob and uploads it when it is not there.
func (p *pusher) blob(ctx context.Context, name string, content []byte) (ocispec.Descriptor, error) {
	d := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageLayer, Digest: digest.FromBytes(content), Size: int64(len(content))}
	if _, err := p.call(ctx, "HEAD", "/v2/"+name+"/blobs/"+d.Digest.String(), nil, http.StatusOK); err == nil {
		return d, nil
	}
	h, err := p.call(ctx, "POST", "/v2/"+name+"/blobs/uploads/", nil, http.StatusAccepted)
	if err == nil {
		h, err = p.call(ctx, "PATCH", h.Get("Location"), content, http.StatusAccepted)
	}
	if err == nil {
		_, err = p.call(ctx, "PUT", h.Get("Location")+"?digest="+url.QueryEscape(d.Digest.String()), nil, http.StatusCreated)
	}
	return d, err
}

// image pushes one of n layers of up to size bytes.
func (p *pusher) image(ctx context.Context, name, tag string, n, size int) error {
	m := ocispec.Manifest{MediaType: ocispec.MediaTypeImageManifest}
	m.SchemaVersion = 2
	for i := range n + 1 {
		content := make([]byte, 1+p.random.Uint64()%uint64(size))
		p.random.Read(content)
		d, err := p.blob(ctx, name, content)
		if err != nil {
			return err
		}
		if i == 0 {
			d.MediaType = ocispec.MediaTypeImageConfig
			m.Config = d
		} else {
			m.Layers = append(m.Layers, d)
		}
	}
	body, err := json.Marshal(m)
	if err != nil {
		return err
	}
	_, err = p.call(ctx, "PUT", "/v2/"+name+"/manifests/"+tag, body, http.StatusCreated)
	return err
}

// TestRegistryKilled kills a registry again and again in the middle of pushes. Every image whose push was answered is whole afterwards, every
// tag leads to a whole image, and when all is deleted nothing is left on the disk.
func TestRegistryKilled(t *testing.T) {
	t.Parallel()
	root := filepath.Join(t.TempDir(), "registry")
	s := serve(t, root, "--gc-grace", "1ms", "--upload-expiry", "1ms", "--gc-interval", "0")
	var mu sync.Mutex
	confirmed := map[string]bool{}
	rounds := 8
	if testing.Short() {
		rounds = 3
	}
	for round := range rounds {
		ctx, stop := context.WithCancel(t.Context())
		var pushers sync.WaitGroup
		for n := range 3 {
			pushers.Go(func() {
				p := newPusher(s.Host, byte(round*3+n))
				for i := 0; ctx.Err() == nil; i++ {
					tag := fmt.Sprintf("t%d-%d-%d", round, n, i)
					if err := p.image(ctx, "some/image", tag, 3, 300_000); err != nil {
						var a *answered
						if errors.As(err, &a) {
							t.Errorf("push %s: %v", tag, err)
						}
						return
					}
					mu.Lock()
					confirmed[tag] = true
					mu.Unlock()
				}
			})
		}
		time.Sleep(time.Duration(50+rand.IntN(400)) * time.Millisecond)
		s.Kill()
		stop()
		pushers.Wait()
		if err := s.Start(); err != nil {
			t.Fatal(err)
		}
	}
	tags := listTags(t, s.Host, "some/image")
	there := map[string]bool{}
	for _, tag := range tags {
		there[tag] = true
		walk(t, s.Host, "some/image", tag)
	}
	for tag := range confirmed {
		if !there[tag] {
			t.Errorf("%s was pushed and is lost", tag)
		}
	}
	t.Logf("%d rounds, %d pushes were answered, %d tags are whole", rounds, len(confirmed), len(tags))
	p := newPusher(s.Host, 0)
	for _, tag := range tags {
		if _, err := p.call(t.Context(), "DELETE", "/v2/some/image/manifests/"+tag, nil, http.StatusAccepted); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(10 * time.Millisecond)
	for range 2 {
		if _, err := p.call(t.Context(), "POST", "/v2/_cove/gc?untagged=1", nil, http.StatusOK); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.Stop()
	old := time.Now().Add(-time.Hour)
	filepath.Walk(filepath.Join(root, "tmp"), func(p string, _ os.FileInfo, _ error) error { return os.Chtimes(p, old, old) })
	if err := s.Start(); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(root, func(p string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() && info.Name() != "FORMAT" && !strings.Contains(info.Name(), "token") {
			t.Errorf("%s is left", strings.TrimPrefix(p, root))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func listTags(t *testing.T, host, name string) []string {
	t.Helper()
	body, _ := fetch(t, "http://"+host+"/v2/"+name+"/tags/list")
	var list struct{ Tags []string }
	if err := json.Unmarshal(body, &list); err != nil {
		t.Fatal(err)
	}
	return list.Tags
}

// TestRegistryOnAFullDisk pushes until a disk of 40 MB is full, in every way a blob can be sent. The pushes that
// fail say why and leave nothing, those that succeeded are whole, and what is deleted makes room again.
func TestRegistryOnAFullDisk(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4 for a small disk")
	}
	disk, mount := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	for _, args := range [][]string{{"truncate", "-s", "40M", disk}, {"mkfs.ext4", "-q", disk}, {"mount", "-o", "loop", disk, mount}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
			exec.Command("umount", "-l", mount).Run()
		}
	})
	s := serve(t, filepath.Join(mount, "registry"), "--gc-grace", "1ms", "--upload-expiry", "1ms", "--gc-interval", "0")
	p := newPusher(s.Host, 1)
	if err := p.image(t.Context(), "r", "small", 2, 1<<20); err != nil {
		t.Fatal(err)
	}
	before := used(t, mount)
	large := make([]byte, 60<<20)
	d := digest.FromBytes(large).String()
	full := func(how string, err error) {
		t.Helper()
		var a *answered
		if !errors.As(err, &a) || a.status != http.StatusInsufficientStorage || !strings.Contains(a.text, "no space left") {
			t.Errorf("%s: %v", how, err)
		}
		if now := used(t, mount); now > before+1 {
			t.Errorf("%s: %d MB are left of it", how, now-before)
		}
	}
	_, err := p.call(t.Context(), "POST", "/v2/r/blobs/uploads/?digest="+d, large, http.StatusCreated)
	full("at once", err)
	h, err := p.call(t.Context(), "POST", "/v2/r/blobs/uploads/", nil, http.StatusAccepted)
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.call(t.Context(), "PATCH", h.Get("Location"), large, http.StatusAccepted)
	full("as a part", err)
	_, err = p.call(t.Context(), "PUT", h.Get("Location")+"?digest="+d, large, http.StatusCreated)
	full("as the last part", err)
	pushed := 0
	for ; pushed < 100; pushed++ {
		if err = p.image(t.Context(), "r", fmt.Sprint("t", pushed), 3, 2<<20); err != nil {
			break
		}
	}
	var a *answered
	if !errors.As(err, &a) || a.status != http.StatusInsufficientStorage {
		t.Errorf("after %d images: %v", pushed, err)
	}
	tags := listTags(t, s.Host, "r")
	if len(tags) != pushed+1 {
		t.Errorf("%d images were pushed, there are %v", pushed+1, tags)
	}
	for _, tag := range tags {
		walk(t, s.Host, "r", tag)
	}
	// A full disk does not keep from making room.
	for i := range pushed {
		if _, err := p.call(t.Context(), "DELETE", fmt.Sprintf("/v2/r/manifests/t%d", i), nil, http.StatusAccepted); err != nil {
			t.Error(err)
		}
	}
	time.Sleep(10 * time.Millisecond)
	if _, err := p.call(t.Context(), "POST", "/v2/_cove/gc?untagged=1", nil, http.StatusOK); err != nil {
		t.Error(err)
	}
	if now := used(t, mount); now > before+1 {
		t.Errorf("after the collection %d MB are used, before there were %d", now, before)
	}
	if err := p.image(t.Context(), "r", "again", 2, 1<<20); err != nil {
		t.Error(err)
	}
	s.Stop()
}
