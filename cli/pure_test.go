package cli

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
)

func TestTimes(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC)
	for s, want := range map[string]string{
		"0": "0", "1136073845": "1136073845", "1136073845.5": "1136073845.5", "-1": "-1",
		"10m": "1714978689.000000010", "0s": "1714979289.000000010",
		"2006-01-02T15:04:05Z": "1136214245.000000000", "2006-01-02T15:04:05.5Z": "1136214245.500000000",
		"2006-01-02T15:04:05+07:00": "1136189045.000000000", "2006-01-02T15:04Z": "1136214240.000000000", "2006-01-02": "1136160000.000000000",
		"2006-01-02T15": "1136214000.000000000", "2006-01-02T15:04:05": "1136214245.000000000",
	} {
		if got, err := parseTime(s, now); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"zz": `failed to parse value as time or duration: "zz"`, "1.2.3": `failed to parse value as time or duration: "1.2.3"`,
		"2006-01-02T15:04:0Z": `parsing time "2006-01-02T15:04:0Z" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "0Z" as "05"`,
	} {
		if got, err := parseTime(s, now); err == nil || err.Error() != want {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2006-01-02T15:04:05Z", "1.5", "-", "--T", "T::+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseTime(s, time.Unix(0, 0)) })
}

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"": defaultHost(), "unix:///x": "unix:///x", "1.2.3.4": "tcp://1.2.3.4:2375", "tcp://h:1": "tcp://h:1", ":2375": "tcp://localhost:2375",
		"tcp://[::1]": "tcp://[::1]:2375", "tcp://h/p": "tcp://h:2375/p", "npipe:////./x": "npipe:////./x", "ssh://u@h": "ssh://u@h",
	} {
		if got := parseHost(host, false); got != want {
			t.Errorf("%q: got %q, want %q", host, got, want)
		}
	}
	if got := parseHost("tcp://h", true); got != "tcp://h:2376" {
		t.Error(got)
	}
}

func TestWhichDaemon(t *testing.T) {
	for _, name := range []string{"COVE_HOST", "DOCKER_HOST", "COVE_CONTEXT", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_TLS"} {
		t.Setenv(name, "")
	}
	dir := t.TempDir()
	t.Setenv("COVE_CONFIG", dir)
	host := func(g globalFlags) string {
		settings, err := (&app{global: g, err: &bytes.Buffer{}}).address()
		if err != nil {
			return err.Error()
		}
		return settings.Host
	}
	if got := host(globalFlags{}); got != defaultHost() {
		t.Error(got)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.json"), []byte(`{"currentContext":"far"}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := host(globalFlags{}); !strings.HasPrefix(got, `context "far": context not found`) {
		t.Error(got)
	}
	t.Setenv("DOCKER_HOST", "unix:///d")
	if got := host(globalFlags{}); got != "unix:///d" {
		t.Error(got)
	}
	t.Setenv("COVE_HOST", "unix:///c")
	if got := host(globalFlags{}); got != "unix:///c" {
		t.Error(got)
	}
	if got := host(globalFlags{hosts: []string{"unix:///f"}}); got != "unix:///f" {
		t.Error(got)
	}
	if got := host(globalFlags{hosts: []string{"a", "b"}}); got != "specify only one -H" {
		t.Error(got)
	}
	if got := host(globalFlags{hosts: []string{"a"}, context: "far"}); got != "conflicting options: cannot specify both --host and --context" {
		t.Error(got)
	}
}

func TestProgress(t *testing.T) {
	now := time.Unix(100, 0)
	for _, c := range []struct {
		p     jsonstream.Progress
		width int
		want  string
	}{
		{jsonstream.Progress{}, 200, ""},
		{jsonstream.Progress{Current: 1500}, 200, "   1.5kB"},
		{jsonstream.Progress{Current: 50, Total: 100}, 200, "[=========================>                         ]      50B/100B"},
		{jsonstream.Progress{Current: 50, Total: 100}, 80, "     50B/100B"},
		{jsonstream.Progress{Current: 100, Total: 100}, 200, "[==================================================>]     100B/100B"},
		{jsonstream.Progress{Current: 200, Total: 100}, 80, "    200B"},
		{jsonstream.Progress{Current: 1, Total: 2, Units: "layers"}, 80, "1/2 layers"},
		{jsonstream.Progress{Current: 50, Total: 100, Start: 90}, 80, "     50B/100B 10s"},
	} {
		if got := bar(&c.p, c.width, now); got != c.want {
			t.Errorf("%+v\n got %q\nwant %q", c.p, got, c.want)
		}
	}
	var b bytes.Buffer
	p := newProgress(&b, nil)
	for _, m := range []jsonstream.Message{
		{Status: "Pulling fs layer", ID: "a", Progress: &jsonstream.Progress{}}, {Status: "Downloading", ID: "a", Progress: &jsonstream.Progress{Current: 1, Total: 2}},
		{Stream: "Loaded image: x\n"}, {Status: "Digest: y"},
	} {
		if err := p.show(m); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != "a: Pulling fs layer\nLoaded image: x\nDigest: y\n" {
		t.Errorf("got %q", b.String())
	}
	if err := p.show(jsonstream.Message{Error: &jsonstream.Error{Message: "no"}}); err == nil || err.Error() != "no" {
		t.Error(err)
	}
}

func TestPortLines(t *testing.T) {
	ports := network.PortMap{
		network.MustParsePort("80/tcp"):  {{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "8080"}, {HostIP: netip.MustParseAddr("::"), HostPort: "8080"}},
		network.MustParsePort("443/udp"): {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "99"}},
		network.MustParsePort("9/tcp"):   nil,
	}
	got, err := portLines(ports, []string{"c"})
	if err != nil || strings.Join(got, "|") != "80/tcp -> 0.0.0.0:8080|80/tcp -> [::]:8080|443/udp -> 127.0.0.1:99" {
		t.Error(got, err)
	}
	if got, err := portLines(ports, []string{"c", "443/udp"}); err != nil || strings.Join(got, "|") != "127.0.0.1:99" {
		t.Error(got, err)
	}
	for port, want := range map[string]string{"81": "Error: No public port '81' published for c", "x": `Error: invalid port (x): strconv.ParseUint: parsing "x": invalid syntax`} {
		if _, err := portLines(ports, []string{"c", port}); err == nil || err.Error() != want {
			t.Error(err)
		}
	}
}

func TestHelp(t *testing.T) {
	f := newFake(t)
	out, _, code := f.cove(t.Context(), "", "rm", "--help")
	want := `Usage:  cove rm [OPTIONS] CONTAINER [CONTAINER...]

Remove one or more containers

Aliases:
  cove container rm, cove container remove, cove rm

Options:
  -f, --force     Force the removal of a running container (uses SIGKILL)
  -l, --link      Remove the specified link
  -v, --volumes   Remove anonymous volumes associated with the container
`
	if out != want || code != 0 {
		t.Errorf("got %d\n%s", code, out)
	}
	out, _, _ = f.cove(t.Context(), "")
	for _, part := range []string{"Usage:  cove [OPTIONS] COMMAND\n", "\nCommon Commands:\n  run         Create and run", "\nManagement Commands:\n  container ", "\nGlobal Options:\n", "Run 'cove COMMAND --help' for more information on a command.\n"} {
		if !strings.Contains(out, part) {
			t.Errorf("%q is not in\n%s", part, out)
		}
	}
}

// TestEveryCommand asks every command for its help: flags that clash panic.
func TestEveryCommand(t *testing.T) {
	f := newFake(t)
	for _, e := range (&app{}).entries() {
		if e.group == "" {
			continue
		}
		out, errs, code := f.cove(t.Context(), "", e.name, "--help")
		if code != 0 || errs != "" || !strings.HasPrefix(out, "Usage:  cove "+e.name) {
			t.Errorf("%s: %d %q %q", e.name, code, errs, out)
		}
	}
	out, errs, code := f.cove(t.Context(), "", "completion", "bash")
	if code != 0 || errs != "" || !strings.Contains(out, "__start_cove") {
		t.Errorf("completion: %d %q", code, errs)
	}
}

func TestConfirm(t *testing.T) {
	f := newFake(t)
	out, errs, code := f.cove(t.Context(), "n\n", "container", "prune")
	if out != "WARNING! This will remove all stopped containers.\nAre you sure you want to continue? [y/N] " || errs != "" || code != 0 || f.seen() != "" {
		t.Errorf("%q %q %d %s", out, errs, code, f.seen())
	}
	_, _, code = f.cove(t.Context(), "Y\n", "container", "prune")
	if f.seen() != "POST /containers/prune" || code != 1 {
		t.Errorf("%d %s", code, f.seen())
	}
}

func TestMissingDaemon(t *testing.T) {
	f := newFake(t)
	f.host = "unix:///nowhere"
	const away = "Cannot connect to the Cove daemon at unix:///nowhere. Is the cove daemon running?\n"
	if _, errs, code := f.cove(t.Context(), "", "ps"); errs != away || code != 1 {
		t.Errorf("%q %d", errs, code)
	}
	if _, errs, code := f.cove(t.Context(), "", "run", "busybox"); errs != "cove: "+away+"\nRun 'cove run --help' for more information\n" || code != 125 {
		t.Errorf("%q %d", errs, code)
	}
	if out, errs, code := f.cove(t.Context(), "", "version"); !strings.HasPrefix(out, "Client:\n Version: ") || errs != away || code != 1 {
		t.Errorf("%q %q %d", out, errs, code)
	}
	if out, _, code := f.cove(t.Context(), "", "inspect", "x"); out != "[]\n" || code != 1 {
		t.Errorf("%q %d", out, code)
	}
}
