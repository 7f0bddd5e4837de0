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

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/server/listen"
)

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
	listeners, err := listen.Open(listen.Config{Hosts: []string{"tcp://127.0.0.1:0"}, TLS: listen.TLS{Verify: true, CA: dir + "/ca.pem", Cert: dir + "/server.pem", Key: dir + "/server.key"}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	p := Parts{Streams: fakeStreams{attach: echo}}
	go func() { ended <- serving(New(p), time.Second).Serve(ctx, listeners) }()
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
	listeners, err := listen.Open(listen.Config{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serving(New(p), 5*time.Second).Serve(ctx, listeners) }()

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
	listeners, err := listen.Open(listen.Config{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- serving(New(p), 50*time.Millisecond).Serve(ctx, listeners) }()
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
	case <-time.After(30 * time.Second):
		t.Error("a stuck request holds the daemon")
	}
	close(release)
}

// TestActivation runs this test binary again as systemd would run a daemon, and has it answer on the socket it was given.
func TestActivation(t *testing.T) {
	if os.Getenv("COVE_TEST_ACTIVATED") != "" {
		os.Setenv("LISTEN_PID", strconv.Itoa(os.Getpid())) // systemd knows the number of the child, a test does not
		listeners, err := listen.Open(listen.Config{Hosts: []string{"fd://"}})
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithTimeout(context.Background(), 3*time.Second)
		defer stop()
		if err := serving(New(Parts{}), 0).Serve(ctx, listeners); err != nil {
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
