package main

import (
	"archive/tar"
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
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// server is a registry under measurement. Each start is at a new address with nothing in it.
type server struct {
	name  string
	start func() (addr string, stop func(), err error)
}

func (b *bench) servers() []server {
	return []server{{"cove", b.coveRegistry}, {"docker", b.debianRegistry}}
}

func (b *bench) coveRegistry() (string, func(), error) {
	root, err := os.MkdirTemp(b.dir, "coveregistry")
	if err != nil {
		return "", nil, err
	}
	bin, err := filepath.Abs("bin/coved")
	if err != nil {
		return "", nil, err
	}
	return b.listen(root, func(addr string) *exec.Cmd {
		return exec.Command(bin, "registry", "serve", "--listen", addr, "--root", root, "--gc-grace", "1s")
	})
}

func (b *bench) debianRegistry() (string, func(), error) {
	root, err := os.MkdirTemp(b.dir, "debianregistry")
	if err != nil {
		return "", nil, err
	}
	config := filepath.Join(root, "config.yml")
	return b.listen(root, func(addr string) *exec.Cmd {
		text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %s/data}, delete: {enabled: true}}\nhttp: {addr: %q}\n", root, addr)
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		return exec.Command("docker-registry", "serve", config)
	})
}

// listen starts a registry at a free address and waits until it answers; stop ends it and removes what it has.
func (b *bench) listen(root string, command func(addr string) *exec.Cmd) (string, func(), error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	addr := l.Addr().String()
	l.Close()
	cmd := command(addr)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	var once sync.Once
	stop := func() {
		once.Do(func() {
			cmd.Process.Kill()
			cmd.Wait()
			os.RemoveAll(root)
		})
	}
	b.undo = append(b.undo, stop)
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if resp, err := http.Get("http://" + addr + "/v2/"); err == nil {
			resp.Body.Close()
			return addr, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s does not answer: %s", strings.Join(cmd.Args, " "), log.String())
}

// writeImage makes a docker archive whose layers hold one file of random bytes each: data that no compression helps with, as the packed
// content of real layers.
func writeImage(path string, seed uint64, layers []int) error {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	add := func(name string, body []byte) error {
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(body))}); err != nil {
			return err
		}
		_, err := w.Write(body)
		return err
	}
	var diffs, names []string
	for i, n := range layers {
		body := make([]byte, n)
		rand.NewChaCha8([32]byte{byte(seed), byte(i), byte(i >> 8), byte(n), byte(n >> 8), byte(n >> 16)}).Read(body)
		var layer bytes.Buffer
		t := tar.NewWriter(&layer)
		if err := t.WriteHeader(&tar.Header{Name: fmt.Sprintf("data%d", i), Mode: 0o644, Size: int64(n)}); err != nil {
			return err
		}
		t.Write(body)
		if err := t.Close(); err != nil {
			return err
		}
		diffs = append(diffs, digest.FromBytes(layer.Bytes()).String())
		names = append(names, fmt.Sprintf("%d/layer.tar", i))
		if err := add(names[i], layer.Bytes()); err != nil {
			return err
		}
	}
	config, _ := json.Marshal(map[string]any{"architecture": goarch(), "os": "linux", "config": map[string]any{}, "rootfs": map[string]any{"type": "layers", "diff_ids": diffs}})
	manifest, _ := json.Marshal([]any{map[string]any{"Config": "config.json", "RepoTags": []string{"bench:image"}, "Layers": names}})
	if err := errors.Join(add("config.json", config), add("manifest.json", manifest), w.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, out.Bytes(), 0o644)
}

// registries measures pushes and pulls by engines, sixteen pulls at once, and the collection of garbage.
func (b *bench) registries(rounds int) error {
	big := []int{80_000_000, 30_000_000, 10_000_000}
	many := make([]int, 40)
	for i := range many {
		many[i] = 2000 + 500*i
	}
	changed := append(append([]int(nil), many[:39]...), 777)
	seed, stop, err := b.debianRegistry()
	if err != nil {
		return err
	}
	defer stop()
	for name, layers := range map[string][]int{"big": big, "many": many, "changed": changed} {
		archive := filepath.Join(b.dir, name+".tar")
		if err := writeImage(archive, 1, layers); err != nil {
			return err
		}
		if err := must(exec.Command("skopeo", "copy", "-q", "--dest-tls-verify=false", "docker-archive:"+archive, "docker://"+seed+"/"+name+":1")); err != nil {
			return err
		}
	}
	engines := []*peer{}
	for _, p := range b.engines() {
		if p.push != nil {
			engines = append(engines, p)
		}
	}
	for _, image := range []struct{ name, title string }{{"big", "120 MB in 3 layers"}, {"many", "40 small layers"}} {
		if err := b.pushPull(engines, seed, image.name, image.title, rounds); err != nil {
			return err
		}
	}
	if err := b.again(engines, seed); err != nil {
		return err
	}
	if err := b.sixteen(seed, rounds); err != nil {
		return err
	}
	return b.garbage()
}

// pushPull measures every engine with every registry: the push of an image that came from elsewhere, and its pull by an engine that has nothing of it.
func (b *bench) pushPull(engines []*peer, seed, image, title string, rounds int) error {
	servers := b.servers()
	var pushes, pulls []samples
	has := map[string]string{} // what an engine calls the image now
	for _, p := range engines {
		has[p.name] = seed + "/" + image + ":1"
		if err := must(p.pull(has[p.name])); err != nil {
			return err
		}
		for _, s := range servers {
			row := samples{name: p.name + " > " + s.name}
			pushes, pulls = append(pushes, row), append(pulls, row)
		}
	}
	for range rounds {
		for i, p := range engines {
			for k, s := range servers {
				addr, stop, err := s.start()
				if err != nil {
					return err
				}
				name := addr + "/" + image + ":1"
				if err := must(p.tag(has[p.name], name)); err != nil {
					return err
				}
				settle()
				row := i*len(servers) + k
				pushes[row].timed(p.push(name))
				must(p.forget(has[p.name]))
				must(p.forget(name))
				settle()
				pulls[row].timed(p.pull(name))
				has[p.name] = name
				stop()
			}
		}
	}
	for _, p := range engines {
		must(p.forget(has[p.name]))
	}
	print("push of "+title+", engine > registry", pushes)
	print("cold pull of "+title+", engine > registry", pulls)
	return nil
}

// again counts the bytes of a second push, of an image that differs from the first in its last layer.
func (b *bench) again(engines []*peer, seed string) error {
	fmt.Println("bytes sent by the push of an image that differs in one layer of 2.5 KB out of 40 (0.5 MB in all), first push and second")
	for _, p := range engines {
		for _, s := range b.servers() {
			addr, stop, err := s.start()
			if err != nil {
				return err
			}
			through, sent, closeProxy, err := counting(addr)
			if err != nil {
				return err
			}
			var counts []int64
			for _, image := range []string{"many", "changed"} {
				from, to := seed+"/"+image+":1", through+"/app:"+image
				before := sent.Load()
				if err := errors.Join(must(p.pull(from)), must(p.tag(from, to)), must(p.push(to))); err != nil {
					return err
				}
				counts = append(counts, sent.Load()-before)
			}
			for _, name := range []string{seed + "/many:1", seed + "/changed:1", through + "/app:many", through + "/app:changed"} {
				must(p.forget(name))
			}
			fmt.Printf("  %-16s %9d %9d\n", p.name+" > "+s.name, counts[0], counts[1])
			closeProxy()
			stop()
		}
	}
	fmt.Println()
	return nil
}

// counting passes connections on to a registry and counts what its clients send.
func counting(to string) (addr string, sent *atomic.Int64, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, nil, err
	}
	sent = new(atomic.Int64)
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			go func() {
				io.Copy(out, io.TeeReader(in, counter{sent}))
				out.(*net.TCPConn).CloseWrite()
			}()
			go func() {
				io.Copy(in, out)
				in.Close()
				out.Close()
			}()
		}
	}()
	return l.Addr().String(), sent, func() { l.Close() }, nil
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

// sixteen measures the registries alone: sixteen clients that read the large image at once and hash it.
func (b *bench) sixteen(seed string, rounds int) error {
	servers := b.servers()
	rows := make([]samples, len(servers))
	addrs := make([]string, len(servers))
	for i, s := range servers {
		addr, stop, err := s.start()
		if err != nil {
			return err
		}
		defer stop()
		rows[i].name, addrs[i] = s.name, addr
		if err := must(exec.Command("skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "docker://"+seed+"/big:1", "docker://"+addr+"/big:1")); err != nil {
			return err
		}
	}
	for range rounds {
		for i := range servers {
			var wait sync.WaitGroup
			var failed atomic.Pointer[error]
			start := time.Now()
			for range 16 {
				wait.Go(func() {
					if err := fetch(addrs[i], "big", "1"); err != nil {
						failed.Store(&err)
					}
				})
			}
			wait.Wait()
			if err := failed.Load(); err != nil {
				fmt.Fprintln(os.Stderr, *err)
				continue
			}
			rows[i].times = append(rows[i].times, time.Since(start))
		}
	}
	print("16 clients that pull 120 MB at once, hashing", rows)
	return nil
}

// fetch reads an image whole, a blob after the other, and checks its digests.
func fetch(addr, name, tag string) error {
	get := func(path, accept string, to io.Writer) error {
		q, err := http.NewRequest("GET", "http://"+addr+path, nil)
		if err != nil {
			return err
		}
		q.Header.Set("Accept", accept)
		resp, err := http.DefaultClient.Do(q)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		if resp.StatusCode != 200 {
			return fmt.Errorf("GET %s: %s", path, resp.Status)
		}
		_, err = io.Copy(to, resp.Body)
		return err
	}
	var body bytes.Buffer
	accept := ocispec.MediaTypeImageManifest + ", application/vnd.docker.distribution.manifest.v2+json"
	if err := get("/v2/"+name+"/manifests/"+tag, accept, &body); err != nil {
		return err
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(body.Bytes(), &m); err != nil {
		return err
	}
	for _, d := range append(m.Layers, m.Config) {
		sum := sha256.New()
		if err := get("/v2/"+name+"/blobs/"+d.Digest.String(), "*/*", sum); err != nil {
			return err
		}
		if got := fmt.Sprintf("sha256:%x", sum.Sum(nil)); got != d.Digest.String() {
			return fmt.Errorf("blob %s has digest %s", d.Digest, got)
		}
	}
	return nil
}
