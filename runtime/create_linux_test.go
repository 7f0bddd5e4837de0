package runtime

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/profiles/seccomp"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime/document"
)

// sh is a container that runs a shell script.
func sh(t testing.TB, script string) Config {
	t.Helper()
	return testConfig(t, busybox(t), "sh", "-c", script)
}

func expect(t *testing.T, cfg Config, code int, out string) {
	t.Helper()
	res := runContainer(t, cfg)
	if res.status.Code != code || strings.TrimSpace(res.out) != strings.TrimSpace(out) {
		t.Errorf("got status %d and\n%s\nwant %d and\n%s", res.status.Code, res.out, code, out)
	}
}

func TestExitStatus(t *testing.T) {
	expect(t, sh(t, "exit 42"), 42, "")
	expect(t, sh(t, `exec 2>/dev/null; sh -c 'kill -9 $$'; exit $?`), 137, "")
	// Process 1 cannot be killed from inside.
	expect(t, sh(t, "kill -9 $$; exit 3"), 3, "")
}

func TestSignalStatus(t *testing.T) {
	c, err := Create(testConfig(t, busybox(t), "sleep", "100"), IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("second start: %v", err)
	}
	if err := c.Kill(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	status, err := c.Wait()
	if err != nil || status != (ExitStatus{Code: 137, Signal: syscall.SIGKILL}) {
		t.Errorf("got %+v, %v", status, err)
	}
	if err := c.Kill(syscall.SIGTERM); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("signal to an ended process: %v", err)
	}
	if _, err := c.Exec(specs.Process{Args: []string{"true"}}, "", nil, IO{}); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("exec in an ended container: %v", err)
	}
}

func destroy(t testing.TB, c *Container) {
	t.Helper()
	if err := c.Destroy(); err != nil {
		t.Error(err)
	}
	if err := c.Destroy(); err != nil {
		t.Errorf("second destroy: %v", err)
	}
}

// TestCommandErrors: RN-1.
func TestCommandErrors(t *testing.T) {
	for _, tc := range []struct {
		command string
		code    int
		words   string
	}{
		{"nosuchcmd", 127, `exec: "nosuchcmd": executable file not found in $PATH`},
		{"/bin/nosuch", 127, `exec: "/bin/nosuch": no such file or directory`},
		{"/etc", 126, `exec: "/etc": is a directory`},
		{"/etc/passwd", 126, `exec: "/etc/passwd": permission denied`},
		{"/etc/passwd/x", 126, `exec: "/etc/passwd/x": not a directory`},
		{"", 127, `exec: "": executable file not found in $PATH`},
	} {
		_, err := Create(testConfig(t, busybox(t), tc.command), IO{})
		var failed *StartError
		if !errors.As(err, &failed) || failed.Code != tc.code || err.Error() != tc.words {
			t.Errorf("%q: got %#v %v", tc.command, failed, err)
		}
	}
}

// TestUnloadablePrograms: what may be executed but cannot be loaded has run, and says why it ended.
func TestUnloadablePrograms(t *testing.T) {
	for name, tc := range map[string]struct{ content, words string }{
		"bad":   {"not a program", "exec /bad: exec format error\n"},
		"lost":  {"#!/bin/nosuch\n", "exec /lost: no such file or directory\n"},
		"crlf":  {"#!/bin/sh\r\nexit 3\r\n", "exec /crlf: no such file or directory\n"},
		"empty": {"", "exec /empty: exec format error\n"},
	} {
		cfg := testConfig(t, busybox(t), "/"+name)
		writeFile(t, filepath.Join(cfg.Overlay.Upper, name), tc.content, 0o755)
		if res := runContainer(t, cfg); res.status.Code != 255 || res.out != tc.words {
			t.Errorf("%s: %+v", name, res)
		}
	}
	cfg := testConfig(t, busybox(t), "/private")
	cfg.User, cfg.Spec.Process.Capabilities = "1000", nil
	writeFile(t, filepath.Join(cfg.Overlay.Upper, "private"), "#!/bin/sh\n", 0o700)
	_, err := tryContainer(t, cfg)
	var failed *StartError
	if !errors.As(err, &failed) || failed.Code != 126 || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("another's program: %#v %v", failed, err)
	}
}

func writeFile(t testing.TB, name, content string, mode os.FileMode) {
	t.Helper()
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(content), mode), os.Chmod(name, mode)); err != nil {
		t.Fatal(err)
	}
}

func TestNamesInside(t *testing.T) {
	cfg := sh(t, "hostname; cat /proc/sys/kernel/domainname; cat /proc/1/cmdline | tr '\\0' ' '; cat /proc/sys/kernel/shmmni; id -u")
	cfg.Spec.Domainname = "example.com"
	cfg.Spec.Linux.Sysctl = map[string]string{"kernel.shmmni": "123"}
	cfg.Spec.Process.Args[2] = strings.ReplaceAll(cfg.Spec.Process.Args[2], "cat /proc/1/cmdline | tr '\\0' ' '; ", "")
	expect(t, cfg, 0, "box\nexample.com\n123\n0")
}

func TestSysctlOutsideIsRefused(t *testing.T) {
	cfg := sh(t, "true")
	cfg.Spec.Linux.Sysctl = map[string]string{"..kernel.shmmni": "1"}
	if _, err := Create(cfg, IO{}); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("got %v", err)
	}
}

// TestUsers: RN-7.
func TestUsers(t *testing.T) {
	for _, tc := range []struct {
		user   string
		groups []string
		want   string
	}{
		{"1234", nil, "1234 0 0 /"},
		{"1234:1234", nil, "1234 1234 1234 /"},
		{"daemon", nil, "1 1 1 /usr/sbin"},
		{"0", nil, "0 0 0 10 /root"},
		{"1:2", []string{"33"}, "1 2 2 33 /usr/sbin"},
		{"bob", nil, "77 88 88 /home/bob"},
		{"", nil, "0 0  /root"},
	} {
		cfg := sh(t, "echo $(id -u) $(id -g) $(grep Groups /proc/self/status | cut -f2) $HOME")
		cfg.User, cfg.Groups = tc.user, tc.groups
		if tc.user == "bob" {
			writeFile(t, filepath.Join(cfg.Overlay.Upper, "data/pw"), "bob:x:77:88::/home/bob:/bin/sh\n", 0o644)
			if err := errors.Join(os.Mkdir(filepath.Join(cfg.Overlay.Upper, "etc"), 0o755), os.Symlink("/data/pw", filepath.Join(cfg.Overlay.Upper, "etc/passwd"))); err != nil {
				t.Fatal(err)
			}
		}
		res := runContainer(t, cfg)
		if strings.Join(strings.Fields(res.out), " ") != strings.Join(strings.Fields(tc.want), " ") {
			t.Errorf("%q %v: got %q, want %q", tc.user, tc.groups, res.out, tc.want)
		}
	}
	for user, words := range map[string]string{
		"nosuch":     "unable to find user nosuch: no matching entries in passwd file",
		"0:nosuch":   "unable to find group nosuch: no matching entries in group file",
		"2147483648": "uids and gids must be in range 0-2147483647",
		"-1":         "uids and gids must be in range 0-2147483647",
	} {
		cfg := sh(t, "true")
		cfg.User = user
		_, err := Create(cfg, IO{})
		if !errors.Is(err, errdefs.ErrInvalidArgument) || err.Error() != words {
			t.Errorf("%q: got %v", user, err)
		}
	}
}

func TestHome(t *testing.T) {
	cfg := sh(t, "env | grep ^HOME")
	cfg.Spec.Process.Env = append(cfg.Spec.Process.Env, "HOME=")
	expect(t, cfg, 0, "HOME=/root")
	cfg = sh(t, "env | grep ^HOME")
	cfg.Spec.Process.Env = append(cfg.Spec.Process.Env, "HOME=/x")
	expect(t, cfg, 0, "HOME=/x")
}

// TestDescriptorLimit: RN-14. Nothing of this process's own limits or signals may show.
func TestDescriptorLimit(t *testing.T) {
	cfg := sh(t, "ulimit -Sn; ulimit -Hn; grep -E 'SigIgn|SigBlk|SigCgt' /proc/self/status | cut -f2 | uniq; umask; ls /proc/self/fd | wc -l")
	cfg.Spec.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: 64, Hard: 128}}
	expect(t, cfg, 0, "64\n128\n0000000000000000\n0022\n4")
}

func TestWorkingDirectory(t *testing.T) {
	cfg := sh(t, "pwd")
	cfg.Spec.Process.Cwd = "/new/place"
	expect(t, cfg, 0, "/new/place")
	cfg = sh(t, "pwd")
	cfg.Spec.Process.Cwd = "/etc/passwd"
	_, err := Create(cfg, IO{})
	var failed *StartError
	if !errors.As(err, &failed) || failed.Code != 126 || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("file as working directory: %#v", err)
	}
}

func TestSeccomp(t *testing.T) {
	for _, noNew := range []bool{false, true} {
		cfg := sh(t, "grep -E '^(Seccomp|NoNewPrivs|CapEff):' /proc/self/status | cut -f2; unshare -U true; echo $?")
		profile, err := seccomp.GetDefaultProfile(cfg.Spec)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Spec.Linux.Seccomp, cfg.SeccompCache = profile, t.TempDir()
		cfg.Spec.Process.NoNewPrivileges = noNew
		want := map[bool]string{false: "0", true: "1"}[noNew]
		expect(t, cfg, 0, "00000000a80425fb\n"+want+"\n2\nunshare: unshare(0x10000000): Operation not permitted\n1")
	}
}

func TestAmbientCapabilities(t *testing.T) {
	cfg := sh(t, "id -u; grep -E '^Cap' /proc/self/status | cut -f2 | uniq")
	caps := []string{"CAP_NET_BIND_SERVICE"}
	cfg.Spec.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps, Inheritable: caps, Ambient: caps}
	cfg.User = "1000"
	expect(t, cfg, 0, "1000\n0000000000000400")
	cfg = sh(t, "true")
	cfg.Spec.Process.Capabilities.Bounding = []string{"CAP_NONE"}
	if unknown := document.UnknownCapabilities(cfg.Spec.Process); !slices.Equal(unknown, []string{"CAP_NONE"}) {
		t.Errorf("unknown capabilities: %q", unknown)
	}
	expect(t, cfg, 0, "")
}

func TestStandardStreams(t *testing.T) {
	cfg := testConfig(t, busybox(t), "sh", "-c", "id -u; cat; echo again >/dev/stdout; echo err >&2; exit 5")
	cfg.User = "1000"
	inR, inW, _ := os.Pipe()
	outR, outW, _ := os.Pipe()
	errR, errW, _ := os.Pipe()
	c, err := Create(cfg, IO{Stdin: inR, Stdout: outW, Stderr: errW})
	for _, f := range []*os.File{inR, outW, errW} {
		f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(inW, "a\nb"); err != nil {
		t.Fatal(err)
	}
	inW.Close()
	out, _ := io.ReadAll(outR)
	errOut, _ := io.ReadAll(errR)
	status, err := c.Wait()
	if string(out) != "1000\na\nbagain\n" || string(errOut) != "err\n" || status.Code != 5 || err != nil {
		t.Errorf("got %q %q %+v %v", out, errOut, status, err)
	}
}

func TestTerminal(t *testing.T) {
	cfg := sh(t, "tty; stty size; test -c /dev/console && echo console; echo $(id -u) | cat; stat -c %u /dev/pts/0")
	cfg.User = "1000"
	c, err := Create(cfg, IO{Terminal: true, Width: 100, Height: 40})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// The terminal reports EIO once its other end is closed.
	out, _ := io.ReadAll(c.Console())
	c.Console().Close()
	if got := strings.ReplaceAll(string(out), "\r\n", "\n"); got != "/dev/pts/0\n40 100\nconsole\n1000\n1000\n" {
		t.Errorf("got %q", got)
	}
}

func TestInit(t *testing.T) {
	cfg := sh(t, "cat /proc/1/cmdline | tr '\\0' ' ' | cut -d' ' -f1; env | grep -c GODEBUG; exit 7")
	cfg.Init = true
	profile, err := seccomp.GetDefaultProfile(cfg.Spec)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Spec.Linux.Seccomp = profile
	expect(t, cfg, 7, "/sbin/docker-init\n0")
	cfg = testConfig(t, busybox(t), "sleep", "100")
	cfg.Init = true
	c, err := Create(cfg, IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	// At once: init may not have a child yet.
	begin := time.Now()
	if err := c.Kill(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if status, err := c.Wait(); err != nil || status.Code != 143 || time.Since(begin) > time.Second {
		t.Errorf("got %+v, %v after %s", status, err, time.Since(begin))
	}
}

func waitFor(t testing.TB, what string, done func() bool) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestRefusedDocuments(t *testing.T) {
	for name, change := range map[string]func(*specs.Spec){
		"no process":          func(s *specs.Spec) { s.Process = nil },
		"no command":          func(s *specs.Spec) { s.Process.Args = nil },
		"argument cut short":  func(s *specs.Spec) { s.Process.Args = append(s.Process.Args, "a\x00b") },
		"variable cut short":  func(s *specs.Spec) { s.Process.Env = append(s.Process.Env, "A=\x00b") },
		"folder cut short":    func(s *specs.Spec) { s.Process.Cwd = "/tmp\x00b" },
		"twice one namespace": func(s *specs.Spec) { s.Linux.Namespaces = append(s.Linux.Namespaces, s.Linux.Namespaces[0]) },
		"unknown namespace":   func(s *specs.Spec) { s.Linux.Namespaces[0].Type = "x" },
		"unknown limit":       func(s *specs.Spec) { s.Process.Rlimits = []specs.POSIXRlimit{{Type: "RLIMIT_X"}} },
		"profile":             func(s *specs.Spec) { s.Process.ApparmorProfile = "nobody-enforces-this" },
		"root cgroup":         func(s *specs.Spec) { s.Linux.CgroupsPath = "/" },
	} {
		needRoot(t)
		cfg := sh(t, "true")
		change(cfg.Spec)
		if _, err := Create(cfg, IO{}); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestRaisedLimitStaysHere: RN-14. The Go runtime raises the soft limit of open files for itself.
func TestRaisedLimitStaysHere(t *testing.T) {
	if os.Getenv("COVE_OWN_MOUNTS") == "" {
		needRoot(t)
		busybox(t)
		cmd := exec.Command("sh", "-c", `ulimit -Sn 777; ulimit -Hn 1111; exec "$0" "$@"`, "/proc/self/exe", "-test.run", "^"+t.Name()+"$")
		cmd.Args[3], _ = os.Executable()
		cmd.Env = append(os.Environ(), "COVE_OWN_MOUNTS=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		return
	}
	expect(t, sh(t, "ulimit -Sn; ulimit -Hn"), 0, "777\n1111")
	c, err := Create(testConfig(t, busybox(t), "sleep", "100"), IO{})
	if err != nil {
		t.Fatal(err)
	}
	defer destroy(t, c)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r, w, _ := os.Pipe()
	p, err := c.Exec(specs.Process{Args: []string{"/bin/sh", "-c", "ulimit -Sn"}, Cwd: "/"}, "0", nil, IO{Stdout: w})
	w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	out, _ := io.ReadAll(r)
	if _, err := p.Wait(); err != nil || string(out) != "777\n" {
		t.Errorf("exec: %q, %v", out, err)
	}
}
