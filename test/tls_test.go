package test

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// identity writes a certificate that vouches for itself, and its key, as cert.pem, key.pem and ca.pem into a folder.
func identity(t *testing.T) string {
	t.Helper()
	pair, certPEM := certificate(t, "127.0.0.1")
	raw, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for name, body := range map[string][]byte{
		"cert.pem": certPEM, "ca.pem": certPEM, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), body, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestMutualTLS: over TCP both sides prove who they are, streams included; strangers and plain text are refused.
func TestMutualTLS(t *testing.T) {
	needRoot(t)
	images(t)
	addr := "tcp://" + freeAddress()
	own, strange := identity(t), identity(t)
	file := func(dir, name string) string { return filepath.Join(dir, name) }
	e := newEngine(t, "-H", addr, "--tlsverify", "--tlscacert", file(own, "ca.pem"), "--tlscert", file(own, "cert.pem"), "--tlskey", file(own, "key.pem"))
	e.Start()
	e.Load("busybox")
	if info, err := os.Stat(strings.TrimPrefix(e.Socket(), "unix://")); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("the socket: %v %v", info, err)
	}
	for _, client := range clients() {
		as := func(dir string, args ...string) []string {
			return append([]string{client, "-H", addr, "--tlsverify", "--tlscacert", file(own, "ca.pem"), "--tlscert", file(dir, "cert.pem"), "--tlskey", file(dir, "key.pem")}, args...)
		}
		cmd := e.Command(as(own, "run", "-i", "--rm", "busybox", "cat")...)
		cmd.Stdin = strings.NewReader("through")
		if out, err := cmd.Output(); err != nil || string(out) != "through" {
			t.Errorf("%s: %q %v", client, out, err)
		}
		for what, args := range map[string][]string{
			"a stranger":       as(strange, "ps"),
			"no certificate":   {client, "-H", addr, "--tls", "ps"},
			"plain text":       {client, "-H", addr, "ps"},
			"a strange daemon": {client, "-H", addr, "--tlsverify", "--tlscacert", file(strange, "ca.pem"), "--tlscert", file(own, "cert.pem"), "--tlskey", file(own, "key.pem"), "ps"},
		} {
			if out, _, code := e.Try(args...); code == 0 || strings.Contains(out, "CONTAINER ID") {
				t.Errorf("%s, %s: status %d: %s", client, what, code, out)
			}
		}
	}
}
