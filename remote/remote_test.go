package remote

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/testkit"
)

func start(t *testing.T, f testkit.Faults) *testkit.Registry {
	t.Helper()
	r, err := testkit.NewRegistry("127.0.0.1:0", f, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func client(t *testing.T, config Config) *Client {
	t.Helper()
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func name(t *testing.T, s string) ref.Name {
	t.Helper()
	n, err := ref.ParseTagged(s)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// push puts a document of no meaning and a blob under x:1.
func push(r *testkit.Registry, blob []byte) ocispec.Descriptor {
	r.PutManifest("x", "1", ocispec.MediaTypeImageManifest, []byte("{}"))
	return ocispec.Descriptor{Digest: r.PutBlob(blob), Size: int64(len(blob))}
}

func TestTokenFlow(t *testing.T) {
	r := start(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p", TokenField: "access_token", RealmQuery: true})
	push(r, nil)
	c := client(t, Config{})
	session := NewSession(Credentials{Username: "u", Password: "p"})
	for range 2 {
		if _, _, err := c.Manifest(t.Context(), name(t, r.Host()+"/x:1"), session); err != nil {
			t.Fatal(err)
		}
	}
	log := r.Log()
	var got []string
	for _, l := range log {
		got = append(got, l.Path+" "+l.Authorization)
	}
	want := "/v2/x/manifests/1 , /token Basic, /v2/x/manifests/1 Bearer, /v2/x/manifests/1 Bearer"
	if strings.Join(got, ", ") != want {
		t.Fatalf("requests: %s\nwant %s", strings.Join(got, ", "), want)
	}
	q := log[1].Query
	if q.Get("service") != "fake reg, v1" || q.Get("scope") != "repository:x:pull" || q.Get("acct") != "1,2" || q.Get("x") != "y" {
		t.Errorf("token query %v", q)
	}
	for _, tok := range session.tokens {
		if left := time.Until(tok.until); left < 40*time.Second || left > 60*time.Second {
			t.Errorf("token is kept for %s", left)
		}
	}
}

func TestAnonymousAndWrongCredentials(t *testing.T) {
	r := start(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p", Anonymous: true})
	push(r, nil)
	if _, _, err := client(t, Config{}).Manifest(t.Context(), name(t, r.Host()+"/x:1"), NewSession(Credentials{})); err != nil {
		t.Fatal(err)
	}
	if got := r.Log()[1]; got.Path != "/token" || got.Authorization != "" {
		t.Errorf("anonymous token request: %+v", got)
	}

	for _, auth := range []string{"bearer", "basic"} {
		r := start(t, testkit.Faults{Auth: auth, User: "u", Password: "p"})
		push(r, nil)
		c := client(t, Config{})
		for _, cred := range []Credentials{{}, {Username: "u", Password: "no"}} {
			_, _, err := c.Manifest(t.Context(), name(t, r.Host()+"/x:1"), NewSession(cred))
			if !errdefs.IsUnauthorized(err) || !strings.Contains(err.Error(), "unauthorized") {
				t.Errorf("%s %v: %v", auth, cred, err)
			}
		}
		if n := len(r.Log()); n > 6 {
			t.Errorf("%s: %d requests for two failures", auth, n)
		}
		if _, err := c.Login(t.Context(), r.Host(), Credentials{Username: "u", Password: "no"}); !errdefs.IsUnauthorized(err) {
			t.Errorf("%s login with wrong password: %v", auth, err)
		}
		if _, err := c.Login(t.Context(), "http://"+r.Host()+"/v1/", Credentials{Username: "u", Password: "p"}); err != nil {
			t.Errorf("%s login: %v", auth, err)
		}
	}
}

func TestRedirectKeepsSecrets(t *testing.T) {
	for _, auth := range []string{"bearer", "basic"} {
		r := start(t, testkit.Faults{Auth: auth, User: "u", Password: "p", RedirectBlobs: true})
		desc := push(r, []byte("content"))
		c := client(t, Config{})
		session := NewSession(Credentials{Username: "u", Password: "p"})
		for range 2 {
			body, _, err := c.Blob(t.Context(), name(t, r.Host()+"/x:1"), desc, 0, session)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := io.ReadAll(body); string(got) != "content" {
				t.Errorf("read %q", got)
			}
			body.Close()
		}
		redirects := 0
		for _, l := range r.Log() {
			if l.Status == 307 {
				redirects++
			}
			if strings.HasPrefix(l.Path, "/blob/") && l.Authorization != "" {
				t.Errorf("%s: storage was sent %s", auth, l.Authorization)
			}
		}
		if redirects != 2 {
			t.Errorf("%s: %d redirects asked for, want one for each blob", auth, redirects)
		}
	}
}

// TestRedirectToAnotherPort covers what net/http alone would let through: the same host on another port.
func TestRedirectToAnotherPort(t *testing.T) {
	storage := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "" {
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	defer storage.Close()
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		http.Redirect(w, r, storage.URL, http.StatusTemporaryRedirect)
	}))
	defer front.Close()
	host := strings.TrimPrefix(front.URL, "http://")
	body, _, err := client(t, Config{}).Blob(t.Context(), name(t, host+"/x"), ocispec.Descriptor{Digest: "sha256:0"}, 0, NewSession(Credentials{Username: "u", Password: "p"}))
	if err != nil {
		t.Fatal(err)
	}
	body.Close()
}

func TestResume(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 1000)
	for _, noRange := range []bool{false, true} {
		r := start(t, testkit.Faults{NoRange: noRange})
		desc := push(r, content)
		body, at, err := client(t, Config{}).Blob(t.Context(), name(t, r.Host()+"/x"), desc, 4000, NewSession(Credentials{}))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(body)
		body.Close()
		want := int64(4000)
		if noRange {
			want = 0
		}
		if at != want || !bytes.Equal(got, content[want:]) {
			t.Errorf("noRange=%v: starts at %d with %d bytes", noRange, at, len(got))
		}
	}
}

// TestResumeChecksTheRange lets a server answer 206 with what was not asked for.
func TestResumeChecksTheRange(t *testing.T) {
	for _, span := range []string{"bytes 0-9/10", "bytes 5-8/10", "bytes 5-9/11", "bytes 5-9", "", "5-9/10"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Range") != "" {
				w.Header().Set("Content-Range", span)
				w.WriteHeader(http.StatusPartialContent)
				io.WriteString(w, "wrong")
				return
			}
			io.WriteString(w, "0123456789")
		}))
		host := strings.TrimPrefix(s.URL, "http://")
		body, at, err := client(t, Config{}).Blob(t.Context(), name(t, host+"/x"), ocispec.Descriptor{Digest: "sha256:0", Size: 10}, 5, NewSession(Credentials{}))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(body)
		body.Close()
		s.Close()
		if at != 0 || string(got) != "0123456789" {
			t.Errorf("Content-Range %q: starts at %d with %q", span, at, got)
		}
	}
}

func TestSizeLie(t *testing.T) {
	r := start(t, testkit.Faults{})
	desc := push(r, []byte("content"))
	for _, lie := range []int64{-1, 1} {
		d := desc
		d.Size += lie
		if _, _, err := client(t, Config{}).Blob(t.Context(), name(t, r.Host()+"/x"), d, 0, NewSession(Credentials{})); !errdefs.IsFailedPrecondition(err) {
			t.Errorf("size %+d: %v", lie, err)
		}
	}
}

func TestManifestDigest(t *testing.T) {
	r := start(t, testkit.Faults{})
	d := r.PutManifest("x", "1", ocispec.MediaTypeImageManifest, []byte("{}"))
	r.Faults.Swap = map[digest.Digest][]byte{d: []byte(`{"other":1}`)}
	n := name(t, r.Host()+"/x:1")
	n.Digest = d
	if _, _, err := client(t, Config{}).Manifest(t.Context(), n, NewSession(Credentials{})); !errdefs.IsFailedPrecondition(err) || !strings.Contains(err.Error(), d.String()) {
		t.Errorf("another manifest under a digest: %v", err)
	}
	n.Digest = "sha256:" + digest.Digest(strings.Repeat("0", 64))
	if _, _, err := client(t, Config{}).Manifest(t.Context(), n, NewSession(Credentials{})); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "manifest unknown") {
		t.Errorf("absent digest: %v", err)
	}
}

func TestTooManyRequests(t *testing.T) {
	r := start(t, testkit.Faults{RefuseManifests: 2, RetryAfter: "1"})
	push(r, nil)
	began := time.Now()
	if _, _, err := client(t, Config{}).Manifest(t.Context(), name(t, r.Host()+"/x:1"), NewSession(Credentials{})); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*time.Second {
		t.Errorf("two waits of a second took %s", took)
	}
	r = start(t, testkit.Faults{RefuseManifests: 99, RetryAfter: "3600"})
	_, _, err := client(t, Config{}).Manifest(t.Context(), name(t, r.Host()+"/x:1"), NewSession(Credentials{}))
	if err == nil || !strings.Contains(err.Error(), "toomanyrequests") || len(r.Log()) > 10 {
		t.Errorf("a registry that never relents: %v after %d requests", err, len(r.Log()))
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	r = start(t, testkit.Faults{RefuseManifests: 99, RetryAfter: "20"})
	began = time.Now()
	if _, _, err := client(t, Config{}).Manifest(ctx, name(t, r.Host()+"/x:1"), NewSession(Credentials{})); err == nil || time.Since(began) > 2*time.Second {
		t.Errorf("cancelled wait: %v after %s", err, time.Since(began))
	}
}

func TestStall(t *testing.T) {
	r := start(t, testkit.Faults{CutAfter: 100, Stall: true})
	desc := push(r, make([]byte, 1000))
	body, _, err := client(t, Config{Idle: 200 * time.Millisecond}).Blob(t.Context(), name(t, r.Host()+"/x"), desc, 0, NewSession(Credentials{}))
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	began := time.Now()
	if n, err := io.Copy(io.Discard, body); !errors.Is(err, errStalled) || n != 100 || time.Since(began) > 3*time.Second {
		t.Errorf("a stalled registry: %d bytes, %v, %s", n, err, time.Since(began))
	}
}

func TestMirror(t *testing.T) {
	r := start(t, testkit.Faults{})
	r.PutManifest("library/x", "1", ocispec.MediaTypeImageManifest, []byte("{}"))
	c := client(t, Config{Mirrors: []string{"http://" + r.Host() + "/"}})
	if _, body, err := c.Manifest(t.Context(), name(t, "x:1"), NewSession(Credentials{Username: "u", Password: "p"})); err != nil || string(body) != "{}" {
		t.Errorf("pull through mirror: %q, %v", body, err)
	}
	if _, err := New(Config{Mirrors: []string{"mirror"}}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("mirror that is no URL: %v", err)
	}
}

func TestInsecure(t *testing.T) {
	c := client(t, Config{Insecure: []string{"reg.example:5000", "10.0.0.0/8"}})
	for host, want := range map[string]bool{
		"127.0.0.1": true, "127.9.9.9:1": true, "localhost:5000": true, "[::1]:5": true, "reg.example:5000": true, "10.2.3.4:5": true,
		"reg.example": false, "reg.example:1": false, "11.0.0.1": false, "localhost.example": false,
	} {
		if got := c.insecure(host); got != want {
			t.Errorf("insecure(%q) = %v", host, got)
		}
	}
}

// hostAddress is an address of this machine outside loopback.
func hostAddress(t *testing.T) string {
	t.Helper()
	all, _ := net.InterfaceAddrs()
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && !n.IP.IsLoopback() {
			return n.IP.String()
		}
	}
	t.Skip("this machine has no IPv4 address outside loopback")
	return ""
}

func certificate(t *testing.T, ip string) (tls.Certificate, []byte) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour), IsCA: true,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.ParseIP(ip)},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func TestTLS(t *testing.T) {
	ip := hostAddress(t)
	pair, authority := certificate(t, ip)
	secure, err := testkit.NewRegistry(ip+":0", testkit.Faults{}, &pair)
	if err != nil {
		t.Fatal(err)
	}
	defer secure.Close()
	open, err := testkit.NewRegistry(ip+":0", testkit.Faults{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	push(secure, nil)
	push(open, nil)
	certs := t.TempDir()
	c := client(t, Config{CertsDirs: []string{certs}})
	if _, _, err := c.Manifest(t.Context(), name(t, secure.Host()+"/x:1"), NewSession(Credentials{})); err == nil || !strings.Contains(err.Error(), "x509") {
		t.Errorf("unknown authority: %v", err)
	}
	if _, _, err := c.Manifest(t.Context(), name(t, open.Host()+"/x:1"), NewSession(Credentials{})); err == nil || !strings.Contains(err.Error(), "server gave HTTP response to HTTPS client") {
		t.Errorf("plain registry: %v", err)
	}
	folder := filepath.Join(certs, secure.Host())
	if err := os.MkdirAll(folder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, "ca.crt"), authority, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Manifest(t.Context(), name(t, secure.Host()+"/x:1"), NewSession(Credentials{})); err != nil {
		t.Errorf("with its authority in certs.d: %v", err)
	}
	if err := os.WriteFile(filepath.Join(folder, "me.cert"), authority, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Manifest(t.Context(), name(t, secure.Host()+"/x:1"), NewSession(Credentials{})); err == nil || !strings.Contains(err.Error(), "missing key me.key") {
		t.Errorf("certificate without key: %v", err)
	}
	c = client(t, Config{Insecure: []string{ip + "/32"}})
	for _, host := range []string{open.Host(), secure.Host()} {
		if _, _, err := c.Manifest(t.Context(), name(t, host+"/x:1"), NewSession(Credentials{})); err != nil {
			t.Errorf("insecure %s: %v", host, err)
		}
	}
}

func TestHTML(t *testing.T) {
	r := start(t, testkit.Faults{HTML: true})
	if _, err := client(t, Config{}).Login(t.Context(), r.Host(), Credentials{Username: "u", Password: "p"}); err == nil {
		t.Error("signed in to a captive portal")
	}
}

func FuzzChallenges(f *testing.F) {
	f.Add(`Bearer realm="https://a/b?c=1,2",service="fake reg, v1",scope="repository:x:pull"`)
	f.Add(`Basic realm="x", Bearer realm=y`)
	f.Add(`Bearer realm="a\"b`)
	f.Fuzz(func(t *testing.T, header string) {
		parseChallenges([]string{header})
	})
}

func TestChallenges(t *testing.T) {
	bearer, basic := parseChallenges([]string{`Basic realm="fake", Bearer realm="http://h/t?a=1,2",service="x \"y\", z",scope="s"`})
	if !basic || bearer["realm"] != "http://h/t?a=1,2" || bearer["service"] != `x "y", z` || bearer["scope"] != "s" {
		t.Errorf("%v %v", bearer, basic)
	}
}

// TestTokensAreNotKeptForever: a session that goes on and on, as that of a cache, remembers a bounded number of tokens.
func TestTokensAreNotKeptForever(t *testing.T) {
	r := request{session: NewSession(Credentials{})}
	for i := range 3 * maxTokens {
		r.scope = fmt.Sprintf("repository:r%d:pull", i)
		r.remember(token{value: "x"})
		if r.session.tokens[r.key()].value != "x" {
			t.Fatal("the newest is not remembered")
		}
	}
	if n := len(r.session.tokens); n > maxTokens {
		t.Errorf("%d tokens", n)
	}
}
