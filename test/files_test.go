package test

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cove-containers/cove/client"
)

// api is a client that speaks to the engine in this process.
func (e *Engine) api() *client.Client {
	e.t.Helper()
	c, err := client.New(client.Config{Host: e.Socket()})
	if err != nil {
		e.t.Fatal(err)
	}
	return c
}

// oneFile is an archive of one file.
func oneFile(name, text string) []byte {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))})
	io.WriteString(w, text)
	w.Close()
	return b.Bytes()
}

// TestCopyRaces is the last part of CP-2: while the container swaps a directory with a link to its root, all that
// comes out is its own, and nothing that goes in arrives on the host.
func TestCopyRaces(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	host, err := os.MkdirTemp("", "cove-race-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(host)
	if err := os.WriteFile(host+"/told", []byte("the host's"), 0o644); err != nil {
		t.Fatal(err)
	}
	// The container has a directory of the same name inside the one that is swapped, and none in its root.
	script := fmt.Sprintf("mkdir -p /w/d%[1]s /w/d/etc; echo inside >/w/d%[1]s/told; cd /w; ln -s / up; ln -s ../../../../../../../.. far; touch /ready; "+
		"while :; do mv d x; mv up d; mv d up; mv far d; mv d far; mv x d; done", host)
	e.Run("cove", "run", "-d", "--name", "c", "busybox", "sh", "-c", script)
	api, ctx := e.api(), context.Background()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := api.ContainerStat(ctx, "c", "/ready"); err == nil {
			break
		} else if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
	var mu sync.Mutex
	came, went := map[string]int{}, map[string]int{}
	var all sync.WaitGroup
	for worker := range 4 {
		all.Go(func() {
			for i := range 50 {
				text, err := copied(api, "c", "/w/d"+host+"/told")
				if err != nil {
					text = "refused"
				}
				err = api.CopyToContainer(ctx, "c", "/w/d"+host, bytes.NewReader(oneFile(fmt.Sprintf("new%d.%d", worker, i), "x")), client.CopyToOptions{})
				mu.Lock()
				came[text]++
				went[fmt.Sprint(err == nil)]++
				mu.Unlock()
				copied(api, "c", "/w/d") // a whole directory, be it the container's root
			}
		})
	}
	all.Wait()
	t.Logf("out: %v, in: %v", came, went)
	for text := range came {
		if text != "inside\n" && text != "refused" {
			t.Errorf("read %q", text)
		}
	}
	if came["inside\n"] == 0 || came["refused"] == 0 || went["true"] == 0 {
		t.Error("the swapping was never met")
	}
	if left, _ := os.ReadDir(host); len(left) != 1 {
		t.Errorf("%d files on the host", len(left))
	}
}

// copied reads an archive of a container and gives the text of its first file.
func copied(api *client.Client, id, path string) (string, error) {
	archive, _, err := api.CopyFromContainer(context.Background(), id, path)
	if err != nil {
		return "", err
	}
	defer archive.Close()
	r := tar.NewReader(archive)
	h, err := r.Next()
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(r)
	if err != nil || h.Typeflag != tar.TypeReg {
		return "", errors.Join(err, errors.New("no file"))
	}
	_, err = io.Copy(io.Discard, archive)
	return string(text), err
}

// endless is an archive of small files without an end.
func endless() io.Reader {
	r, w := io.Pipe()
	go func() {
		t := tar.NewWriter(w)
		for i := 0; ; i++ {
			if err := t.WriteHeader(&tar.Header{Name: fmt.Sprintf("flood/%d/f%d", i/100, i), Mode: 0o644, Size: 1}); err != nil {
				return
			}
			if _, err := t.Write([]byte("x")); err != nil {
				return
			}
		}
	}()
	return r
}

// ends waits for what a copy ends with.
func ends(t *testing.T, what string, within time.Duration, result <-chan error) error {
	t.Helper()
	select {
	case err := <-result:
		return err
	case <-time.After(within):
		t.Fatalf("%s goes on", what)
		return nil
	}
}

// TestRemoveWhileCopying is VG-9 for cp and export, with clients that have fallen asleep: the removal does not wait for
// them, and they learn that it failed.
func TestRemoveWhileCopying(t *testing.T) {
	t.Parallel()
	needRoot(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	api, ctx := e.api(), context.Background()
	for _, state := range []string{"running", "paused", "ended"} {
		t.Run(state, func(t *testing.T) {
			e.Run("cove", "run", "-d", "--name", "c", "-v", "vol:/v", "busybox", "sh", "-c",
				"for i in 1 2 3 4 5 6 7 8 9; do dd if=/dev/zero of=/big$i bs=1M count=8; done 2>/dev/null; cp /big1 /v; touch /ready; exec sleep 99")
			for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
				if _, err := api.ContainerStat(ctx, "c", "/ready"); err == nil {
					break
				} else if time.Now().After(deadline) {
					t.Fatal(err)
				}
			}
			switch state {
			case "paused":
				e.Run("cove", "pause", "c")
			case "ended":
				e.Run("cove", "kill", "c")
				e.Run("cove", "wait", "c")
			}
			export, err := api.ContainerExport(ctx, "c")
			if err != nil {
				t.Fatal(err)
			}
			defer export.Close()
			cp, _, err := api.CopyFromContainer(ctx, "c", "/")
			if err != nil {
				t.Fatal(err)
			}
			defer cp.Close()
			half, more := io.Pipe()
			defer more.Close()
			in := make(chan error, 1)
			go func() { in <- api.CopyToContainer(ctx, "c", "/v", half, client.CopyToOptions{}) }()
			if _, err := more.Write(oneFile("in", strings.Repeat("x", 100_000))[:50_000]); err != nil {
				t.Fatal(err)
			}
			flood := make(chan error, 1) // writes as fast as it can into the container itself
			go func() {
				flood <- api.CopyToContainer(ctx, "c", "/", endless(), client.CopyToOptions{})
			}()
			time.Sleep(300 * time.Millisecond) // until the connections are full
			began := time.Now()
			e.Run("cove", "rm", "-f", "c")
			if took := time.Since(began); took > 8*time.Second {
				t.Errorf("removed after %v", took)
			}
			e.Run("cove", "volume", "rm", "vol")
			if err := ends(t, "the copy into the container", 30*time.Second, in); err == nil {
				t.Error("a copy into a container that is gone succeeded")
			}
			if err := ends(t, "the flood", 30*time.Second, flood); err == nil {
				t.Error("an endless copy succeeded")
			}
			for name, stream := range map[string]io.Reader{"export": export, "copy": cp} {
				read := make(chan error, 1)
				go func() {
					_, err := io.Copy(io.Discard, stream)
					read <- err
				}()
				if err := ends(t, "the "+name, 30*time.Second, read); err == nil {
					t.Errorf("the %s of a container that is gone looks whole", name)
				}
			}
			if left, err := os.ReadDir(filepath.Join(e.DataRoot, "layers", "writable")); len(left) != 0 || err != nil {
				t.Errorf("%d layers: %v", len(left), err)
			}
		})
	}
}

// TestFileInPlaceOfMounts: an archive may replace a directory by a file, but not one in which something is mounted: what is
// in the volume stays.
func TestFileInPlaceOfMounts(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "create", "--name", "c", "-v", "vol:/a/b/v", "busybox", "sleep", "99")
	path := strings.TrimPrefix(e.Socket(), "unix://")
	web := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}}}
	defer web.CloseIdleConnections()
	for _, state := range []string{"created", "running"} {
		if state == "running" {
			e.Run("cove", "start", "c")
		}
		if err := e.api().CopyToContainer(context.Background(), "c", "/a/b/v", bytes.NewReader(oneFile("kept", state)), client.CopyToOptions{}); err != nil {
			t.Fatal(err)
		}
		for dir, name := range map[string]string{"/": "a", "/a": "b", "/a/b": "v"} {
			request, err := http.NewRequest(http.MethodPut, "http://cove/containers/c/archive?path="+dir, bytes.NewReader(oneFile(name, "file")))
			if err != nil {
				t.Fatal(err)
			}
			answer, err := web.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			answer.Body.Close()
			if answer.StatusCode != http.StatusConflict {
				t.Errorf("%s: %s in place of a directory with a mount: %s", state, name, answer.Status)
			}
		}
		if text, err := os.ReadFile(filepath.Join(e.DataRoot, "volumes/vol/_data/kept")); err != nil || string(text) != state {
			t.Errorf("%s: the volume has %q: %v", state, text, err)
		}
	}
	e.Run("cove", "rm", "-f", "c")
	e.Run("cove", "volume", "rm", "vol")
}

// TestStartWhileCopying: a start waits for who writes into the container, as long as something comes; the copy is there
// when the container runs.
func TestStartWhileCopying(t *testing.T) {
	t.Parallel()
	needRoot(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	api, ctx := e.api(), context.Background()
	e.Run("cove", "create", "--name", "c", "busybox", "sh", "-c", "cat /in | wc -c")
	const size, first = 3_000_000, 2_000_000 // more than what lies between a client and the engine: it is at work on it
	data := oneFile("in", strings.Repeat("x", size))
	half, more := io.Pipe()
	in := make(chan error, 1)
	go func() { in <- api.CopyToContainer(ctx, "c", "/", half, client.CopyToOptions{}) }()
	if _, err := more.Write(data[:first]); err != nil {
		t.Fatal(err)
	}
	started := make(chan string, 1)
	go func() {
		out, errOut, _ := e.Try("cove", "start", "-a", "c")
		started <- out + errOut
	}()
	select {
	case out := <-started:
		t.Fatalf("started while its files were copied: %s", out)
	case <-time.After(time.Second):
	}
	if _, err := more.Write(data[first:]); err != nil {
		t.Fatal(err)
	}
	more.Close()
	if err := ends(t, "the copy", 30*time.Second, in); err != nil {
		t.Fatal(err)
	}
	if out := <-started; out != fmt.Sprintln(size) {
		t.Errorf("the container says %q", out)
	}

	half, more = io.Pipe()
	defer more.Close()
	go func() { in <- api.CopyToContainer(ctx, "c", "/", half, client.CopyToOptions{}) }()
	if _, err := more.Write(data[:first]); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	e.Run("cove", "start", "c")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("a client that sends nothing kept a start waiting for %v", took)
	}
	if err := ends(t, "the copy", 30*time.Second, in); err == nil || !strings.Contains(err.Error(), "is needed") {
		t.Errorf("its copy ended with %v", err)
	}
}

// TestCopiesAtOnce: many copies share a container that does not run.
func TestCopiesAtOnce(t *testing.T) {
	needRoot(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	api, ctx := e.api(), context.Background()
	e.Run("cove", "run", "--name", "c", "-v", "vol:/v", "busybox", "mkdir", "/made")
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			name := fmt.Sprintf("f%d", i)
			for _, dir := range []string{"/made", "/v"} {
				if err := api.CopyToContainer(ctx, "c", dir, bytes.NewReader(oneFile(name, name)), client.CopyToOptions{}); err != nil {
					t.Error(err)
				}
				if text, err := copied(api, "c", dir+"/"+name); err != nil || text != name {
					t.Errorf("%q %v", text, err)
				}
			}
		})
	}
	all.Wait()
	e.Run("cove", "rm", "c")
	e.Run("cove", "volume", "rm", "vol")
}
