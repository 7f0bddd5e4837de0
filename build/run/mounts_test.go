package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/solver/pb"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"google.golang.org/grpc"

	"github.com/cove-containers/cove/build/step"
)

func secretMount(id, dest string, optional bool) *pb.Mount {
	return &pb.Mount{
		Input: -1, Dest: dest, Output: -1, MountType: pb.MountType_SECRET,
		SecretOpt: &pb.SecretOpt{ID: id, Mode: 0o400, Optional: optional},
	}
}

// TestSecrets mounts secrets: they are as asked for, in memory, and nowhere afterwards.
func TestSecrets(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	const value = "very-secret-value"
	k.client(map[string][]byte{"s": []byte(value), "empty": {}})
	odd := secretMount("s", "/ms", false)
	odd.SecretOpt.Mode, odd.SecretOpt.Uid, odd.SecretOpt.Gid = 0o741, 100, 102
	exec := shell(`stat -c '%u %g %a' /ms /run/secrets/s; cat /ms; echo; [ ! -e /run/secrets/no ] && echo none; wc -c </e; echo $SEC; grep -c ' /ms .*tmpfs' /proc/self/mountinfo; echo x 2>/dev/null >>/ms || echo ro; cat /proc/self/mountinfo >/m`,
		odd, secretMount("s", "/run/secrets/s", false), secretMount("no", "/run/secrets/no", true), secretMount("empty", "/e", false))
	exec.Secretenv = []*pb.SecretEnv{{ID: "s", Name: "SEC"}, {ID: "no", Name: "NO", Optional: true}}
	pile, out := k.run(exec)
	if want := "100 102 741\n0 0 400\n" + value + "\nnone\n0\n" + value + "\n1\nro\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	if got := k.packed(pile); got != "m" {
		t.Errorf("the layer has %s", got)
	}
	k.run(shell(`[ ! -e /ms ] && [ ! -e /run/secrets ]`), pile)
	err := filepath.WalkDir(k.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		raw, err := os.ReadFile(path)
		if strings.Contains(string(raw), value) {
			t.Errorf("%s has the secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if _, err := k.try(shell("true", secretMount("no", "/x", false))); err == nil || !strings.Contains(err.Error(), "secret no: not found") {
		t.Error(err)
	}
	k.env.Sessions, k.env.Group = nil, nil
	if _, err := k.try(shell("true", secretMount("s", "/x", false))); err == nil || !strings.Contains(err.Error(), "secret s: not found") {
		t.Error(err)
	}
	k.run(shell("[ ! -e /x ]", secretMount("s", "/x", true)))
}

// agent answers like an agent that says what it hears.
type agent struct {
	sshforward.UnimplementedSSHServer
}

func (a agent) Register(s *grpc.Server) { sshforward.RegisterSSHServer(s, a) }

func (agent) CheckAgent(_ context.Context, r *sshforward.CheckAgentRequest) (*sshforward.CheckAgentResponse, error) {
	if r.ID != "" && r.ID != sshforward.DefaultID {
		return nil, fmt.Errorf("unset ssh forward key %s", r.ID)
	}
	return &sshforward.CheckAgentResponse{}, nil
}

func (agent) ForwardAgent(stream sshforward.SSH_ForwardAgentServer) error {
	ours, theirs := net.Pipe()
	go func() {
		buf := make([]byte, 100)
		n, _ := ours.Read(buf)
		fmt.Fprintf(ours, "agent heard %s", buf[:n])
		ours.Close()
	}()
	return sshforward.Copy(stream.Context(), theirs, stream, nil)
}

// talk speaks with the agent through the socket that a process would find.
func (k *kit) talk(mount *pb.Mount) {
	k.t.Helper()
	c, err := k.NewContainer(context.Background(), k.env, gwclient.NewContainerRequest{
		Mounts: []gwclient.Mount{{Dest: "/"}, {Dest: mount.Dest, MountType: mount.MountType, SSHOpt: mount.SSHOpt}}, NetMode: pb.NetMode_NONE,
	}, map[int]step.Ref{0: {Pile: k.base}})
	if err != nil {
		k.t.Fatal(err)
	}
	defer func() { _ = c.Release(context.Background()) }()
	if _, err := c.Start(context.Background(), gwclient.StartRequest{Args: []string{"sleep", "1000"}}); err != nil {
		k.t.Fatal(err)
	}
	for range 2 {
		conn, err := net.Dial("unix", fmt.Sprintf("/proc/%d/root%s", c.(*container).running.Pid(), mount.Dest))
		if err != nil {
			k.t.Fatal(err)
		}
		fmt.Fprint(conn, "hello")
		answer := make([]byte, len("agent heard hello"))
		_, err = io.ReadFull(conn, answer)
		k.t.Cleanup(func() { conn.Close() }) // the container's end does not wait for it
		if string(answer) != "agent heard hello" {
			k.t.Errorf("%q, %v", answer, err)
		}
	}
}

func TestAgent(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	k.client(nil, agent{})
	mount := &pb.Mount{
		Input: -1, Dest: "/run/buildkit/ssh_agent.0", Output: -1, MountType: pb.MountType_SSH,
		SSHOpt: &pb.SSHOpt{Mode: 0o640, Uid: 3, Gid: 4},
	}
	pile, out := k.run(shell(`stat -c '%F %u %g %a' /run/buildkit/ssh_agent.0`, mount))
	if want := "socket 3 4 640\n"; out != want {
		t.Errorf("%q, want %q", out, want)
	}
	k.talk(mount)
	if got := k.packed(pile); got != "" {
		t.Errorf("the layer has %s", got)
	}
	other := &pb.Mount{Input: -1, Dest: "/x", Output: -1, MountType: pb.MountType_SSH, SSHOpt: &pb.SSHOpt{ID: "other"}}
	if _, err := k.try(shell("true", other)); err == nil || !strings.Contains(err.Error(), "unset ssh forward key other") {
		t.Error(err)
	}
	other.SSHOpt.Optional = true
	k.run(shell("[ ! -e /x ]", other))
	k.env.Sessions, k.env.Group = nil, nil
	other.SSHOpt.Optional = false
	if _, err := k.try(shell("true", other)); err == nil || !strings.Contains(err.Error(), `no SSH key "other" forwarded from the client`) {
		t.Error(err)
	}
}

// TestBinds mounts other trees: to be read, to be written to and forgotten, and to be written to and handed on.
func TestBinds(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	stage, _ := k.run(shell("mkdir -p /src/deep; echo 1 >/src/deep/file; ln -s ../../etc/passwd /src/link"))
	bind := func(selector, dest string, readOnly bool, output int64) *pb.Mount {
		return &pb.Mount{Input: 1, Selector: selector, Dest: dest, Readonly: readOnly, Output: output}
	}
	outcome, err := k.try(shell(`cat /r/deep/file /one; head -c 5 /r/link; echo; (echo 2 >/r/deep/file) 2>/dev/null || echo ro
echo 2 >/w/deep/file; cat /w/deep/file; cat /src/deep/file; echo 3 >/out/new; ls /scratch | wc -l; echo 4 >/scratch/x`,
		bind("/src", "/r", true, -1), bind("src/deep/file", "/one", true, -1), bind("/src", "/w", false, -1),
		bind("/src/deep", "/out", false, 1), bind("/", "/src", true, 2),
		&pb.Mount{Input: -1, Dest: "/scratch", Output: 3}), k.base, stage)
	if err != nil {
		t.Fatal(err, k.out[2])
	}
	if out, want := k.out[1].String(), "1\n1\nroot:\nro\n2\n"; !strings.HasPrefix(out, want) {
		t.Errorf("%q, want %q", out, want)
	}
	if len(outcome.Refs) != 4 || k.packed(outcome.Refs[0].Pile) != "" {
		t.Fatal(outcome)
	}
	if got := k.packed(outcome.Refs[1].Pile); got != "src/ src/deep/ src/deep/new" || k.read(outcome.Refs[1].Pile, "src/deep/file") != "1\n" {
		t.Error(got)
	}
	if strings.Join(outcome.Refs[2].Pile, " ") != strings.Join(stage, " ") {
		t.Error("what was only read is not handed on as it was", outcome.Refs[2])
	}
	if got := outcome.Refs[3].Pile; len(got) != 1 || k.read(got, "x") != "4\n" || !k.layers.Movable(got) {
		t.Error(got)
	}
	if _, err := k.try(shell("true", bind("/none", "/r", true, -1)), k.base, stage); err == nil || !strings.Contains(err.Error(), "/none") {
		t.Error(err)
	}
	k.nothingLeft()
}

func cacheMount(id, dest string, sharing pb.CacheSharingOpt) *pb.Mount {
	return &pb.Mount{Input: -1, Dest: dest, Output: -1, MountType: pb.MountType_CACHE, CacheOpt: &pb.CacheOpt{ID: id, Sharing: sharing}}
}

func TestCacheMounts(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	count := shell("echo 1 >>/c/n; wc -l </c/n", cacheMount("/c", "/c", pb.CacheSharingOpt_SHARED))
	for _, want := range []string{"1\n", "2\n"} {
		pile, out := k.run(count)
		if out != want || k.packed(pile) != "" {
			t.Errorf("%q, want %q; %s", out, want, k.packed(pile))
		}
	}
	if _, out := k.run(shell("ls /c2 | wc -l", cacheMount("/c2", "/c2", pb.CacheSharingOpt_SHARED))); out != "0\n" {
		t.Error("another id sees the first")
	}
	// What it begins with is the input's, owner and mode too; and it begins anew when nothing shall come from the cache.
	owned, _ := k.run(&pb.ExecOp{
		Meta: shell("install -d -m 751 -o 1001 -g 1002 /o/cache").Meta, Network: pb.NetMode_NONE,
		Mounts: []*pb.Mount{{Input: 0, Dest: "/", Output: -1}, {Input: -1, Dest: "/o", Output: 0}},
	})
	mount := cacheMount("/c", "/c", pb.CacheSharingOpt_SHARED)
	mount.Input, mount.Selector = 1, "/cache"
	owning := shell("stat -c '%u %g %a' /c; echo 1 >>/c/n; wc -l </c/n", mount)
	refs := []step.Ref{{Pile: k.base}, {Pile: owned}}
	for _, c := range []struct {
		v    step.Vertex
		want string
	}{{step.Vertex{}, "1"}, {step.Vertex{}, "2"}, {step.Vertex{NoCache: true}, "1"}, {step.Vertex{}, "2"}} {
		k.out[1].Reset()
		if _, err := k.op(owning, 2, c.v).Run(t.Context(), k.env, refs); err != nil {
			t.Fatal(err)
		}
		if got := k.out[1].String(); got != "1001 1002 751\n"+c.want+"\n" {
			t.Errorf("%q, want %s lines", got, c.want)
		}
	}
	// A link out of the cache leads nowhere.
	k.run(shell("ln -s /etc /c/sel; ln -s ../../../../../../etc /c/up", cacheMount("/c", "/c", pb.CacheSharingOpt_SHARED)))
	for _, link := range []string{"/sel", "/up"} {
		out := cacheMount("/c", "/d", pb.CacheSharingOpt_SHARED)
		out.Selector = link
		if _, err := k.try(shell("ls /d", out)); err == nil || k.out[1].Len() > 0 {
			t.Errorf("%s: %v, %s", link, err, k.out[1])
		}
	}
	k.run(shell("cp /a/n /b/m; ls /a/m", cacheMount("/c", "/a", pb.CacheSharingOpt_LOCKED), cacheMount("/c", "/b", pb.CacheSharingOpt_LOCKED)))
	records, _, err := k.mounts.List(t.Context())
	if err != nil || len(records) != 3 || !strings.Contains(records[0].Description, "cached mount /c from exec /bin/sh -c echo 1") {
		t.Error(records, err)
	}
}

// TestLockedCache has steps wait for one another.
// TestImportedCacheMounts: a new folder begins with what a cache elsewhere has for it, and empty where that cannot be had.
func TestImportedCacheMounts(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	asked, warned := map[string]int{}, ""
	k.env.Warn = func(short, _ string, _ ...string) { warned += short }
	k.env.Mount = func(id string) func(context.Context, *os.File) error {
		if id == "none" {
			return nil
		}
		return func(_ context.Context, dir *os.File) error {
			asked[id]++
			err := os.WriteFile(filepath.Join(dir.Name(), "from"), []byte("elsewhere\n"), 0o644)
			if id == "broken" {
				err = errors.Join(err, errors.New("the archive ends early"))
			}
			return err
		}
	}
	for id, want := range map[string]string{"good": "elsewhere\n", "none": "", "broken": ""} {
		for range 2 {
			if _, out := k.run(shell("cat /c/* 2>/dev/null; true", cacheMount(id, "/c", pb.CacheSharingOpt_SHARED))); out != want {
				t.Errorf("%s: %q", id, out)
			}
		}
	}
	if fmt.Sprint(asked) != "map[broken:1 good:1]" || warned != "the cache mount begins empty: the archive ends early" {
		t.Error(asked, warned)
	}
	k.out[1].Reset()
	if _, err := k.op(shell("ls /c", cacheMount("anew", "/c", pb.CacheSharingOpt_SHARED)), 1, step.Vertex{NoCache: true}).Run(t.Context(), k.env, []step.Ref{{Pile: k.base}}); err != nil || asked["anew"] != 0 {
		t.Error("what shall begin anew began with an import", err, k.out[1])
	}
}

func TestLockedCache(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	exec := shell("mkdir /c/lock; sleep .3; rmdir /c/lock", cacheMount("l", "/c", pb.CacheSharingOpt_LOCKED))
	var all sync.WaitGroup
	began := time.Now()
	for range 3 {
		o := k.op(exec, 1, step.Vertex{})
		all.Go(func() {
			if _, err := o.Run(context.Background(), k.env, []step.Ref{{Pile: k.base}}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestTmpfs(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	mount := &pb.Mount{Input: -1, Dest: "rel", Output: -1, MountType: pb.MountType_TMPFS, TmpfsOpt: &pb.TmpfsOpt{Size: 1 << 20}}
	exec := shell("df -k /tmp/rel | tail -1 | awk '{print $2}'; echo 1 >/tmp/rel/x", mount)
	exec.Meta.Cwd = "/tmp"
	if pile, out := k.run(exec); out != "1024\n" || k.packed(pile) != "" {
		t.Errorf("%q, %s", out, k.packed(pile))
	}
}

// TestNetwork reaches what it should, and only that.
func TestNetwork(t *testing.T) {
	k := newKit(t, t.TempDir(), true)
	exec := shell("ip -o addr | awk '{print $2}' | sort -u | tr '\\n' ' '; cat /sys/class/net/*/operstate | sort | uniq -c | wc -l")
	for mode, want := range map[pb.NetMode]string{pb.NetMode_NONE: "lo ", pb.NetMode_UNSET: "eth0 lo "} {
		exec.Network = mode
		if _, out := k.run(exec); !strings.HasPrefix(out, want) {
			t.Errorf("%v: %q", mode, out)
		}
	}
	host, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	exec = shell("readlink /proc/self/ns/net")
	exec.Network = pb.NetMode_HOST
	if _, out := k.run(exec); out != host+"\n" {
		t.Errorf("%q, want %q", out, host)
	}
	if err := Entitled(exec, nil); err == nil || !strings.Contains(err.Error(), "network.host is not allowed") {
		t.Error(err)
	}
	if err := Entitled(exec, []string{NetworkHost}); err != nil {
		t.Error(err)
	}
	// By its ID, or as that of a container, no network is had that needs to be granted.
	shown, err := k.networks.Inspect("host")
	if err != nil {
		t.Fatal(err)
	}
	for _, mode := range []string{"container:x", shown.ID} {
		env := *k.env
		env.Limits = &step.Limits{NetworkMode: mode}
		exec.Network = pb.NetMode_UNSET
		if _, err := k.op(exec, 1, step.Vertex{}).Run(t.Context(), &env, []step.Ref{{Pile: k.base}}); err == nil || !strings.Contains(err.Error(), "is not for builds") {
			t.Errorf("network %q: %v", mode, err)
		}
	}
	// Names and extra hosts.
	exec = shell("ping -c1 -w5 gw >/dev/null && echo reached; ping -c1 -w5 named | head -1 | cut -d' ' -f1-3")
	exec.Network = pb.NetMode_UNSET
	exec.Meta.ExtraHosts = []*pb.HostIP{{Host: "gw", IP: hostGateway}, {Host: "named", IP: "127.0.0.7"}}
	exec.Meta.Hostname = "called"
	if _, out := k.run(exec); out != "reached\nPING named (127.0.0.7):\n" {
		t.Errorf("%q", out)
	}
}

// TestPrivileges compares what steps may do with what containers may.
func TestPrivileges(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	script := "grep -E '^(CapEff|CapBnd|Seccomp):' /proc/self/status | tr -d '\\t' | tr '\\n' ' '; mount -t tmpfs x /mnt 2>/dev/null && echo mounted"
	if _, out := k.run(shell(script + "; true")); out != "CapEff:00000000a80425fb CapBnd:00000000a80425fb Seccomp:2 " {
		t.Errorf("%q", out)
	}
	exec := shell(script)
	exec.Security = pb.SecurityMode_INSECURE
	exec.Mounts = append(exec.Mounts, &pb.Mount{Input: -1, Dest: "/mnt", Output: -1, MountType: pb.MountType_TMPFS})
	if _, out := k.run(exec); !strings.HasSuffix(out, "Seccomp:0 mounted\n") {
		t.Errorf("%q", out)
	}
	if err := Entitled(exec, []string{NetworkHost}); err == nil || !strings.Contains(err.Error(), "security.insecure is not allowed") {
		t.Error(err)
	}
}

// TestForeignPlatform wants a step of another platform to run where the kernel has an emulator for it, and to say elsewhere
// what is missing.
func TestForeignPlatform(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	foreign := ocispec.Platform{OS: "linux", Architecture: "s390x"}
	o := k.op(shell("true"), 1, step.Vertex{Platform: &pb.Platform{OS: foreign.OS, Architecture: foreign.Architecture}})
	_, err := o.Run(t.Context(), k.env, []step.Ref{{Pile: k.base}})
	if missing := supported(foreign); missing == nil && err != nil || missing != nil && (err == nil || !strings.Contains(err.Error(), "cannot run programs for linux/s390x: register an emulator")) {
		t.Errorf("%v, where an emulator is missing: %v", err, missing)
	}
}
