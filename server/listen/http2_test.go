package listen

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestHTTP2 is for clients that speak nothing else: whoever offers HTTP/1.1 as well gets that, as connections are taken over.
func TestHTTP2(t *testing.T) {
	config := Config{Hosts: []string{"tcp://127.0.0.1:0"}, TLS: certificate(t)}
	config.TLS.HTTP2 = true
	for name, hosts := range map[string][]string{"https": config.Hosts, "http": {"tcp://127.0.0.1:0"}} {
		c := Config{Hosts: hosts}
		if name == "https" {
			c = config
		}
		listeners, err := Open(c)
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() {
			ended <- Service{
				Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Spoken", r.Proto) }),
				Log:     slog.Default(), Grace: time.Second, HTTP2: true,
			}.Serve(ctx, listeners)
		}()
		for spoken, set := range map[string]func(p *http.Protocols){
			"HTTP/2.0": func(p *http.Protocols) { p.SetHTTP2(true); p.SetUnencryptedHTTP2(name == "http") },
			"HTTP/1.1": func(p *http.Protocols) { p.SetHTTP1(true); p.SetHTTP2(true) },
		} {
			protocols := &http.Protocols{}
			set(protocols)
			transport := &http.Transport{Protocols: protocols, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
			answer, err := (&http.Client{Transport: transport}).Get(name + "://" + listeners[0].Addr().String())
			if err != nil {
				t.Errorf("%s, %s: %v", name, spoken, err)
				continue
			}
			answer.Body.Close()
			transport.CloseIdleConnections()
			if got := answer.Header.Get("Spoken"); got != spoken {
				t.Errorf("%s: %s instead of %s", name, got, spoken)
			}
		}
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// certificate makes one that signs itself.
func certificate(t *testing.T) TLS {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := TLS{Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	for path, block := range map[string]*pem.Block{files.Cert: {Type: "CERTIFICATE", Bytes: raw}, files.Key: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return files
}
