package option

import (
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

func TestRead(t *testing.T) {
	for _, tc := range []struct {
		driver, key, text string
		kind              func(error) bool
		says              string
	}{
		{"bridge", Bridge, "br-x", nil, ""},
		{"bridge", Bridge, "a name", errdefs.IsInvalidArgument, "invalid name of a network device"},
		{"bridge", Bridge, "all", errdefs.IsInvalidArgument, "invalid name"},
		{"bridge", ICC, "maybe", errdefs.IsInvalidArgument, "failed to parse com.docker.network.bridge.enable_icc value: maybe (strconv.ParseBool"},
		{"bridge", HostIP, "::1", nil, ""},
		{"bridge", HostIP, "here", errdefs.IsInvalidArgument, "value: here (nil ip)"},
		{"bridge", Source4, "::1", errdefs.IsInvalidArgument, "(nil ip)"},
		{"bridge", Source6, "2001:db8::1", nil, ""},
		{"bridge", Trusted, "eth1:vxlan.1", nil, ""},
		{"bridge", Trusted, "eth1:a device", errdefs.IsInvalidArgument, "invalid name of a network device"},
		{"bridge", Inhibit, "2", errdefs.IsInvalidArgument, "failed to parse com.docker.network.bridge.inhibit_ipv4"},
		{"bridge", MTU, "67", errdefs.IsInvalidArgument, "failed to parse"},
		{"bridge", MTU, "0", nil, ""},
		{"bridge", Prefix, "a-name-of-15-ch", errdefs.IsInvalidArgument, "invalid name"},
		{"bridge", Gateway4, "nat", nil, ""},
		{"bridge", Gateway4, "nat-unprotected", nil, ""},
		{"bridge", Gateway6, "routed", nil, ""},
		{"bridge", Gateway6, "isolated", nil, ""},
		{"bridge", Gateway4, "bridged", errdefs.IsInvalidArgument,
			"failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: bridged (unknown gateway mode bridged)"},
		{"macvlan", Gateway4, "routed", errdefs.IsInvalidArgument, "driver bridge"},
		{"bridge", Default, "true", errdefs.IsNotImplemented, "default_bridge=true"},
		{"bridge", "com.docker.network.bridge.nonsense", "x", nil, ""},
		{"bridge", "cove.network.nonsense", "x", errdefs.IsInvalidArgument, "unknown option"},
		{"bridge", "org.example", "x", nil, ""},
		{"bridge", "parent", "eth0", nil, ""},
		{"macvlan", "parent", "eth0.50", nil, ""},
		{"macvlan", "macvlan_mode", "private", nil, ""},
		{"macvlan", "macvlan_mode", "l2", errdefs.IsInvalidArgument, `requested macvlan mode "l2" is not valid`},
		{"macvlan", ICC, "true", errdefs.IsInvalidArgument, "driver bridge"},
		{"ipvlan", "ipvlan_mode", "l3", nil, ""},
		{"ipvlan", "ipvlan_flag", "l3", errdefs.IsInvalidArgument, ""},
	} {
		_, err := Read(tc.driver, map[string]string{tc.key: tc.text})
		if (err == nil) != (tc.kind == nil) || err != nil && (!tc.kind(err) || !strings.Contains(err.Error(), tc.says)) {
			t.Errorf("%s %s=%s: %v", tc.driver, tc.key, tc.text, err)
		}
	}
	n, err := Read("macvlan", map[string]string{"parent": "eth0"})
	if err != nil || n.Mode != "bridge" || n.Parent != "eth0" {
		t.Errorf("%+v %v", n, err)
	}
}

func TestFamilies(t *testing.T) {
	four, six, err := Families(map[string]string{Enable6: "true"})
	if four != nil || six == nil || !*six || err != nil {
		t.Errorf("%v %v %v", four, six, err)
	}
	if _, _, err := Families(map[string]string{Enable4: "perhaps"}); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

func TestReadEndpoint(t *testing.T) {
	e, err := ReadEndpoint(map[string]string{deviceName: "wan0", Routing: "true", sysctls: "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.ifname.mcast_solicit=5", "org.example": "x"})
	if err == nil {
		_, err = ReadEndpoint(map[string]string{"com.docker.network.endpoint.x": "y"})
	}
	if err != nil || e.Device != "wan0" || !e.Routing || e.Sysctls["ipv4/conf/IFNAME/log_martians"] != "1" || len(e.Sysctls) != 2 {
		t.Errorf("%+v %v", e, err)
	}
	for key, text := range map[string]string{
		deviceName: "a b", Routing: "x", sysctls: "net.ipv4.ip_forward=1", "cove.network.x": "",
	} {
		if _, err := ReadEndpoint(map[string]string{key: text}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s=%s: %v", key, text, err)
		}
	}
	if _, err := ReadEndpoint(map[string]string{sysctls: "net.ipv4.conf.IFNAME.../x=1"}); !errdefs.IsInvalidArgument(err) {
		t.Errorf("a path: %v", err)
	}
}

func FuzzSysctls(f *testing.F) {
	f.Add("net.ipv4.conf.IFNAME.log_martians=1")
	f.Fuzz(func(t *testing.T, text string) {
		all, err := readSysctls(text)
		for name := range all {
			if err == nil && (strings.Contains(name, "..") || strings.HasPrefix(name, "/")) {
				t.Errorf("%q: %q", text, name)
			}
		}
	})
}
