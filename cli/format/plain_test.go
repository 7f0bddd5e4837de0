package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"testing"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/api/types/system"
)

func inspected() container.InspectResponse {
	hardware := network.HardwareAddr{2, 0, 0, 0, 0, 1}
	return container.InspectResponse{
		Name: "/c", State: &container.State{Running: true},
		HostConfig: &container.HostConfig{
			NetworkMode: "none", DNS: []netip.Addr{netip.MustParseAddr("9.9.9.9")},
			Resources:    container.Resources{Memory: 5},
			PortBindings: network.PortMap{network.MustParsePort("80/tcp"): {{HostPort: "8080"}}},
		},
		NetworkSettings: &container.NetworkSettings{
			Ports: network.PortMap{network.MustParsePort("80/tcp"): {{HostIP: netip.MustParseAddr("::"), HostPort: "8080"}}, network.MustParsePort("81/udp"): nil},
			Networks: map[string]*network.EndpointSettings{
				"a": {IPAddress: netip.MustParseAddr("10.0.0.2"), MacAddress: hardware, IPPrefixLen: 24},
				"b": {IPAMConfig: &network.EndpointIPAMConfig{}},
			},
		},
	}
}

// TestPlain shows what scripts read of addresses and ports.
func TestPlain(t *testing.T) {
	for layout, want := range map[string]string{
		`{{range .NetworkSettings.Networks}}[{{.IPAddress}} {{.Gateway}} {{.MacAddress}} {{.GlobalIPv6Address}}]{{end}}`:                                 "[10.0.0.2  02:00:00:00:00:01 ][   ]",
		`{{range .NetworkSettings.Networks}}{{if .IPAddress}}yes{{else}}no{{end}} {{eq .Gateway ""}} {{end}}`:                                            "yes true no true ",
		`{{(index (index .NetworkSettings.Ports "80/tcp") 0).HostPort}} {{range .HostConfig.PortBindings}}{{range .}}{{.HostPort}}{{end}}{{end}}`:        "8080 8080",
		`{{range $p, $b := .NetworkSettings.Ports}}{{$p}} {{$p.Port}} {{$p.Int}} {{$p.Proto}} {{eq $p "80/tcp"}} {{range $b}}{{.HostIP}}{{end}};{{end}}`: "80/tcp 80 80 tcp true ::;81/udp 81 81 udp false ;",
		`{{.HostConfig.DNS}} {{join .HostConfig.DNS ","}} {{.HostConfig.Memory}} {{.HostConfig.NetworkMode.IsNone}}`:                                     "[9.9.9.9] 9.9.9.9 5 true",
		`{{with index .NetworkSettings.Networks "b"}}{{.IPAMConfig.IPv4Address}}{{end}}|{{.State.Running}}`:                                              "|true",
	} {
		shown, err := NewInspector(layout)
		if err != nil {
			t.Fatal(err)
		}
		var b bytes.Buffer
		raw, err := json.Marshal(inspected())
		if err != nil {
			t.Fatal(err)
		}
		if err := shown.Add(inspected(), raw); err != nil {
			t.Errorf("%s: %v", layout, err)
		}
		if err := shown.Flush(&b); err != nil || b.String() != want+"\n" {
			t.Errorf("%s: %q, want %q (%v)", layout, b.String(), want, err)
		}
	}
	net := network.Inspect{Network: network.Network{IPAM: network.IPAM{Config: []network.IPAMConfig{{Subnet: netip.MustParsePrefix("10.0.0.0/8")}}}}}
	shown, err := NewInspector(`{{range .IPAM.Config}}[{{.Subnet}}|{{.IPRange}}|{{.Gateway}}]{{end}}`)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := errors.Join(shown.Add(net, nil), shown.Flush(&b)); err != nil || b.String() != "[10.0.0.0/8||]\n" {
		t.Errorf("%q, %v", b.String(), err)
	}
}

// TestPlainJSON: what is shown as JSON stays the same.
func TestPlainJSON(t *testing.T) {
	full := inspected()
	info := system.Info{DefaultAddressPools: []system.NetworkAddressPool{{Base: netip.MustParsePrefix("10.0.0.0/8"), Size: 24}}}
	for _, v := range []any{full, &full, container.InspectResponse{}, network.Inspect{}, info, map[string]any{"a": 1}, nil, (*container.InspectResponse)(nil)} {
		want, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := json.Marshal(plain(v))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%T: %s, want %s (%v)", v, got, want, err)
		}
	}
}
