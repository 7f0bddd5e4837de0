package network

import (
	"encoding/binary"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	nt "github.com/moby/moby/api/types/network"
	"github.com/vishvananda/netlink"
)

// inOwnNamespace runs the test once more, in a process with a network namespace of its own, and tells whether this is it.
func inOwnNamespace(t *testing.T) bool {
	t.Helper()
	const again = "COVE_TEST_OWN_NAMESPACE"
	if os.Getenv(again) == "" {
		self := exec.Command("/proc/self/exe", "-test.run", "^"+t.Name()+"$", "-test.v")
		self.Env = append(os.Environ(), again+"=1")
		self.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
		out, err := self.CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		relaySkips(t, string(out))
		return false
	}
	if lo, err := netlink.LinkByName("lo"); err != nil || netlink.LinkSetUp(lo) != nil {
		t.Fatal("no loopback")
	}
	return true
}

// relaySkips has what a test skipped in another process stand in this one's report, too, with its reason.
func relaySkips(t *testing.T, out string) {
	t.Helper()
	reasons := map[string]string{}
	name := t.Name()
	for line := range strings.Lines(out) {
		line = strings.TrimSpace(line)
		if begun, ok := strings.CutPrefix(line, "=== RUN   "); ok {
			name = begun
		} else if _, why, ok := strings.Cut(line, ".go:"); ok {
			reasons[name] = why
		} else if skipped, ok := strings.CutPrefix(line, "--- SKIP: "); ok {
			skipped, _, _ = strings.Cut(skipped, " ")
			part, isPart := strings.CutPrefix(skipped, t.Name()+"/")
			if !isPart {
				t.Skip(reasons[skipped])
			}
			t.Run(part, func(t *testing.T) { t.Skip(reasons[skipped]) })
		}
	}
}

// TestBesideADropPolicy: with a ruleset of the host that drops what it does not accept, in a network namespace of the test's
// own, published ports are open where it says so and nowhere else.
func TestBesideADropPolicy(t *testing.T) {
	cfg := testConfig(t, 0)
	if !inOwnNamespace(t) {
		return
	}
	in := start(t, cfg)
	world, worlds := outside(t, cfg)
	host := netip.AddrFrom4([4]byte{198, 19, cfg.BIP.Addr().As4()[2], 1}).String()
	box := in.join(t, "a", Request{Name: "web", Ports: nt.PortMap{port("80/tcp"): {{}}}})
	serve(t, box.NetNS, 80)
	serve(t, world.File, 8000)
	at := host + ":" + box.Ports[port("80/tcp")][0].HostPort
	expect := func(when string, published, out bool) {
		t.Helper()
		if got := asking(published)(t, world.File, at); fails(got) == published {
			t.Errorf("%s: the world to the published port: %s", when, got)
		}
		if got := asking(out)(t, box.NetNS, worlds+":8000"); fails(got) == out {
			t.Errorf("%s: the container to the world: %s", when, got)
		}
		if got := ask("127.0.0.1:" + box.Ports[port("80/tcp")][0].HostPort); fails(got) {
			t.Errorf("%s: the host: %s", when, got)
		}
	}
	expect("without a ruleset", true, true)
	drop := nftables.ChainPolicyDrop
	conn, err := nftables.New()
	if err != nil {
		t.Fatal(err)
	}
	table := conn.AddTable(&nftables.Table{Name: "host", Family: nftables.TableFamilyINet})
	chain := conn.AddChain(&nftables.Chain{Name: "forward", Table: table, Type: nftables.ChainTypeFilter,
		Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter, Policy: &drop})
	add := func(match ...expr.Any) {
		t.Helper()
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: append(match, &expr.Verdict{Kind: expr.VerdictAccept})})
		if err := conn.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	ct := func(key expr.CtKey, bits uint32) []expr.Any {
		return []expr.Any{
			&expr.Ct{Key: key, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binary.NativeEndian.AppendUint32(nil, bits), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)},
		}
	}
	add(ct(expr.CtKeySTATE, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)...)
	expect("all dropped", false, false)
	if warned := in.Warnings(); len(warned) != 1 {
		t.Errorf("warnings: %q", warned)
	}
	add(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: append([]byte(cfg.BridgeName()), 0)})
	expect("what the bridge sends accepted", false, true)
	const dstNAT = 1 << 5
	add(ct(expr.CtKeySTATUS, dstNAT)...)
	expect("published ports accepted", true, true)
	if err := in.Allow([]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}); err != nil {
		t.Fatal(err)
	}
	expect("not from this world", false, true)
}
