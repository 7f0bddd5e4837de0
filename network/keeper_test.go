package network

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/google/nftables"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/state"
)

// instance is an engine's networks of this test alone, cleaned up whatever happens.
type instance struct {
	*Keeper
	cfg Config
	db  *state.DB
}

// testConfig is an instance's set-up whose names no other test and no engine has.
func testConfig(t testing.TB, nth int) Config {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: makes network namespaces, a bridge and a firewall table")
	}
	return Config{
		Mark: fmt.Sprintf("%x%05x", nth, os.Getpid()),
		BIP:  netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(os.Getpid()%120*2 + nth), 1}), 24),
	}
}

func start(t testing.TB, cfg Config) *instance {
	t.Helper()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	in := &instance{cfg: cfg, db: db}
	t.Cleanup(func() {
		if in.Keeper != nil {
			in.Close()
		}
		nft.Remove(cfg.TableName())
		bridge.Remove(cfg.BridgeName())
		db.Close()
	})
	in.open(t)
	return in
}

func (in *instance) open(t testing.TB) {
	t.Helper()
	var err error
	if in.Keeper, err = Open(in.cfg, in.db); err != nil {
		t.Fatal(err)
	}
}

// crash ends the keeper as SIGKILL would: what is in the kernel stays, what the process holds goes.
func (in *instance) crash() {
	in.bare.Close()
	for _, m := range in.members {
		m.resolver.close()
	}
	for _, l := range in.lans {
		if l.warm != nil {
			l.warm.Close()
		}
	}
	in.watch.Close()
	in.ports.Close()
	in.table.Close()
	in.Keeper = nil
}

func (in *instance) join(t testing.TB, id string, req Request) *Sandbox {
	t.Helper()
	box, err := in.Join(context.Background(), id, req)
	if err != nil {
		t.Fatal(err)
	}
	if box.NetNS != nil {
		t.Cleanup(func() { box.NetNS.Close(); in.leave(id) })
	}
	return box
}

func (in *instance) leave(id string) {
	if in.Keeper != nil {
		in.Leave(id)
	}
}

// inside runs fn on a thread in the namespace.
func inside(t testing.TB, ns *os.File, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		err := unix.Setns(int(ns.Fd()), unix.CLONE_NEWNET)
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// serve answers every connection to port inside the namespace with who it came from.
func serve(t testing.TB, ns *os.File, port int) {
	t.Helper()
	serveOn(t, ns, "tcp4", port)
}

// ask connects and returns what the server answers, or the error.
func ask(address string) string { return askBy(net.Dialer{Timeout: dialTime}, address) }

const (
	// dialTime lets one packet be lost: it is sent again after a second.
	dialTime = 2500 * time.Millisecond
	// shutTime is for those who are not to be let in: what is let through is there at once.
	shutTime = 700 * time.Millisecond
)

func askBy(d net.Dialer, address string) string {
	c, err := d.Dial("tcp4", address)
	if err != nil {
		return "error: " + err.Error()
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(dialTime))
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil {
		return "error: " + err.Error()
	}
	return strings.TrimSpace(line)
}

func askFrom(t testing.TB, ns *os.File, address string) (answer string) {
	inside(t, ns, func() { answer = ask(address) })
	return answer
}

func port(p string) nt.Port { return nt.MustParsePort(p) }

func TestContainersTalkToEachOtherAndToTheHost(t *testing.T) {
	in := start(t, testConfig(t, 0))
	a := in.join(t, "a", Request{Name: "one"})
	b := in.join(t, "b", Request{Name: "two", Mode: "bridge"})
	for _, box := range []*Sandbox{a, b} {
		e := box.Endpoints["bridge"]
		ip := e.IPAddress.As4()
		if want := fmt.Sprintf("02:42:%02x:%02x:%02x:%02x", ip[0], ip[1], ip[2], ip[3]); e.MacAddress.String() != want {
			t.Errorf("MAC %s, want %s", e.MacAddress, want)
		}
		if e.Gateway != in.cfg.BIP.Addr() || e.IPPrefixLen != 24 || len(e.EndpointID) != 64 || len(box.ID) != 64 || e.NetworkID == "" {
			t.Errorf("endpoint %+v", e)
		}
	}
	serve(t, b.NetNS, 80)
	addressA, addressB := a.Endpoints["bridge"].IPAddress.String(), b.Endpoints["bridge"].IPAddress.String()
	if got := askFrom(t, a.NetNS, addressB+":80"); got != addressA {
		t.Errorf("container to container: %s", got)
	}
	if got := ask(addressB + ":80"); got != in.cfg.BIP.Addr().String() {
		t.Errorf("host to container: %s", got)
	}
	host, err := net.Listen("tcp4", in.cfg.BIP.Addr().String()+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer host.Close()
	go func() {
		if c, err := host.Accept(); err == nil {
			fmt.Fprintln(c, "host")
			c.Close()
		}
	}()
	if got := askFrom(t, a.NetNS, host.Addr().String()); got != "host" {
		t.Errorf("container to host: %s", got)
	}
	n, err := in.Inspect("bridge")
	if err != nil || n.Containers["a"].Name != "one" || n.Containers["b"].IPv4Address.String() != addressB+"/24" {
		t.Errorf("inspect: %v %+v", err, n)
	}
}

// outside makes a namespace that stands for the world: reached by the host alone, with no route back to containers.
func outside(t *testing.T, cfg Config) (*bridge.Namespace, string) {
	t.Helper()
	ns, err := bridge.NewNamespace()
	if err != nil {
		t.Fatal(err)
	}
	name := "cw" + cfg.Mark
	subnet := cfg.BIP.Addr().As4()
	hostEnd := netip.AddrFrom4([4]byte{198, 19, subnet[2], 1})
	world := netip.AddrFrom4([4]byte{198, 19, subnet[2], 2})
	host, err := bridge.Ensure(bridge.Wish{Name: name, Addresses: []netip.Prefix{netip.PrefixFrom(hostEnd, 24)}, MTU: 1400})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close(); bridge.Remove(name) })
	err = host.Attach(ns, bridge.Port{Name: "cx" + cfg.Mark, Inside: "eth0", MTU: 1400, Addresses: []netip.Prefix{netip.PrefixFrom(world, 24)},
		MAC: []byte{2, 0, 0, 0, 0, 9}, Gateways: []netip.Addr{netip.AddrFrom4([4]byte{198, 19, subnet[2], 9})}})
	if err != nil {
		t.Fatal(err)
	}
	return ns, world.String()
}

func TestWhatLeavesHasTheHostsAddress(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	world, address := outside(t, cfg)
	serve(t, world.File, 8000)
	box := in.join(t, "a", Request{Name: "one"})
	want := strings.TrimSuffix(address, ".2") + ".1"
	if got := askFrom(t, box.NetNS, address+":8000"); got != want {
		t.Errorf("the world sees %q, want the host's address %s", got, want)
	}
	// The world, however it gets a route, reaches no port that is not published.
	serve(t, box.NetNS, 80)
	inside(t, world.File, func() {
		link, err := netlink.LinkByName("eth0")
		if err != nil {
			t.Error(err)
			return
		}
		_, dst, _ := net.ParseCIDR(cfg.BIP.Masked().String())
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: net.ParseIP(want)}); err != nil {
			t.Error(err)
		}
	})
	if got := shutFrom(t, world.File, box.Endpoints["bridge"].IPAddress.String()+":80"); !strings.HasPrefix(got, "error") {
		t.Errorf("the world reaches a port that is not published: %s", got)
	}
}

func TestInstancesAreApart(t *testing.T) {
	one, two := start(t, testConfig(t, 0)), start(t, testConfig(t, 1))
	a, b := one.join(t, "a", Request{}), two.join(t, "b", Request{})
	serve(t, b.NetNS, 80)
	if got := shutFrom(t, a.NetNS, b.Endpoints["bridge"].IPAddress.String()+":80"); !strings.HasPrefix(got, "error") {
		t.Errorf("a container reaches another engine's: %s", got)
	}
}

func TestPublishedPorts(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	world, _ := outside(t, cfg)
	hostAddress := netip.AddrFrom4([4]byte{198, 19, cfg.BIP.Addr().As4()[2], 1}).String()
	box := in.join(t, "a", Request{
		Name: "web", Exposed: nt.PortSet{port("80/tcp"): {}, port("81/tcp"): {}},
		Ports: nt.PortMap{port("80/tcp"): {{}, {HostIP: netip.MustParseAddr("127.0.0.1")}}},
	})
	peer := in.join(t, "b", Request{Name: "peer"})
	serve(t, box.NetNS, 80)
	shown := box.Ports[port("80/tcp")]
	if len(shown) != 3 || shown[0].HostIP.String() != "0.0.0.0" || shown[2].HostIP.String() != "127.0.0.1" || shown[0].HostPort == shown[2].HostPort {
		t.Fatalf("ports: %v", box.Ports)
	}
	if bound, exposed := box.Ports[port("81/tcp")]; !exposed || bound != nil {
		t.Errorf("an exposed port: %v", box.Ports)
	}
	everywhere, loopback := ":"+shown[0].HostPort, ":"+shown[2].HostPort
	own := box.Endpoints["bridge"].IPAddress.String()
	for _, tc := range []struct {
		who  string
		from *os.File
		to   string
		fine bool
	}{
		{"host by loopback", nil, "127.0.0.1" + everywhere, true},
		{"host by another address", nil, hostAddress + everywhere, true},
		{"world", world.File, hostAddress + everywhere, true},
		{"neighbour", peer.NetNS, hostAddress + everywhere, true},
		{"neighbour by the gateway", peer.NetNS, cfg.BIP.Addr().String() + everywhere, true},
		{"itself", box.NetNS, hostAddress + everywhere, true},
		{"host to the port on loopback", nil, "127.0.0.1" + loopback, true},
		{"host by another address to the port on loopback", nil, hostAddress + loopback, false},
		{"world to the port on loopback", world.File, hostAddress + loopback, false},
		{"neighbour to the port on loopback", peer.NetNS, hostAddress + loopback, false},
	} {
		got := ""
		if tc.from == nil {
			got = ask(tc.to)
		} else {
			got = asking(tc.fine)(t, tc.from, tc.to)
		}
		if fine := !strings.HasPrefix(got, "error"); fine != tc.fine {
			t.Errorf("%s: %s", tc.who, got)
		}
	}
	if got := askFrom(t, world.File, hostAddress+everywhere); got != hostAddress[:len(hostAddress)-1]+"2" {
		t.Errorf("the container sees the world as %s", got)
	}
	in.Leave("a")
	if got := ask("127.0.0.1" + everywhere); !strings.Contains(got, "refused") {
		t.Errorf("after leaving: %s (was %s)", got, own)
	}
	box.NetNS.Close()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		flows, err := os.ReadFile("/proc/net/nf_conntrack")
		if err != nil || !strings.Contains(string(flows), "="+own+" ") {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Error("the kernel remembers connections of a container that has left")
}

func TestTakenPorts(t *testing.T) {
	in := start(t, testConfig(t, 0))
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, used, _ := net.SplitHostPort(listener.Addr().String())
	any := in.join(t, "a", Request{Name: "first", Ports: nt.PortMap{port("80/tcp"): {{}}}}).Ports[port("80/tcp")][0].HostPort
	for _, tc := range []struct {
		ports nt.PortMap
		want  string
	}{
		{nt.PortMap{port("80/tcp"): {{HostPort: any}}}, "Bind for 0.0.0.0:" + any + " failed: port is already allocated"},
		{nt.PortMap{port("1/tcp"): {{HostPort: any, HostIP: netip.MustParseAddr("127.0.0.1")}}}, "Bind for 127.0.0.1:" + any + " failed: port is already allocated"},
		{nt.PortMap{port("80/tcp"): {{HostPort: used}}}, "failed to bind host port 0.0.0.0:" + used + "/tcp: address already in use"},
	} {
		_, err := in.Join(context.Background(), "b", Request{Name: "second", Ports: tc.ports})
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.HasPrefix(err.Error(), "failed to set up container networking: driver failed programming external connectivity on endpoint second (") {
			t.Errorf("%v: %v", tc.ports, err)
		}
	}
	in.join(t, "c", Request{Ports: nt.PortMap{port("80/udp"): {{HostPort: any}}}})
	for range 20 {
		in.Leave("a")
		in.join(t, "a", Request{Ports: nt.PortMap{port("80/tcp"): {{HostPort: any}}}})
	}
}

func TestContainersOutliveTheKeeper(t *testing.T) {
	in := start(t, testConfig(t, 0))
	a := in.join(t, "a", Request{Name: "one", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	b := in.join(t, "b", Request{Name: "two", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serve(t, a.NetNS, 80)
	serve(t, b.NetNS, 80)
	address := func(s *Sandbox) string { return "127.0.0.1:" + s.Ports[port("80/tcp")][0].HostPort }
	in.crash()
	if got := ask(address(a)); strings.HasPrefix(got, "error") {
		t.Errorf("without a keeper: %s", got)
	}
	in.open(t)
	if got := ask(address(a)); strings.HasPrefix(got, "error") {
		t.Errorf("before restoring: %s", got)
	}
	if err := in.Restore("a", *a, Request{Name: "one"}); err != nil {
		t.Fatal(err)
	}
	if err := in.Sweep(); err != nil {
		t.Fatal(err)
	}
	if got := ask(address(a)); strings.HasPrefix(got, "error") {
		t.Errorf("after restoring: %s", got)
	}
	if got := ask(address(b)); !strings.HasPrefix(got, "error") {
		t.Errorf("a container that was not restored is published: %s", got)
	}
	for i := range 12 {
		e := in.join(t, fmt.Sprint("new", i), Request{}).Endpoints["bridge"]
		if e.IPAddress == a.Endpoints["bridge"].IPAddress {
			t.Fatal("the address of a living container was given away")
		}
	}
	_, err := in.Join(context.Background(), "c", Request{Ports: nt.PortMap{port("80/tcp"): {{HostPort: a.Ports[port("80/tcp")][0].HostPort}}}})
	if err == nil || !strings.Contains(err.Error(), "already allocated") {
		t.Errorf("the port of a living container: %v", err)
	}
}

func TestNothingIsLeft(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	boxes := []*Sandbox{in.join(t, "a", Request{Ports: nt.PortMap{port("80/tcp"): {{}}}}), in.join(t, "b", Request{Mode: "none"})}
	for i := range 10 {
		boxes = append(boxes, in.join(t, fmt.Sprint(i), Request{}))
	}
	for _, b := range boxes {
		b.NetNS.Close()
	}
	for _, id := range []string{"a", "b", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "9", "unknown"} {
		if err := in.Leave(id); err != nil {
			t.Error(err)
		}
	}
	if err := in.Close(); err != nil {
		t.Error(err)
	}
	in.Keeper = nil
	links, err := netlink.LinkList()
	if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
		t.Fatal(err)
	}
	for _, l := range links {
		if name := l.Attrs().Name; name == cfg.BridgeName() || strings.HasPrefix(name, cfg.VethPrefix()) {
			t.Errorf("device %s is left", name)
		}
	}
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ListTableOfFamily(cfg.TableName(), nftables.TableFamilyIPv4); err == nil {
		t.Error("the table is left")
	}
}

func TestTableComesBack(t *testing.T) {
	cfg := testConfig(t, 0)
	in := start(t, cfg)
	box := in.join(t, "a", Request{Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serve(t, box.NetNS, 80)
	if err := nft.Remove(cfg.TableName()); err != nil {
		t.Fatal(err)
	}
	address := "127.0.0.1:" + box.Ports[port("80/tcp")][0].HostPort
	var got string
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
		if got = ask(address); !strings.HasPrefix(got, "error") {
			return
		}
	}
	t.Errorf("after the table was removed: %s", got)
}

func TestModes(t *testing.T) {
	in := start(t, testConfig(t, 0))
	none := in.join(t, "n", Request{Mode: "none"})
	inside(t, none.NetNS, func() {
		links, err := netlink.LinkList()
		if err != nil || len(links) != 1 || links[0].Attrs().Flags&net.FlagUp == 0 {
			t.Errorf("none: %v %v", links, err)
		}
	})
	if e := none.Endpoints["none"]; e == nil || e.EndpointID == "" || e.IPAddress.IsValid() {
		t.Errorf("none: %+v", none.Endpoints)
	}
	host := in.join(t, "h", Request{Mode: "host", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	if host.NetNS != nil || host.Endpoints["host"] == nil || len(host.Ports) != 0 {
		t.Errorf("host: %+v", host)
	}
	shared := in.join(t, "s", Request{Mode: "container:n", NetNS: none.NetNS})
	if shared.NetNS != none.NetNS || len(shared.Endpoints) != 0 {
		t.Errorf("container: %+v", shared)
	}
	if _, err := in.Join(context.Background(), "x", Request{Mode: "nosuch"}); !errdefs.IsNotFound(err) || !strings.HasSuffix(err.Error(), ": network nosuch not found") {
		t.Errorf("unknown network: %v", err)
	}
	mac := nt.HardwareAddr{2, 1, 2, 3, 4, 5}
	box := in.join(t, "m", Request{Networks: map[string]*nt.EndpointSettings{"bridge": {MacAddress: mac}}})
	inside(t, box.NetNS, func() {
		link, err := netlink.LinkByName("eth0")
		if err != nil || link.Attrs().HardwareAddr.String() != mac.String() {
			t.Errorf("MAC: %v %v", link, err)
		}
	})
}
