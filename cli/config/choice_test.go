package config

import (
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"": DefaultHost(), "unix:///x": "unix:///x", "1.2.3.4": "tcp://1.2.3.4:2375", "tcp://h:1": "tcp://h:1", ":2375": "tcp://localhost:2375",
		"tcp://[::1]": "tcp://[::1]:2375", "tcp://h/p": "tcp://h:2375/p", "npipe:////./x": "npipe:////./x", "ssh://u@h": "ssh://u@h",
	} {
		if got := ParseHost(host, false); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
	if got := ParseHost("tcp://h", true); got != "tcp://h:2376" {
		t.Error(got)
	}
}

func TestWhichDaemon(t *testing.T) {
	for _, name := range []string{"COVE_HOST", "DOCKER_HOST", "COVE_CONTEXT", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	host := func(c Choice) string {
		host, _, err := load(t, dir).Address(c)
		if err != nil {
			return err.Error()
		}
		return host
	}
	if got := host(Choice{}); got != DefaultHost() {
		t.Error(got)
	}
	write(t, dir, "config.json", `{"currentContext":"far"}`)
	if got := host(Choice{}); !strings.HasPrefix(got, `context "far": context not found`) {
		t.Error(got)
	}
	t.Setenv("DOCKER_HOST", "unix:///d")
	if got := host(Choice{}); got != "unix:///d" {
		t.Error(got)
	}
	t.Setenv("COVE_HOST", "unix:///c")
	if got := host(Choice{}); got != "unix:///c" {
		t.Error(got)
	}
	if got := host(Choice{Hosts: []string{"unix:///f"}}); got != "unix:///f" {
		t.Error(got)
	}
	if got := host(Choice{Hosts: []string{"a", "b"}}); got != "specify only one -H" {
		t.Error(got)
	}
	if got := host(Choice{Hosts: []string{"a"}, Context: "far"}); got != "conflicting options: cannot specify both --host and --context" {
		t.Error(got)
	}
}
