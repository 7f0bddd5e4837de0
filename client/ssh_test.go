package client

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

func TestSSHAddresses(t *testing.T) {
	command := []string{"sh", "-c", quoted(forward), "cove"}
	for address, want := range map[string][]string{
		"ssh://h":             append([]string{"-o", "ConnectTimeout=30", "-T", "--", "h"}, append(command, "system", "dial-stdio")...),
		"ssh://u@h:22":        append([]string{"-o", "ConnectTimeout=30", "-T", "-l", "u", "-p", "22", "--", "h"}, append(command, "system", "dial-stdio")...),
		"ssh://[::1]/run/a b": append([]string{"-o", "ConnectTimeout=30", "-T", "--", "::1"}, append(command, "--host", "'unix:///run/a b'", "system", "dial-stdio")...),
		"ssh://h/a'b":         append([]string{"-o", "ConnectTimeout=30", "-T", "--", "h"}, append(command, "--host", `'unix:///a'\''b'`, "system", "dial-stdio")...),
	} {
		f, err := parseSSH(address)
		if got := f.args(); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n got %q\nwant %q", address, err, got, want)
		}
	}
	for address, want := range map[string]string{
		"ssh://u:p@h": "plain-text password", "ssh://": "hostname is empty", "ssh://h?a=1": `query parameters are not allowed: "a=1"`, "ssh://h#a": "fragments",
		"ssh://-oProxyCommand=x": "dash", "ssh://-l@h": "dash", "ssh://h:x": "invalid port",
	} {
		if _, err := parseSSH(address); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

// TestSSHWithoutIt: neither a missing ssh nor one that ends at once leaves a user without a reason.
func TestSSHWithoutIt(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	c, err := New(Config{Host: "ssh://far.example.com"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Ping(context.Background()); err == nil || !strings.Contains(err.Error(), "needs the program ssh, which is not installed") {
		t.Error(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "ssh"), []byte("#!/bin/sh\necho nobody there >&2\nexit 255\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	const want = "Cannot connect to the daemon at ssh://far.example.com: ssh: exit status 255: nobody there\nMake sure that"
	if _, err := c.Ping(context.Background()); err == nil || !strings.HasPrefix(err.Error(), want) {
		t.Error(err)
	}
	if _, err := c.ContainerAttach(t.Context(), "x", AttachOptions{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Error(err)
	}
}
