package format

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/api/types/network"
)

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
		{jsonstream.Progress{Current: 50, Total: 100}, 80, "[==========>          ]      50B/100B"},
		{jsonstream.Progress{Current: 50, Total: 100}, 60, "     50B/100B"},
		{jsonstream.Progress{Current: 100, Total: 100}, 200, "[==================================================>]     100B/100B"},
		{jsonstream.Progress{Current: 200, Total: 100}, 60, "    200B"},
		{jsonstream.Progress{Current: 1, Total: 2, Units: "layers"}, 60, "1/2 layers"},
		{jsonstream.Progress{Current: 50, Total: 100, Start: 90}, 60, "     50B/100B 10s"},
	} {
		if got := bar(&c.p, c.width, now); got != c.want {
			t.Errorf("%+v\n got %q\nwant %q", c.p, got, c.want)
		}
	}
	var b bytes.Buffer
	p := NewProgress(&b, nil)
	for _, m := range []jsonstream.Message{
		{Status: "Pulling fs layer", ID: "a", Progress: &jsonstream.Progress{}}, {Status: "Downloading", ID: "a", Progress: &jsonstream.Progress{Current: 1, Total: 2}},
		{Stream: "Loaded image: x\n"}, {Status: "Digest: y"},
	} {
		if err := p.Show(m); err != nil {
			t.Fatal(err)
		}
	}
	if b.String() != "a: Pulling fs layer\nLoaded image: x\nDigest: y\n" {
		t.Errorf("got %q", b.String())
	}
	if err := p.Show(jsonstream.Message{Error: &jsonstream.Error{Message: "no"}}); err == nil || err.Error() != "no" {
		t.Error(err)
	}
}

func TestPortLines(t *testing.T) {
	ports := network.PortMap{
		network.MustParsePort("80/tcp"):  {{HostIP: netip.MustParseAddr("0.0.0.0"), HostPort: "8080"}, {HostIP: netip.MustParseAddr("::"), HostPort: "8080"}},
		network.MustParsePort("443/udp"): {{HostIP: netip.MustParseAddr("127.0.0.1"), HostPort: "99"}},
		network.MustParsePort("9/tcp"):   nil,
	}
	got, err := PortLines(ports, []string{"c"})
	if err != nil || strings.Join(got, "|") != "80/tcp -> 0.0.0.0:8080|80/tcp -> [::]:8080|443/udp -> 127.0.0.1:99" {
		t.Error(got, err)
	}
	if got, err := PortLines(ports, []string{"c", "443/udp"}); err != nil || strings.Join(got, "|") != "127.0.0.1:99" {
		t.Error(got, err)
	}
	for port, want := range map[string]string{"81": "Error: No public port '81' published for c", "x": `Error: invalid port (x): strconv.ParseUint: parsing "x": invalid syntax`} {
		if _, err := PortLines(ports, []string{"c", port}); err == nil || err.Error() != want {
			t.Error(err)
		}
	}
}
