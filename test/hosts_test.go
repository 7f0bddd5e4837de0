package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// wire is a link with hosts of a test's own on it: each is a network namespace with addresses of both families.
type wire struct {
	t     *testing.T
	hosts int
}

// station is one of them.
type station struct {
	*wire
	name      string
	four, six netip.Addr
}

func newWire(t *testing.T) *wire {
	t.Helper()
	needRoot(t)
	w := &wire{t: t}
	w.ip("netns", "add", w.named("wire"))
	t.Cleanup(func() { exec.Command("ip", "netns", "del", w.named("wire")).Run() })
	w.ip("-n", w.named("wire"), "link", "add", "name", "wire", "type", "bridge", "mcast_snooping", "0")
	w.ip("-n", w.named("wire"), "link", "set", "wire", "up")
	return w
}

func (w *wire) named(host string) string { return fmt.Sprintf("cvtest%d-%s", os.Getpid(), host) }

func (w *wire) ip(args ...string) {
	w.t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		w.t.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// host puts one more host on the wire.
func (w *wire) host(name string) *station {
	w.t.Helper()
	w.hosts++
	s := &station{
		wire: w, name: w.named(name), four: netip.AddrFrom4([4]byte{203, 0, 113, byte(w.hosts)}),
		six: netip.MustParseAddr(fmt.Sprintf("2001:db8:cafe::%d", w.hosts)),
	}
	w.ip("netns", "add", s.name)
	w.t.Cleanup(func() { exec.Command("ip", "netns", "del", s.name).Run() })
	port := fmt.Sprint("p", w.hosts)
	w.ip("-n", s.name, "link", "set", "lo", "up")
	w.ip("-n", s.name, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", w.named("wire"))
	w.ip("-n", w.named("wire"), "link", "set", port, "master", "wire", "up")
	w.ip("-n", s.name, "link", "set", "eth0", "up")
	w.ip("-n", s.name, "addr", "add", s.four.String()+"/24", "dev", "eth0")
	w.ip("-n", s.name, "addr", "add", s.six.String()+"/64", "dev", "eth0", "nodad")
	return s
}

// engine is one that runs on the host, with the pools that every engine has by itself.
func (s *station) engine(args ...string) *Engine {
	e := newEngine(s.t)
	e.Args = args
	// /sys tells of the devices of the network namespace that it was mounted from.
	e.Shell = fmt.Sprintf(`set -- nsenter --net=/run/netns/%s unshare --mount --propagation slave sh -c '
		mkdir -p %[2]s && mount --rbind /sys/fs/cgroup %[2]s && mount -t sysfs sysfs /sys && mount --rbind %[2]s /sys/fs/cgroup && umount -l %[2]s && exec "$@"' sh "$@"`,
		s.name, filepath.Join(e.Dir, "cgroup"))
	return e
}

// do runs fn on a thread of the host.
func (s *station) do(fn func()) {
	s.t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		ns, err := netns.GetFromName(s.name)
		if err == nil {
			defer ns.Close()
			err = netns.Set(ns)
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

// serve tells everybody who connects who they are.
func (s *station) serve(port int) {
	s.do(func() {
		l, err := net.Listen("tcp", fmt.Sprint(":", port))
		if err != nil {
			s.t.Error(err)
			return
		}
		s.t.Cleanup(func() { l.Close() })
		go func() {
			for {
				c, err := l.Accept()
				if err != nil {
					return
				}
				fmt.Fprintln(c, c.RemoteAddr())
				c.Close()
			}
		}()
	})
}

// ask connects, and returns who the server says this is, or "error: …".
func (s *station) ask(to netip.Addr, port int) (answer string) {
	s.do(func() {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, uint16(port)).String(), time.Second)
		if err != nil {
			answer = "error: " + err.Error()
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(3 * time.Second))
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil && err != io.EOF {
			answer = "error: " + err.Error()
			return
		}
		answer = addressIn(line)
	})
	return answer
}

// addressIn is the address of an "address:port".
func addressIn(line string) string {
	p, err := netip.ParseAddrPort(strings.TrimSpace(line))
	if err != nil {
		return "error: no address: " + line
	}
	return p.Addr().Unmap().String()
}

// expect asks until the answer is the one that is wanted, for a server that comes up may need a moment.
func (s *station) expect(what string, to netip.Addr, port int, want string) {
	s.t.Helper()
	var got string
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if got = s.ask(to, port); got == want {
			return
		}
	}
	s.t.Errorf("%s: %s:%d answers %q, want %q", what, to, port, got, want)
}

// teller is a container that tells everybody who connects to port 80 who they are, by either family.
func teller(e *Engine, name string, args ...string) {
	e.t.Helper()
	run := append([]string{"cove", "run", "-d", "--name", name, "--restart", "always"}, args...)
	e.Run(append(run, "busybox", "sh", "-c", `exec tcpsvd [::] 80 sh -c 'echo $TCPREMOTEADDR'`)...)
}

func (e *Engine) field(container, format string) string {
	e.t.Helper()
	return e.Run("cove", "inspect", "-f", format, container)
}

// TestHostsApart: an engine on one host, seen from others: who comes from outside is seen as who they are, who goes out has the
// host's address, only what is published is reached, whatever routes the others have; and all of that comes back after the
// daemon is killed, after the rules are flushed, and after everything but the disk is lost.
func TestHostsApart(t *testing.T) {
	images(t)
	w := newWire(t)
	a, b, c := w.host("a"), w.host("b"), w.host("c")
	one, two := a.engine("--ipv6"), b.engine("--ipv6")
	t.Cleanup(a.tell)
	for _, e := range []*Engine{one, two} {
		e.Start()
		e.Load("busybox")
		e.Run("cove", "network", "create", "--ipv6", "n")
	}
	teller(one, "web", "--network", "n", "-p", "8080:80")
	teller(one, "plain", "-p", "8081:80")
	teller(one, "hidden", "--network", "n")
	c.serve(9000)
	check := func(when string) {
		t.Helper()
		for what, port := range map[string]int{"a network's": 8080, "the default network's": 8081} {
			c.expect(when+", "+what+" port from outside", a.four, port, c.four.String())
			c.expect(when+", "+what+" port from outside, IPv6", a.six, port, c.six.String())
		}
		for to, want := range map[netip.Addr]netip.Addr{c.four: a.four, c.six: a.six} {
			out, _, _ := one.Try("cove", "exec", "web", "nc", "-w", "3", to.String(), "9000")
			if got := addressIn(out); got != want.String() {
				t.Errorf("%s: to the outside at %s as %q, want %s", when, to, got, want)
			}
		}
	}
	check("at first")
	// A container on another host, and the host itself, with a route to the containers' own addresses.
	two.Run("cove", "run", "-d", "--name", "asker", "--network", "n", "busybox", "sleep", "1000")
	for to, want := range map[netip.Addr]netip.Addr{a.four: b.four, a.six: b.six} {
		if got := addressIn(two.Run("cove", "exec", "asker", "nc", "-w", "3", to.String(), "8080")); got != want.String() {
			t.Errorf("from a container of another host to %s as %s", to, got)
		}
	}
	four := netip.MustParseAddr(one.field("hidden", "{{.NetworkSettings.Networks.n.IPAddress}}"))
	six := netip.MustParseAddr(one.field("hidden", "{{.NetworkSettings.Networks.n.GlobalIPv6Address}}"))
	w.ip("-n", b.name, "route", "replace", four.String()+"/32", "via", a.four.String())
	w.ip("-n", b.name, "-6", "route", "replace", six.String()+"/128", "via", a.six.String())
	for _, to := range []netip.Addr{four, six} {
		if got := b.ask(to, 80); !strings.HasPrefix(got, "error") {
			t.Errorf("another host reaches %s: %s", to, got)
		}
	}
	shape := func() string {
		return one.Run("cove", "inspect", "-f", "{{.Name}} {{range .NetworkSettings.Networks}}{{.IPAddress}} {{.GlobalIPv6Address}} {{.IPv6Gateway}}{{end}} {{.NetworkSettings.Ports}}", "web", "plain", "hidden")
	}
	before := shape()
	if !strings.Contains(before, "[{0.0.0.0 8080} {:: 8080}]") {
		t.Errorf("ports: %s", before)
	}
	one.Kill()
	c.expect("without a daemon", a.six, 8080, c.six.String())
	one.Start()
	check("after the daemon was killed")
	if out, err := exec.Command("ip", "netns", "exec", a.name, "nft", "flush", "ruleset").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	time.Sleep(time.Second)
	check("after the rules were flushed")
	loseEverything(t, a, one)
	one.Start()
	check("after everything was lost")
	if after := shape(); after != before {
		t.Errorf("after everything was lost:\n%s\nbefore:\n%s", after, before)
	}
}

// tell writes what a host's network is like into the log of a test that has failed.
func (s *station) tell() {
	if !s.t.Failed() {
		return
	}
	out, _ := exec.Command("ip", "netns", "exec", s.name, "sh", "-c", `grep . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv[46]/conf/*/forwarding
		ip -br addr; ip route; ip neigh; nft list tables; for t in ip ip6 bridge; do nft list table $t $(nft list tables | sed -n "s/table $t //p" | head -1); done`).CombinedOutput()
	s.t.Logf("%s:\n%s", s.name, out)
}

// loseEverything takes from an engine what a host loses when its power goes: processes, the state of the kernel, /run.
func loseEverything(t *testing.T, on *station, e *Engine) {
	t.Helper()
	mark, err := os.ReadFile(filepath.Join(e.Dir, "run", "mark"))
	if err != nil {
		t.Fatal(err)
	}
	pids := strings.Fields(e.Run("sh", "-c", `cove inspect -f "{{.State.Pid}}" $(cove ps -q)`))
	e.Kill()
	for range 100 {
		for _, p := range processes(e.Dir) {
			pids = append(pids, strings.TrimSuffix(strings.Fields(p)[1], ":"))
		}
		if len(pids) == 0 {
			break
		}
		for _, text := range pids {
			pid, err := strconv.Atoi(text)
			if err == nil && pid > 1 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
		pids = nil
		time.Sleep(20 * time.Millisecond)
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/cove-%s/*", "/sys/fs/cgroup/cove-%s/*"} {
		groups, _ := filepath.Glob(fmt.Sprintf(pattern, strings.TrimSpace(string(mark))))
		for _, group := range groups {
			os.Remove(group) // those of the kernel's files that are there too cannot be removed
		}
	}
	if err := os.RemoveAll(filepath.Join(e.Dir, "run")); err != nil {
		t.Fatal(err)
	}
	// The kernel takes the devices of namespaces away when it comes to that.
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		out, err := exec.Command("ip", "netns", "exec", on.name, "sh", "-c", `nft flush ruleset
			for l in $(ip -o link show type bridge | cut -d: -f2); do ip link del $l; done
			echo 0 > /proc/sys/net/ipv6/conf/all/forwarding; echo 0 > /proc/sys/net/ipv4/ip_forward; ip -o link`).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if !strings.Contains(string(out), ": cv") {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("devices are left: %s", out)
		}
	}
}

// TestRoutesOfTheHostAreSteppedRound: ranges that a VPN routes are nobody's, in either family.
func TestRoutesOfTheHostAreSteppedRound(t *testing.T) {
	images(t)
	w := newWire(t)
	a := w.host("vpn")
	w.ip("-n", a.name, "link", "add", "tun0", "type", "bridge")
	w.ip("-n", a.name, "link", "set", "tun0", "up")
	w.ip("-n", a.name, "route", "add", "172.17.0.0/16", "dev", "tun0")
	w.ip("-n", a.name, "route", "add", "172.18.0.0/15", "dev", "tun0")
	w.ip("-n", a.name, "route", "add", "172.21.7.0/24", "dev", "tun0", "table", "77")
	e := a.engine()
	e.Start()
	subnet := func(network string, n int) string {
		return e.Run("cove", "network", "inspect", "-f", fmt.Sprintf("{{(index .IPAM.Config %d).Subnet}}", n), network)
	}
	if got := subnet("bridge", 0); got != "172.20.0.0/16" {
		t.Errorf("the default network is on %s", got)
	}
	e.Run("cove", "network", "create", "--ipv6", "one")
	if got := subnet("one", 0); got != "172.22.0.0/16" {
		t.Errorf("a network is on %s", got)
	}
	first := netip.MustParsePrefix(subnet("one", 1))
	e.Run("cove", "network", "rm", "one")
	w.ip("-n", a.name, "-6", "route", "add", netip.PrefixFrom(first.Addr(), 63).Masked().String(), "dev", "tun0")
	e.Run("cove", "network", "create", "--ipv6", "two")
	second := netip.MustParsePrefix(subnet("two", 1))
	if b := second.Addr().As16(); first.Addr().As16()[7] != 0 || b[7] != 2 || netip.PrefixFrom(second.Addr(), 48).Masked() != netip.PrefixFrom(first.Addr(), 48).Masked() {
		t.Errorf("the first network was on %s, the one after the route on %s", first, second)
	}
	// What a user chooses may be a part of what the host routes elsewhere, but not take the whole of it.
	e.Run("cove", "network", "create", "--ipv6", "--subnet", first.String(), "--subnet", "172.18.5.0/24", "part")
	e.Run("cove", "network", "rm", "part")
	for _, whole := range []string{netip.PrefixFrom(first.Addr(), 63).Masked().String(), "172.18.0.0/15", "172.21.0.0/16"} {
		if _, errOut, code := e.Try("cove", "network", "create", "--ipv6", "--subnet", whole, "three"); code == 0 || !strings.Contains(errOut, "overlaps with the host's route") {
			t.Errorf("on the route %s itself: %d %s", whole, code, errOut)
		}
	}
	e.Run("cove", "network", "rm", "two")
}
