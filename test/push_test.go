package test

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cove-containers/cove/testkit"
)

// meter stands before a registry and counts what passes.
type meter struct {
	host     string
	up, down flow
}

// flow is what has passed one way.
type flow struct {
	atomic.Int64
	stop atomic.Int64 // where nothing more passes, 0 for never
}

// until has only about n bytes more pass, and waits for them. Then, with the rest held back, it does something, and lets all pass again.
func (f *flow) until(t *testing.T, n int64, then func()) {
	t.Helper()
	n += f.Load()
	f.stop.Store(n)
	defer f.stop.Store(0)
	for deadline := time.Now().Add(time.Minute); f.Load() < n; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d bytes after a minute, waited for %d", f.Load(), n)
		}
	}
	then()
}

// newMeter begins counting before the registry at addr.
func newMeter(t *testing.T, addr string) *meter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meter{host: l.Addr().String()}
	var wait sync.WaitGroup
	wait.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", addr)
			if err != nil {
				client.Close()
				continue
			}
			wait.Go(func() { pass(server, client, &m.up) })
			wait.Go(func() { pass(client, server, &m.down) })
		}
	})
	t.Cleanup(func() { l.Close() })
	return m
}

// pass copies until one side ends, and ends the other.
func pass(to, from net.Conn, f *flow) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		f.Add(int64(n))
		for stop := f.stop.Load(); stop > 0 && f.Load() >= stop; stop = f.stop.Load() {
			time.Sleep(5 * time.Millisecond)
		}
		if _, failed := to.Write(buf[:n]); err != nil || failed != nil {
			return
		}
	}
}

// TestTransfersSurviveKill: what a killed daemon had fetched or sent is not fetched or sent again.
func TestTransfersSurviveKill(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	const size, base = 40_000_000, 3_000_000
	r := openRegistry(t, testkit.Faults{Rate: 20_000_000})
	r.Push("x", "1", on(t, fmt.Sprintf("L comp=none; z big %d", size)))
	m := newMeter(t, r.Host())
	e := newEngine(t)
	e.Start()
	for _, direction := range []struct {
		verb, name string
		count      *flow
	}{{"pull", m.host + "/x:1", &m.down}, {"push", m.host + "/y:1", &m.up}} {
		began := direction.count.Load()
		c := e.Command("cove", direction.verb, direction.name)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		direction.count.until(t, size/2, e.Kill)
		c.Wait()
		time.Sleep(time.Second) // what is under way arrives
		before := direction.count.Load() - began
		e.Start()
		if direction.verb == "push" {
			e.Run("cove", "tag", m.host+"/x:1", m.host+"/y:1")
		}
		e.Run("cove", direction.verb, direction.name)
		all := direction.count.Load() - began
		t.Logf("%s: %d bytes before the kill, %d after it", direction.verb, before, all-before)
		if before > size*9/10 {
			t.Errorf("%s was killed too late: %d bytes", direction.verb, before)
		}
		if all > size+size/10+base {
			t.Errorf("%s: %d bytes before the kill and %d after it for %d", direction.verb, before, all-before, size)
		}
		if direction.verb == "pull" {
			e.Run("cove", "tag", m.host+"/x:1", m.host+"/y:1")
			r.Faults.Mount = 202
		}
	}
	e.Run("cove", "rmi", m.host+"/x:1", m.host+"/y:1")
	if got := e.Run("cove", "run", "--rm", m.host+"/y:1", "sh", "-c", "wc -c </big"); got != fmt.Sprint(size) {
		t.Errorf("what came back has %s bytes", got)
	}
}

// raw is a manifest as a registry has it, and its digest, by skopeo.
func raw(t *testing.T, image string) (body, digest string) {
	t.Helper()
	inspect := func(args ...string) string {
		out, err := exec.Command("skopeo", append([]string{"inspect", "--tls-verify=false", "docker://" + image}, args...)...).Output()
		if err != nil {
			t.Fatalf("skopeo inspect %s: %v", image, err)
		}
		return string(out)
	}
	return inspect("--raw"), strings.TrimSpace(inspect("--format", "{{.Digest}}"))
}

// TestPushToDebianRegistry: what is pushed to Debian's docker-registry is, to the byte, what was pulled; indexes whole or one
// platform of them; nothing twice.
func TestPushToDebianRegistry(t *testing.T) {
	t.Parallel()
	needRoot(t)
	m := newMeter(t, debianRegistry(t))
	e := newEngine(t)
	e.Start()
	e.Load("busybox", "alpine")
	for _, client := range engineClients() {
		name := m.host + "/deep/" + client + ":1"
		id := e.Run("cove", "inspect", "-f", "{{.Id}}", "busybox")
		e.Run(client, "tag", "busybox", name)
		out := e.Run(client, "push", name)
		body, digest := raw(t, name)
		if digest != id || !strings.Contains(out, "1: digest: "+id) {
			t.Errorf("%s: pushed %s, the registry has %s, the client was told\n%s", client, id, digest, out)
		}
		var index struct {
			Manifests []struct{ Digest, MediaType string }
		}
		if err := json.Unmarshal([]byte(body), &index); err != nil || len(index.Manifests) < 2 {
			t.Errorf("%s: the registry has no index: %v %s", client, err, body)
		}
		before := m.up.Load()
		e.Run(client, "push", name)
		if again := m.up.Load() - before; again > 10_000 {
			t.Errorf("%s: a second push sends %d bytes", client, again)
		}
		one := m.host + "/one/" + client + ":1"
		e.Run(client, "tag", "busybox", one)
		e.Run(client, "push", "--platform", "linux/arm64", one)
		if body, _ = raw(t, one); strings.Contains(body, `"manifests"`) {
			t.Errorf("%s: one platform was pushed as %s", client, body)
		}
		e.Run("cove", "rmi", name)
		if got := e.Run(client, "run", "--rm", name, "echo", "back"); got != "back" {
			t.Errorf("%s: it came back and says %q", client, got)
		}
		e.Run("cove", "rmi", name, one)
	}
	// What one repository has another one gets without a byte of a layer.
	e.Run("cove", "tag", "alpine:3.20", m.host+"/first:1")
	e.Run("cove", "push", "-q", m.host+"/first:1")
	before := m.up.Load()
	e.Run("cove", "tag", "alpine:3.20", m.host+"/second:1")
	if out := e.Run("cove", "push", m.host+"/second:1"); !strings.Contains(out, ": Mounted from first") || m.up.Load()-before > 30_000 {
		t.Errorf("%d bytes were sent for a mount:\n%s", m.up.Load()-before, out)
	}
	_, first := raw(t, m.host+"/first:1")
	if _, second := raw(t, m.host+"/second:1"); first != second {
		t.Errorf("pushed as %s and %s", first, second)
	}
}

// TestPushAfterKillToDebianRegistry: a registry that cannot take up an upload whose client died has the image all the same.
func TestPushAfterKillToDebianRegistry(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	m := newMeter(t, debianRegistry(t))
	r := openRegistry(t, testkit.Faults{})
	r.Push("x", "1", on(t, "L comp=none; z big 60000000\nL; f small 1"))
	e := newEngine(t)
	e.Start()
	e.Run("cove", "pull", "-q", r.Host()+"/x:1")
	e.Run("cove", "tag", r.Host()+"/x:1", m.host+"/x:1")
	for round := range 3 {
		began := m.up.Load()
		c := e.Command("cove", "push", m.host+"/x:1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		m.up.until(t, 20_000_000, e.Kill)
		c.Wait()
		e.Start()
		t.Logf("round %d: %d bytes", round, m.up.Load()-began)
	}
	e.Run("cove", "push", m.host+"/x:1")
	e.Run("cove", "rmi", m.host+"/x:1", r.Host()+"/x:1")
	if got := e.Run("cove", "run", "--rm", m.host+"/x:1", "sh", "-c", "wc -c </big; cat /small"); got != "60000000\n1" {
		t.Errorf("what came back: %q", got)
	}
}

// TestMirrorOfAnyRegistry: hosts.toml names mirrors of a registry that need not even exist, without a restart.
func TestMirrorOfAnyRegistry(t *testing.T) {
	needRoot(t)
	mirror := openRegistry(t, testkit.Faults{})
	mirror.Push("team/x", "1", small(t))
	certs := t.TempDir()
	e := newEngine(t, "--certs-dir", certs)
	e.Start()
	name := "registry.invalid/team/x:1"
	if _, errOut, code := e.Try("cove", "pull", name); code != 1 {
		t.Errorf("without a mirror: status %d, %s", code, errOut)
	}
	folder := filepath.Join(certs, "registry.invalid")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("server = \"http://%s\"\n[host.\"http://127.0.0.1:1\"]\n[host.\"http://%s\"]\n", mirror.Host(), mirror.Host())
	if err := os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, client := range engineClients() {
		e.Run(client, "pull", name)
		e.Run(client, "tag", name, "registry.invalid/team/"+client+":1")
		e.Run(client, "push", "registry.invalid/team/"+client+":1")
		if mirror.Manifest("team/"+client, "1") == nil {
			t.Errorf("%s pushed elsewhere", client)
		}
		e.Run("cove", "rmi", name, "registry.invalid/team/"+client+":1")
	}
	if err := os.WriteFile(filepath.Join(folder, "hosts.toml"), []byte("server = 5"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, errOut, code := e.Try("cove", "pull", name); code != 1 || !strings.Contains(errOut, "hosts.toml") {
		t.Errorf("a file nobody can read: status %d, %s", code, errOut)
	}
}

// TestPushToOwnRegistry: the registry in the box takes pushes whole, keeps what came of an upload when it or the daemon is killed,
// and tells the digests it was given.
func TestPushToOwnRegistry(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	const size, base = 60_000_000, 3_000_000
	r := openRegistry(t, testkit.Faults{})
	r.Push("x", "1", on(t, fmt.Sprintf("L comp=none; z big %d\nL; f small 1", size)))
	e := newEngine(t)
	e.Start()
	e.Run("cove", "pull", "-q", r.Host()+"/x:1")
	for round := range 2 {
		own := serve(t, t.TempDir()) // a new one: what it has would be mounted
		m := newMeter(t, own.Host)
		name := m.host + "/x:1"
		e.Run("cove", "tag", r.Host()+"/x:1", name)
		began := m.up.Load()
		c := e.Command("cove", "push", name)
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		if round == 0 {
			m.up.until(t, size/2, e.Kill)
			c.Wait()
			e.Start()
			e.Run("cove", "push", name)
		} else {
			m.up.until(t, size/2, own.Kill)
			time.Sleep(time.Second)
			if err := own.Start(); err != nil {
				t.Fatal(err)
			}
			if err := c.Wait(); err != nil { // the push waits for the registry and goes on by itself
				t.Errorf("a push whose registry was killed: %v", err)
			}
		}
		sent := m.up.Load() - began
		t.Logf("round %d: %d bytes sent for %d", round, sent, size)
		if most := int64(size + size/4 + base); round == 0 && sent > most {
			t.Errorf("%d bytes were sent for %d", sent, size)
		}
		id := e.Run("cove", "inspect", "-f", "{{.Id}}", name)
		if _, digest := raw(t, name); digest != id {
			t.Errorf("pushed %s, the registry has %s", id, digest)
		}
		e.Run("cove", "rmi", name)
		if got := e.Run("cove", "run", "--rm", name, "sh", "-c", "wc -c </big; cat /small"); got != fmt.Sprintf("%d\n1", size) {
			t.Errorf("what came back: %q", got)
		}
		e.Run("cove", "rmi", name)
	}
}
