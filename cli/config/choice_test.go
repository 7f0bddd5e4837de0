package config

import (
	"strings"
	"testing"
)

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"": DefaultHost(), "unix:///x": "unix:///x", "1.2.3.4": "tcp://1.2.3.4:2375", "tcp://h:1": "tcp://h:1", ":2375": "tcp://localhost:2375",
		"tcp://[::1]": "tcp://[::1]:2375", "tcp://[::1]:": "tcp://[::1]:2375", "tcp://h/p": "tcp://h:2375/p", "ssh://u@h": "ssh://u@h", "tcp://": "tcp://localhost:2375",
		" unix:///x ": "unix:///x", "unix://": "unix:///run/cove/cove.sock", "npipe:////./x": "npipe:////./x", `npipe://\\.\pipe\x`: `npipe://\\.\pipe\x`,
		"npipe://": "npipe:////./pipe/cove_engine", "http://h:1": "http://h:1",
		"nope://x": "! invalid bind address format: nope://x", "unix://a://b": "! invalid proto, expected unix: a://b",
		"npipe://a://b": "! invalid proto, expected npipe: a://b", "tcp://a://b": "! invalid proto, expected tcp: a://b",
		"tcp://h:x": `! parse "tcp://h:x": invalid port ":x" after host`, "npipe:\\\\.\\pipe": "! parse",
	} {
		got, err := ParseHost(host, false)
		if err != nil {
			got = "! " + err.Error()
		}
		if got != want && (want != "! parse" || !strings.HasPrefix(got, want)) {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
	if got, err := ParseHost("tcp://h", true); got != "tcp://h:2376" || err != nil {
		t.Error(got, err)
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
	if got := host(Choice{Hosts: []string{"a", "b"}}); got != "Specify only one -H" {
		t.Error(got)
	}
	if got := host(Choice{Hosts: []string{"a"}, Context: "far"}); got != "conflicting options: cannot specify both --host and --context" {
		t.Error(got)
	}
}
