package client

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestTLS(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "" {
			io.WriteString(w, `{"Version":"1"}`)
			return
		}
		takeOver(w, "application/vnd.docker.multiplexed-stream", func(conn net.Conn, in *bufio.Reader) {
			all, _ := io.ReadAll(in)
			conn.Write(all)
		})
	}))
	defer server.Close()
	trusted := x509.NewCertPool()
	trusted.AddCert(server.Certificate())
	host := "tcp://" + server.Listener.Addr().String()
	for name, c := range map[string]struct {
		config *tls.Config
		ok     bool
	}{
		"trusted":  {&tls.Config{RootCAs: trusted}, true},
		"unproved": {&tls.Config{}, false},
		"careless": {&tls.Config{InsecureSkipVerify: true}, true},
		"plain":    {nil, false},
	} {
		client, err := New(Config{Host: host, TLS: c.config})
		if err != nil {
			t.Fatal(err)
		}
		if v, err := client.ServerVersion(t.Context()); (err == nil && v.Version == "1") != c.ok {
			t.Errorf("%s: %v, %v", name, v, err)
		}
		client.Close()
	}
	client, err := New(Config{Host: host, TLS: &tls.Config{RootCAs: trusted}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := client.ContainerAttach(t.Context(), "x", AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	io.WriteString(s, "over TLS")
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "over TLS" {
		t.Errorf("%q, %v", got, err)
	}
}
