package listen

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestListenUnix(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "cove.sock")
	config := Config{Hosts: []string{"unix://" + path}}
	first, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	if entries, _ := os.ReadDir(filepath.Dir(path)); len(entries) != 1 {
		t.Errorf("left beside the socket: %v", entries)
	}
	if _, err := Open(config); err == nil || !strings.Contains(err.Error(), "another daemon answers") {
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
	second, err := Open(config)
	if err != nil {
		t.Fatal(err)
	}
	second[0].Close()

	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(config); !errors.Is(err, errdefs.ErrAlreadyExists) {
		t.Errorf("a file in the way: %v", err)
	}
}

// TestCloseLeavesAnothersSocket: a daemon that ends late does not take away its successor's socket.
func TestCloseLeavesAnothersSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	first, err := Open(Config{Hosts: []string{"unix://" + path}})
	if err != nil {
		t.Fatal(err)
	}
	os.Remove(path)
	second, err := Open(Config{Hosts: []string{"unix://" + path}})
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
		listeners, err := Open(Config{Hosts: []string{host}})
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
	if _, err := Open(Config{Hosts: []string{"unix://" + filepath.Join(t.TempDir(), "s")}, Group: "no-such-group-here"}); err == nil {
		t.Error("a group that is not there was taken")
	}
	dir := t.TempDir()
	if _, err := Open(Config{Hosts: []string{"unix://" + filepath.Join(dir, "s"), "tcp://0.0.0.0:0"}}); err == nil {
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
