package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "cove.sock")
	config := ListenConfig{Hosts: []string{"unix://" + path}}
	first, err := Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left beside the socket: %v", entries)
	}
	if _, err := Listen(config); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
		t.Errorf("a second daemon: %v", err)
	}
	first[0].Close()
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket is still there: %v", err)
	}

	// A socket that a killed daemon left is replaced.
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	second, err := Listen(config)
	if err != nil {
		t.Fatal(err)
	}
	second[0].Close()

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(config); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a file in the way: %v", err)
	}
}

// TestCloseLeavesAnothersSocket: a daemon that ends late does not take away its successor's socket.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Listen(ListenConfig{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := Listen(ListenConfig{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	defer second[0].Close()
	first[0].Close()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
}

func TestListenRefusals(t *testing.T) {
	for host, words := range map[string]string{
		"tcp://0.0.0.0:0":      "without --tlsverify",
		"tcp://:0":             "",
		"tcp://[::1]:0":        "",
		"tcp://192.0.2.1:2375": "without --tlsverify",
		"tcp://example.com:1":  "without --tlsverify",
		"tcp://127.0.0.1:x":    "invalid port",
		"tcp://127.0.0.1:0":    "",
		"tcp://localhost:0/":   "",
		"npipe:////./pipe/x":   "is not supported",
		"/run/x.sock":          "invalid address",
		"fd://":                "socket activation",
	} {
		listeners, err := Listen(ListenConfig{Hosts: []string{host}})
		for _, l := range listeners {
			l.Close()
		}
		if strings.Contains(host, "::1") && err != nil && words == "" {
			continue // no IPv6 here
		}
		if words == "" && err != nil || words != "" && (err == nil || !strings.Contains(err.Error(), words)) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if _, err := Listen(ListenConfig{Hosts: []string{"unix://" + filepath.Join(t.TempDir(), "s")}, Group: "no-such-group-here"}); err == nil {
		t.Error("a group that is not there was taken")
	}
	dir := t.TempDir()
	if _, err := Listen(ListenConfig{Hosts: []string{"unix://" + filepath.Join(dir, "s"), "tcp://0.0.0.0:0"}}); err == nil {
		t.Error("half a list of addresses was taken")
	} else if entries, _ := os.ReadDir(dir); len(entries) != 0 {
		t.Errorf("a socket is left: %v", entries)
	}
}

func TestTCPAddresses(t *testing.T) {
	for raw, want := range map[string]string{"": "127.0.0.1:2375", ":1": "127.0.0.1:1", "h": "h:2375", "h:2/": "h:2", "[::1]": "[::1]:2375", "::1": "[::1]:2375"} {
		if got, err := tcpAddress(raw, false); err != nil || got != want {
			t.Errorf("%q: %q %v", raw, got, err)
		}
	}
	if got, _ := tcpAddress("h", true); got != "h:2376" {
		t.Error(got)
	}
}

// certify writes a certificate signed by parent, or by itself, and its key.
func certify(t *testing.T, dir, name string, parent *tls.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		IsCA: parent == nil, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	issuer, signer := template, any(key)
	if parent != nil {
		issuer, signer = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, issuer, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	raw, _ := x509.MarshalECPrivateKey(key)
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: raw}} {
		if err := os.WriteFile(filepath.Join(dir, file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func TestMutualTLS(t *testing.T) {
	dir := t.TempDir()
	ca := certify(t, dir, "ca", nil)
	certify(t, dir, "server", &ca)
	client := certify(t, dir, "client", &ca)
	stranger := certify(t, dir, "stranger", nil)
	listeners, err := Listen(ListenConfig{Hosts: []string{"tcp://127.0.0.1:0"}, TLS: TLS{Verify: true, CA: dir + "/ca.pem", Cert: dir + "/server.pem", Key: dir + "/server.key"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	p := Parts{Streams: fakeStreams{attach: echo}}
	go func() { ended <- Serve(ctx, New(p), listeners, time.Second) }()
	defer func() { stop(); <-ended }()

	address := listeners[0].Addr().String()
	pool := x509.NewCertPool()
	pool.AddCert(ca.Leaf)
	for name, certificates := range map[string][]tls.Certificate{"client": {client}, "stranger": {stranger}, "nobody": nil} {
		web := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, Certificates: certificates}}}
		res, err := web.Get("https://" + address + "/_ping")
		if err == nil {
			res.Body.Close()
		}
		if (name == "client") != (err == nil) {
			t.Errorf("%s: %v", name, err)
		}
		web.CloseIdleConnections()
	}
	if res, err := http.Get("http://" + address + "/_ping"); err == nil && res.StatusCode == 200 {
		t.Error("plain HTTP was answered")
	}

	// Streams with half-close go through TLS too.
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{client}})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "POST /containers/x/attach?stdin=1 HTTP/1.1\r\nHost: x\r\n\r\nhello")
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(out), "\r\n\r\ngot hello") {
		t.Errorf("%q %v", out, err)
	}
}

// TestGracefulStop: work is finished, streams are not waited for, and what takes too long is given up.
func TestGracefulStop(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	begun, finish := make(chan struct{}), make(chan struct{})
	p := Parts{
		Lives: fakeLives{start: func(string) error { close(begun); <-finish; return nil }},
		Streams: fakeStreams{
			wait: func(context.Context, ct.WaitCondition) (<-chan ct.WaitResponse, error) {
				return make(chan ct.WaitResponse), nil
			},
			attach: func(ctx context.Context, o engine.AttachOptions) error { <-ctx.Done(); return ctx.Err() },
		},
	}
	listeners, err := Listen(ListenConfig{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, New(p), listeners, 5*time.Second) }()

	if _, err := dialer(path).Post("http://cove/containers/x/wait", "", nil); err != nil { // a stream, left open
		t.Fatal(err)
	}
	status := make(chan int, 1)
	go func() {
		res, err := dialer(path).Post("http://cove/containers/x/start", "", nil)
		if err != nil {
			t.Error(err)
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-begun
	stop()
	time.Sleep(50 * time.Millisecond)
	close(finish)
	if got := <-status; got != 204 {
		t.Errorf("the work's answer: %d", got)
	}
	before := time.Now()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if took := time.Since(before); took > 2*time.Second {
		t.Errorf("stopping took %s", took)
	}
}

func TestStopGivesUp(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	begun := make(chan struct{})
	release := make(chan struct{})
	p := Parts{Lives: fakeLives{start: func(string) error { close(begun); <-release; return nil }}}
	listeners, err := Listen(ListenConfig{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- Serve(ctx, New(p), listeners, 50*time.Millisecond) }()
	go func() {
		if res, err := dialer(path).Post("http://cove/containers/x/start", "", nil); err == nil {
			res.Body.Close()
		}
	}()
	<-begun
	stop()
	select {
	case err := <-ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("a stuck request holds the daemon")
	}
	close(release)
}

// TestActivation runs this test binary again as systemd would run a daemon, and has it answer on the socket it was given.
func TestActivation(t *testing.T) {
	if os.Getenv("COVE_TEST_ACTIVATED") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // systemd knows the number of the child, a test does not
		listeners, err := Listen(ListenConfig{Hosts: []string{"fd://"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
		defer stop()
		if err := Serve(ctx, New(Parts{}), listeners, 0); err != nil {
			t.Fatal(err)
		}
		return
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	child := exec.Command(os.Args[0], "-test.run=^TestActivation$")
	child.Env = append(os.Environ(), "COVE_TEST_ACTIVATED=1", "LISTEN_FDS=1")
	child.ExtraFiles = []*os.File{file}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	file.Close()
	res, err := dialer(path).Get("http://cove/_ping")
	if err != nil {
		t.Error(err)
	} else {
		res.Body.Close()
	}
	_ = child.Process.Kill()
	_ = child.Wait()
}
