package test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cove-containers/cove/testkit"
)

// hostAddress is an address of this machine that is not loopback.
func hostAddress(t *testing.T) string {
	t.Helper()
	addrs, _ := net.InterfaceAddrs()
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && !n.IP.IsLoopback() && n.IP.To4() != nil && !strings.HasPrefix(n.IP.String(), "10.") {
			return n.IP.String()
		}
	}
	t.Skip("this machine has loopback addresses only: a registry elsewhere cannot be played")
	return ""
}

func certificate(t *testing.T, addr string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, IPAddresses: []net.IP{net.ParseIP(addr)}, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{raw}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

func small(t *testing.T) *testkit.Image {
	t.Helper()
	im, err := testkit.Craft("L; f q 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// TestTLSAndPlainHTTP: off loopback a registry speaks TLS with a certificate that is known, or is named insecure.
func TestTLSAndPlainHTTP(t *testing.T) {
	needRoot(t)
	host := hostAddress(t)
	cert, pemBytes := certificate(t, host)
	secure, err := testkit.NewRegistry(host+":0", testkit.Faults{}, &cert)
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	plain, err := testkit.NewRegistry(host+":0", testkit.Faults{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	secure.Push("x", "1", small(t))
	plain.Push("x", "1", small(t))
	certs := t.TempDir()
	e := newEngine(t, "--certs-dir", certs)
	e.Start()
	for _, c := range []struct{ image, want string }{
		{secure.Host() + "/x:1", "x509"}, {plain.Host() + "/x:1", "HTTP response to HTTPS client"},
	} {
		if _, errOut, code := e.Try("cove", "pull", c.image); code != 1 || !strings.Contains(errOut, c.want) {
			t.Errorf("pull %s: status %d, %q", c.image, code, errOut)
		}
	}
	dir := filepath.Join(certs, secure.Host())
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ca.crt"), pemBytes, 0o644); err != nil {
		t.Fatal(err)
	}
	e.Run("cove", "pull", secure.Host()+"/x:1")
	e.Stop()
	e.Args = append(e.Args, "--insecure-registry", plain.Host())
	e.Start()
	e.Run("cove", "pull", plain.Host()+"/x:1")
}

// TestParallelPulls: clients that pull the same image share one download; one that goes away takes nothing from the others;
// when all are gone the transfer stops, and the next pull works (VG-5).
func TestParallelPulls(t *testing.T) {
	t.Parallel()
	needRoot(t)
	r, err := testkit.NewRegistry("127.0.0.1:0", testkit.Faults{Rate: 3_000_000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	im, err := testkit.Craft("L comp=none; z a 6000000\nL comp=none; z b 6000000\nL comp=none; z c 6000000", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Push("x", "1", im)
	e := newEngine(t)
	e.Start()
	var clients []*exec.Cmd
	for range 5 {
		c := e.Command("cove", "pull", "-q", r.Host()+"/x:1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		clients = append(clients, c)
	}
	time.Sleep(700 * time.Millisecond)
	clients[0].Process.Signal(syscall.SIGINT)
	start := time.Now()
	if err := clients[0].Wait(); err == nil {
		t.Error("the interrupted client has ended as if it were not")
	}
	if took := time.Since(start); took > 20*time.Second {
		t.Errorf("the interrupted client took %v to end", took)
	}
	for i, c := range clients[1:] {
		if err := c.Wait(); err != nil {
			t.Errorf("client %d: %v", i+1, err)
		}
	}
	gets := map[string]int{}
	for _, q := range r.Log() {
		if q.Method == "GET" && strings.Contains(q.Path, "/blobs/") {
			gets[q.Path]++
		}
	}
	for path, n := range gets {
		if n != 1 {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}
	e.Run("cove", "rmi", r.Host()+"/x:1")
	var wait sync.WaitGroup
	for range 3 {
		c := e.Command("cove", "pull", "-q", r.Host()+"/x:1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		wait.Go(func() { time.Sleep(400 * time.Millisecond); c.Process.Kill(); c.Wait() })
	}
	wait.Wait()
	e.Run("cove", "pull", "-q", r.Host()+"/x:1")
}

// TestSharedPulls: two images of which each layer but one is the same, pulled by five clients at once while others want to run them:
// each blob is fetched once, and nobody sees half of one. When all clients are killed the transfer stops (VG-5).
func TestSharedPulls(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	r := openRegistry(t, testkit.Faults{Rate: 3_000_000})
	r.Push("x", "1", on(t, "L comp=none; z a 4000000\nL comp=none; z b 4000000\nL; f end 1"))
	r.Push("x", "2", on(t, "L comp=none; z a 4000000\nL comp=none; z b 4000000\nL; f end 2"))
	e := newEngine(t)
	e.Start()
	var wait sync.WaitGroup
	for n := range 5 {
		wait.Go(func() {
			tag := fmt.Sprint(n%2 + 1)
			command := []string{clients()[n%len(clients())], "pull", "-q", r.Host() + "/x:" + tag}
			if n > 2 {
				command = []string{command[0], "run", "--rm", "-q", r.Host() + "/x:" + tag, "sh", "-c", "wc -c </a; wc -c </b; cat /end"}
			}
			out, errOut, code := e.Try(command...)
			if code != 0 || n > 2 && strings.TrimSpace(out) != "4000000\n4000000\n"+tag {
				t.Errorf("%v: status %d: %s%s", command, code, out, errOut)
			}
		})
	}
	wait.Wait()
	fetched := func() (gets map[string]int) {
		gets = map[string]int{}
		for _, q := range r.Log() {
			if q.Method == "GET" && strings.Contains(q.Path, "/blobs/") {
				gets[q.Path]++
			}
		}
		return gets
	}
	for path, n := range fetched() {
		if n != 1 {
			t.Errorf("%s was fetched %d times", path, n)
		}
	}

	e.Run("cove", "rmi", r.Host()+"/x:1", r.Host()+"/x:2")
	for range 5 {
		c := e.Command("cove", "pull", "-q", r.Host()+"/x:1")
		if err := c.Start(); err != nil {
			t.Fatal(err)
		}
		wait.Go(func() { time.Sleep(800 * time.Millisecond); c.Process.Kill(); c.Wait() })
	}
	wait.Wait()
	time.Sleep(5 * time.Second)
	size := e.du("ingest")
	time.Sleep(500 * time.Millisecond)
	if now := e.du("ingest"); now != size || now > 7_000_000 {
		t.Errorf("the transfer goes on after 5 s: %d bytes, then %d", size, now)
	}
	e.Run("cove", "pull", "-q", r.Host()+"/x:1")
}

// TestStalledRegistry: a registry that stops sending in the middle does not hold a pull for ever, and interrupting works at once.
func TestStalledRegistry(t *testing.T) {
	needRoot(t)
	r, err := testkit.NewRegistry("127.0.0.1:0", testkit.Faults{CutAfter: 1000, Stall: true}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	im, err := testkit.Craft("L comp=none; z a 600000", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Push("x", "1", im)
	e := newEngine(t)
	e.Start()
	c := e.Command("cove", "pull", r.Host()+"/x:1")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	c.Process.Signal(syscall.SIGINT)
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case <-ended:
	case <-time.After(30 * time.Second):
		t.Error("the interrupted client hangs")
		c.Process.Kill()
	}
	e.Run("cove", "pull", "-q", r.Host()+"/x:1")
}

// debianRegistry starts Debian's docker-registry and gives its address.
func debianRegistry(t *testing.T) string {
	t.Helper()
	for _, tool := range []string{"docker-registry", "skopeo"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("needs %s", tool)
		}
	}
	addr := freeAddress()
	config := filepath.Join(t.TempDir(), "registry.yml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}, delete: {enabled: true}}\nhttp: {addr: %q}\n", t.TempDir(), addr)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	server := exec.Command("docker-registry", "serve", config)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Process.Kill(); server.Wait() })
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("tcp", addr); err == nil {
			c.Close()
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatal("docker-registry does not answer")
		}
	}
}

// engineClients are the commands that tests run against an engine.
func engineClients() []string {
	if _, err := exec.LookPath("docker"); err == nil {
		return []string{"cove", "docker"}
	}
	return []string{"cove"}
}

// TestDebianRegistry pulls from Debian's docker-registry, filled by skopeo.
func TestDebianRegistry(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := images(t)
	addr := debianRegistry(t)
	for _, name := range []string{"busybox", "alpine", "hello-world"} {
		copyAll := exec.Command("skopeo", "copy", "--all", "-q", "--dest-tls-verify=false", "oci-archive:"+filepath.Join(dir, name+".tar"), "docker://"+addr+"/"+name+":1")
		if out, err := copyAll.CombinedOutput(); err != nil {
			t.Fatalf("fill the registry: %v: %s", err, out)
		}
	}
	e := newEngine(t)
	e.Start()
	for _, client := range engineClients() {
		if got := e.Run(client, "run", "--rm", addr+"/alpine:1", "cat", "/etc/alpine-release"); got != "3.20.3" {
			t.Errorf("%s: alpine says %q", client, got)
		}
		if got := e.Run(client, "run", "--rm", addr+"/hello-world:1"); !strings.Contains(got, "Hello from Docker!") {
			t.Errorf("%s: hello-world says %q", client, got)
		}
		if out, errOut, code := e.Try(client, "run", "--rm", "--platform", "linux/riscv64", addr+"/alpine:1", "true"); code != 125 || !strings.Contains(errOut, "no matching manifest for linux/riscv64") {
			t.Errorf("%s: another platform: status %d: %s%s", client, code, out, errOut)
		}
		e.Run(client, "pull", "--platform", "linux/arm64", addr+"/busybox:1")
		e.Run(client, "rmi", addr+"/alpine:1", addr+"/hello-world:1", addr+"/busybox:1")
	}
}
