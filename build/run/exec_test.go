package run

import (
	"archive/tar"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/pb"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/testkit"
)

func tarNames(t testing.TB, r io.Reader) (names []string) {
	t.Helper()
	for in := tar.NewReader(r); ; {
		h, err := in.Next()
		if err == io.EOF {
			return names
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, h.Name)
	}
}

func TestRun(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	one, out := k.run(shell(`echo $A $PATH $HOME $0; echo bad >&2; read x || echo closed; echo 1 >/new; rm /bin/ash; hostname; cat /etc/hosts | head -1; grep -c nameserver /etc/resolv.conf`))
	if want := "b /usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin /root /bin/sh\nclosed\nbuildkitsandbox\n127.0.0.1\tlocalhost buildkitsandbox\n1\n"; out != want {
		t.Errorf("printed %q, want %q", out, want)
	}
	if k.out[2].String() != "bad\n" {
		t.Errorf("%q", k.out[2])
	}
	if got := k.packed(one); got != "bin/ bin/.wh.ash new" {
		t.Errorf("the layer has %s", got)
	}
	two, out := k.run(shell(`cat /new; ls /bin/ash; ls -d /proc/1; id -u`), one)
	if out != "1\n/proc/1\n0\n" || k.packed(two) != "" {
		t.Errorf("%q, and changed %s", out, k.packed(two))
	}
	if len(two) != len(one)+1 {
		t.Error(two)
	}
}

// TestLoud: a process whose output is taken more slowly than it comes waits, as programs expect it.
func TestLoud(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	quick := k.env.Out
	k.env.Out = func(stream int, p []byte) {
		time.Sleep(time.Millisecond)
		quick(stream, p)
	}
	if _, out := k.run(shell("head -c 3000000 /dev/zero && echo whole")); len(out) != 3_000_006 {
		t.Errorf("%d bytes", len(out))
	}
}

// TestNothingChanges runs commands that change nothing: their layers hold nothing, folders that something was mounted in
// have the times they had, and what the process itself does with such a folder stays.
func TestNothingChanges(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	base, _ := k.run(shell("touch -d 2001-02-03 /etc /; mkdir -p /a/b; touch -d 2001-02-03 /a/b /a"))
	mount := &pb.Mount{Input: -1, Dest: "/a/b/c/d", Output: -1, MountType: pb.MountType_TMPFS}
	other := &pb.Mount{Input: -1, Dest: "/none/x", Output: -1, MountType: pb.MountType_TMPFS}
	same, out := k.run(shell("ls -d /a/b/c/d /none/x", mount, other), base)
	if out != "/a/b/c/d\n/none/x\n" || k.packed(same) != "" {
		t.Errorf("%q, and changed %s", out, k.packed(same))
	}
	if dirs, err := k.layers.PileDirs(same); err != nil || len(dirs) != len(must(k.layers.PileDirs(base))) {
		t.Error("a layer with nothing in it is stacked", dirs, err)
	}
	_, out = k.run(shell("stat -c '%y' / /etc /a /a/b | sort | uniq -c | grep -c 2001-02-03"), same)
	if out != "1\n" {
		t.Errorf("times changed: %q", out)
	}
	used, _ := k.run(shell("echo 1 >/a/b/c/file; chmod 700 /none", mount, other), base)
	if got := k.packed(used); got != "a/ a/b/ a/b/c/ a/b/c/file" {
		t.Errorf("what the process made is not there: %s", got)
	}
}

// TestStubsLeadNowhere has a process put links in place of folders that something is mounted in: what they lead to is on
// the host, and stays.
func TestStubsLeadNowhere(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	outside := filepath.Join(k.dir, "outside")
	if err := os.MkdirAll(filepath.Join(outside, "b"), 0o755); err != nil {
		t.Fatal(err)
	}
	mount := &pb.Mount{Input: -1, Dest: "/m/a/b/c", Output: -1, MountType: pb.MountType_TMPFS}
	base, _ := k.run(shell("mkdir -p /m/a/b; touch -d 2001-02-03 /m/a/b"))
	then := time.Date(2001, 2, 3, 0, 0, 0, 0, time.UTC)
	if err := os.Chtimes(filepath.Join(outside, "b"), then, then); err != nil {
		t.Fatal(err)
	}
	exec := shell("umount /m/a/b/c; rm -rf /m/a; ln -s "+outside+" /m/a", mount)
	exec.Security = pb.SecurityMode_INSECURE
	pile, _ := k.run(exec, base)
	if got := k.packed(pile); got != "m/ m/a" {
		t.Error(got)
	}
	if _, err := os.Stat(filepath.Join(outside, "b")); err != nil {
		t.Error(err)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFailing(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	for _, c := range []struct {
		args, user string
		code       uint32
		want       string
	}{
		{"/bin/sh -c|exit 7", "", 7, `process "/bin/sh -c exit 7" did not complete successfully: exit code: 7`},
		{"/bin/sh -c|sh -c 'kill -9 $$'; exit $?", "", 137, `exit code: 137`},
		{"/nosuch", "", 127, `no such file`},
		{"nosuch", "", 127, `executable file not found`},
		{"/etc", "", 126, ``},
		{"true", "nosuch", 255, `unable to find user nosuch`},
	} {
		exec := shell("")
		exec.Meta.Args = nil
		first, last, two := strings.Cut(c.args, "|")
		exec.Meta.Args = strings.Fields(first)
		if two {
			exec.Meta.Args = append(exec.Meta.Args, last)
		}
		exec.Meta.User = c.user
		_, err := k.try(exec)
		var exit *gateway.ExitError
		if !errors.As(err, &exit) || exit.ExitCode != c.code || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v (%+v)", c.args, err, exit)
		}
	}
	exec := shell("exit 3")
	exec.Meta.ValidExitCodes = []int32{3}
	k.run(exec)
}

func TestLimits(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	k.env.Limits = &step.Limits{Memory: 32 << 20, MemorySwap: 32 << 20, ShmSize: 1 << 20, Ulimits: []step.Ulimit{{Name: "nofile", Soft: 77, Hard: 77}}, ExtraHosts: []string{"here:10.1.2.3"}}
	_, out := k.run(shell("ulimit -n; df -k /dev/shm | tail -1 | awk '{print $2}'; tail -1 /etc/hosts"))
	if out != "77\n1024\n10.1.2.3\there\n" {
		t.Errorf("%q", out)
	}
	_, err := k.try(shell("tail /dev/zero"))
	if err == nil || !strings.Contains(err.Error(), "cannot allocate memory") {
		t.Error(err)
	}
	k.env.Limits = nil
	exec := shell("ulimit -n")
	exec.Meta.Ulimit = []*pb.Ulimit{{Name: "nofile", Soft: 78, Hard: 78}}
	if _, out := k.run(exec); out != "78\n" {
		t.Errorf("%q", out)
	}
}

// TestUsers has who a step is, as with any other builder.
func TestUsers(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	base, _ := k.run(shell("echo dk:x:1001:1001::/home/dk:/bin/sh >>/etc/passwd; echo sup:x:1002:dk >>/etc/group; echo dk:x:1001: >>/etc/group"))
	for user, want := range map[string]string{
		"":          "uid=0(root) gid=0(root) groups=0(root),10(wheel) /root",
		"root":      "uid=0(root) gid=0(root) groups=0(root),10(wheel) /root",
		"dk":        "uid=1001(dk) gid=1001(dk) groups=1001(dk),1002(sup) /home/dk",
		"1001":      "uid=1001(dk) gid=1001(dk) groups=1001(dk),1002(sup) /home/dk",
		"dk:dk":     "uid=1001(dk) gid=1001(dk) groups=1001(dk) /home/dk",
		"1001:1001": "uid=1001(dk) gid=1001(dk) groups=1001(dk) /home/dk",
		"dk:sup":    "uid=1001(dk) gid=1002(sup) groups=1002(sup) /home/dk",
		"1234":      "uid=1234 gid=0(root) groups=0(root) /",
		"1042:1043": "uid=1042 gid=1043 groups=1043 /",
	} {
		exec := shell("echo $(id) $HOME")
		exec.Meta.User = user
		if _, out := k.run(exec, base); out != want+"\n" {
			t.Errorf("%q is %q, want %q", user, out, want)
		}
	}
}

// TestCancel ends steps in all states of stubbornness, and looks for what is left.
func TestCancel(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	for _, script := range []string{
		"echo go; sleep 1000",
		`trap "" TERM INT HUP; echo go; while :; do sleep 1; done`,
		`f() { f & f & }; echo go; f; sleep 1000`,
	} {
		k.out[1].Reset()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error)
		o := k.op(shell(script), 1, step.Vertex{})
		go func() {
			_, err := o.Run(ctx, k.env, []step.Ref{{Pile: k.base}})
			done <- err
		}()
		k.await("go")
		time.Sleep(100 * time.Millisecond)
		began := time.Now()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", script, err)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s: took %v", script, took)
		}
	}
	k.nothingLeft()
}

func (k *kit) await(word string) {
	k.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		k.mu.Lock()
		got := k.out[1].String()
		k.mu.Unlock()
		if strings.Contains(got, word) {
			return
		}
		if time.Now().After(deadline) {
			k.t.Fatalf("printed %q only", got)
		}
	}
}

// nothingLeft looks for cgroups, run-time state and mounts of steps.
func (k *kit) nothingLeft() {
	k.t.Helper()
	left, _ := filepath.Glob("/sys/fs/cgroup/*/" + k.parent + "/*/cgroup.procs")
	if len(left) > 0 {
		k.t.Errorf("cgroups left: %v", left)
	}
	entries, err := os.ReadDir(filepath.Join(k.dir, "run/steps"))
	entries = slices.DeleteFunc(entries, func(e os.DirEntry) bool { return !e.IsDir() })
	if err != nil || len(entries) > 0 {
		k.t.Error(entries, err)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(mounts), k.dir+"/") {
		k.t.Error("mounts left", err)
	}
}

// TestFullDisk runs a step that fills the disk: it fails with the system's words, and the next one has room again.
func TestFullDisk(t *testing.T) {
	k := newKit(t, testkit.SmallDisk(t, "24"), false)
	_, err := k.try(shell("cat /dev/zero >/big"))
	if err == nil || !strings.Contains(k.out[2].String(), "No space left on device") {
		t.Errorf("%v: %s", err, k.out[2])
	}
	if err := k.layers.Scrap(context.Background(), k.lease.Release()...); err != nil {
		t.Error(err)
	}
	k.env.Lease = k.records.Lease()
	if _, out := k.run(shell("echo fine >/x; cat /x")); out != "fine\n" {
		t.Errorf("%q", out)
	}
	k.nothingLeft()
}

func BenchmarkStep(b *testing.B) {
	for _, mode := range []pb.NetMode{pb.NetMode_NONE, pb.NetMode_UNSET} {
		b.Run(strings.ToLower(mode.String()), func(b *testing.B) {
			k := newKit(b, b.TempDir(), mode == pb.NetMode_UNSET)
			exec := shell("")
			exec.Meta.Args = []string{"/bin/true"}
			exec.Network = mode
			k.run(exec)
			pile := k.base
			for b.Loop() {
				next, _ := k.run(exec, pile)
				if len(next) < 60 {
					pile = next
				}
			}
		})
	}
}

func TestOutputsInOrder(t *testing.T) {
	for want, indices := range map[string][]int64{"b a": {1, 0}, "a b": {0, 5}, "a b c": {1, 2, 1}, "c a b": {1, 2, 0}, "": nil} {
		var outputs []output
		for i, at := range indices {
			outputs = append(outputs, output{at, []string{string(rune('a' + i))}})
		}
		var got []string
		for _, ref := range inOrder(outputs) {
			got = append(got, ref.Pile...)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%v: %v, want %s", indices, got, want)
		}
	}
}

// TestStubsGoBeforeTheMounts has somebody else keep a step's mounts: what was made to mount on goes all the same.
func TestStubsGoBeforeTheMounts(t *testing.T) {
	k := newKit(t, t.TempDir(), false)
	const mark = "kept-by-another"
	var kept *os.File
	heard := k.env.Out
	k.env.Out = func(stream int, p []byte) {
		heard(stream, p)
		if kept == nil {
			kept = mountsOf(t, mark)
		}
	}
	t.Cleanup(func() { kept.Close() })
	pile, _ := k.run(shell("echo "+mark+"; head -c 200000 /dev/zero; echo 1 >/x", &pb.Mount{Input: -1, Dest: "/t", Output: -1, MountType: pb.MountType_TMPFS}))
	if got := k.packed(pile); got != "x" {
		t.Errorf("the layer has %s", got)
	}
}

// mountsOf opens the mount namespace of the process that has mark on its command line. It stays while its output is not read.
func mountsOf(t *testing.T, mark string) *os.File {
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Error(err)
	}
	for _, file := range commands {
		if text, err := os.ReadFile(file); err == nil && strings.Contains(string(text), mark) {
			ns, err := os.Open(filepath.Join(filepath.Dir(file), "ns/mnt"))
			if err != nil {
				t.Error(err)
			}
			return ns
		}
	}
	t.Errorf("no process has %s on its command line", mark)
	return nil
}
