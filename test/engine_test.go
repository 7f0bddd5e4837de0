package test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/nftables"

	"github.com/cove-containers/cove/testkit"
)

// binaries builds the three programs once and returns their folder, which may be given where there is no compiler.
var binaries = sync.OnceValues(func() (string, error) {
	if given := os.Getenv("COVE_TEST_PROGRAMS"); given != "" {
		return given, nil
	}
	dir, err := os.MkdirTemp("", "cove-bin-")
	if err != nil {
		return "", err
	}
	if out, err := buildPrograms(dir).CombinedOutput(); err != nil {
		return "", fmt.Errorf("build: %w\n%s", err, out)
	}
	// Of programs that are no engine's, such as registries.
	for _, pair := range reportTo(dir) {
		name, value, _ := strings.Cut(pair, "=")
		os.Setenv(name, value)
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := binaries(); err == nil {
		for _, r := range reports(dir) {
			fmt.Println("FAIL: a program that no test's engine has started:", r)
			code = max(code, 1)
		}
		if dir != os.Getenv("COVE_TEST_PROGRAMS") {
			os.RemoveAll(dir)
		}
	}
	os.Exit(code)
}

// needRoot skips a test that makes real containers where that cannot be done.
func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes namespaces, mounts and cgroups")
	}
}

// images is the folder of real images, or skips.
func images(t *testing.T) string {
	t.Helper()
	dir, err := testkit.Images("..")
	if err != nil {
		t.Skip(err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Engine is a daemon of a test's own: its folders, bridge and addresses are nobody else's.
type Engine struct {
	t    testing.TB
	Bin  string // folder of the programs
	Dir  string // all of the engine's folders
	Args []string
	// Limits set by `ulimit` or umask in the shell that starts the daemon, as "umask 077; ulimit -Sn 1024".
	Shell string
	// DataRoot is Dir/data unless a test puts it elsewhere.
	DataRoot string
	daemon   *exec.Cmd
	finished bool
	// Subnet is the beginning of addresses that this test may use for networks of its own, such as "10.64.1".
	Subnet string
	// Subnet6 is the same of IPv6, such as "fd10:40:1".
	Subnet6 string
	exited  chan struct{}
	log     lockedBuffer
}

var subnets atomic.Int32

// newEngine lays out an engine's folders. Start starts it; everything is undone when the test ends.
func newEngine(t testing.TB, args ...string) *Engine {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "cv")
	if err != nil {
		t.Fatal(err)
	}
	e := &Engine{t: t, Bin: bin, Dir: dir, DataRoot: filepath.Join(dir, "data")}
	second, third := freeSubnet(t)
	e.Subnet = fmt.Sprintf("10.%d.%d", 64+second, third)
	e.Subnet6 = fmt.Sprintf("fd10:%x:%x", 64+second, third)
	e.Args = append([]string{
		"--bip", fmt.Sprintf("10.%d.%d.1/24", 128+second, third),
		"--default-address-pool", fmt.Sprintf("base=10.%d.%d.0/24,size=28", 192+second, third),
	}, args...)
	t.Cleanup(e.finishOnce)
	return e
}

// freeSubnet picks a /24 by process and counter, so that engines of tests running beside each other differ: one for the
// default network, one to take other networks from, and one for those whose subnet a test names. It is the test's until its
// end, also before a daemon uses it: a socket of this name tells other processes so, and ends with this one.
func freeSubnet(t testing.TB) (second, third int) {
	n := int(subnets.Add(1)) + os.Getpid()*37
	for ; ; n++ {
		second, third = n/256%64, n%256
		if routed(fmt.Sprintf("10.%d.%d.1", 128+second, third)) {
			continue
		}
		if taken, err := net.Listen("unix", fmt.Sprintf("@cove-test-subnet-%d-%d", second, third)); err == nil {
			t.Cleanup(func() { taken.Close() })
			return second, third
		}
	}
}

func routed(addr string) bool {
	ifs, _ := net.InterfaceAddrs()
	for _, a := range ifs {
		if n, ok := a.(*net.IPNet); ok && n.Contains(net.ParseIP(addr)) {
			return true
		}
	}
	return false
}

// Socket is the engine's socket as a client's address.
func (e *Engine) Socket() string { return "unix://" + filepath.Join(e.Dir, "run", "cove.sock") }

// Start starts the daemon and waits until it answers.
func (e *Engine) Start() {
	e.t.Helper()
	if err := e.TryStart(); err != nil {
		e.t.Fatalf("start coved: %v\n%s", err, e.log.String())
	}
}

// TryStart is Start for a test that expects a refusal.
func (e *Engine) TryStart() error {
	line := fmt.Sprintf(`%s exec "$@"`, e.Shell)
	if e.Shell != "" {
		line = fmt.Sprintf(`%s; exec "$@"`, e.Shell)
	}
	args := append([]string{"-c", line, "sh", filepath.Join(e.Bin, "coved"),
		"--data-root", e.DataRoot, "--exec-root", filepath.Join(e.Dir, "run"), "-H", e.Socket()}, e.Args...)
	e.daemon = exec.Command("/bin/sh", args...)
	e.daemon.Env = append(os.Environ(), reportTo(e.Dir)...)
	e.daemon.Stdout, e.daemon.Stderr = &e.log, &e.log
	if err := e.daemon.Start(); err != nil {
		return err
	}
	e.exited = make(chan struct{})
	go func(cmd *exec.Cmd, done chan struct{}) { cmd.Wait(); close(done) }(e.daemon, e.exited)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		select {
		case <-e.exited:
			return fmt.Errorf("coved ended: %s: %s", e.daemon.ProcessState, e.log.String())
		default:
		}
		if e.answers() {
			return nil
		}
	}
	return errors.New("coved does not answer")
}

// answers tells whether the daemon serves. That somebody listens is not enough: a child that the last one was making when it
// was killed may have its socket for a moment.
func (e *Engine) answers() bool {
	c, err := net.Dial("unix", strings.TrimPrefix(e.Socket(), "unix://"))
	if err != nil {
		return false
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprint(c, "GET /_ping HTTP/1.0\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	return err == nil && strings.Contains(line, "200")
}

// Stop ends the daemon in order; its containers go on.
func (e *Engine) Stop() { e.end(syscall.SIGTERM) }

// Kill ends the daemon as a crash does.
func (e *Engine) Kill() { e.end(syscall.SIGKILL) }

func (e *Engine) end(sig syscall.Signal) {
	if e.daemon == nil {
		return
	}
	e.daemon.Process.Signal(sig)
	select {
	case <-e.exited:
	case <-time.After(time.Minute):
		e.t.Errorf("coved does not end on %v", sig)
		e.daemon.Process.Kill()
		<-e.exited
	}
	e.daemon = nil
}

// Env is the environment of a client of this engine.
func (e *Engine) Env() []string {
	return append(reportTo(e.Dir),
		"PATH="+e.Bin+":"+os.Getenv("PATH"), "HOME="+e.Dir, "COVE_HOST="+e.Socket(), "DOCKER_HOST="+e.Socket(),
		"DOCKER_CLI_HINTS=false", "TMPDIR="+os.TempDir())
}

// Command is a client's command, ready to run.
func (e *Engine) Command(args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	if p, err := exec.LookPath(filepath.Join(e.Bin, args[0])); err == nil {
		cmd = exec.Command(p, args[1:]...)
	}
	cmd.Env = e.Env()
	return cmd
}

// Run runs a client's command and returns its standard output, trimmed; any failure ends the test.
func (e *Engine) Run(args ...string) string {
	e.t.Helper()
	out, errOut, code := e.Try(args...)
	if code != 0 {
		e.t.Fatalf("%s: status %d\n%s%s\ndaemon: %s", strings.Join(args, " "), code, out, errOut, e.log.String())
	}
	return strings.TrimSpace(out)
}

// Try runs a client's command for at most two minutes and returns what it printed and its exit status.
func (e *Engine) Try(args ...string) (stdout, stderr string, code int) {
	e.t.Helper()
	return e.TryFor(2*time.Minute, args...)
}

// TryFor is Try with another limit.
func (e *Engine) TryFor(limit time.Duration, args ...string) (stdout, stderr string, code int) {
	e.t.Helper()
	cmd := e.Command(args...)
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	timer := time.AfterFunc(limit, func() { cmd.Process.Kill() })
	defer timer.Stop()
	cmd.Wait()
	return out.String(), errOut.String(), cmd.ProcessState.ExitCode()
}

// Load loads real images by name.
func (e *Engine) Load(names ...string) {
	e.t.Helper()
	for _, n := range names {
		e.Run("cove", "load", "-q", "-i", filepath.Join(images(e.t.(*testing.T)), n+".tar"))
	}
}

// finishOnce is finish, for a test that must have it done before something else ends.
func (e *Engine) finishOnce() {
	if !e.finished {
		e.finished = true
		e.finish()
	}
}

// finish removes all containers, stops the daemon, and fails the test when anything of the engine is still there.
func (e *Engine) finish() {
	if _, err := os.Stat(filepath.Join(e.Dir, "run")); err != nil {
		os.RemoveAll(e.Dir) // it was never started
		return
	}
	if e.daemon == nil {
		e.TryStart()
	}
	if e.daemon != nil {
		if ids, _, code := e.Try("cove", "ps", "-aq"); code == 0 && ids != "" {
			e.Try(append([]string{"cove", "rm", "-f", "-v"}, strings.Fields(ids)...)...)
		}
		e.Stop()
	}
	// The kernel takes network namespaces down one after another, those of all engines in one queue.
	var left []string
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left = e.leftovers(); len(left) == 0 || time.Now().After(deadline) {
			break
		}
	}
	for _, l := range left {
		e.t.Errorf("left behind: %s", l)
	}
	for _, b := range e.brokenPrograms() {
		e.t.Errorf("a program broke: %s", b)
	}
	if e.t.Failed() {
		e.t.Logf("daemon's log:\n%s", e.log.String())
	}
	os.RemoveAll(e.Dir)
}

// leftovers lists what the engine has outside its folders: processes, mounts, links, tables, cgroups.
func (e *Engine) leftovers() []string {
	raw, err := os.ReadFile(filepath.Join(e.Dir, "run", "mark"))
	mark := strings.TrimSpace(string(raw))
	if err != nil || mark == "" {
		return []string{"no mark: " + fmt.Sprint(err)}
	}
	left := processes(e.Dir)
	if mounts, err := os.ReadFile("/proc/self/mountinfo"); err == nil {
		for _, line := range strings.Split(string(mounts), "\n") {
			if strings.Contains(line, e.Dir) {
				left = append(left, "mount "+line)
			}
		}
	}
	links, _ := net.Interfaces()
	for _, l := range links {
		if strings.Contains(l.Name, mark) || strings.HasPrefix(l.Name, "cv"+mark[:5]) || strings.HasPrefix(l.Name, "cb"+mark[:5]) || strings.HasPrefix(l.Name, "cx"+mark[:5]) {
			left = append(left, "link "+l.Name)
		}
	}
	for _, pattern := range []string{"/sys/fs/cgroup/*/*" + mark + "*", "/sys/fs/cgroup/*" + mark + "*"} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			left = append(left, "cgroup "+f)
		}
	}
	// Not by the nft program: it reads every rule there is, and starts again whenever another engine changes one.
	tables, err := (&nftables.Conn{}).ListTables()
	if err != nil {
		return append(left, "nft tables cannot be listed: "+err.Error())
	}
	for _, t := range tables {
		if strings.Contains(t.Name, mark) {
			left = append(left, "nft table "+t.Name)
		}
	}
	return left
}

// processes lists those whose command line or environment names dir, but for this one.
func processes(dir string) []string {
	var found []string
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		pid, _ := strconv.Atoi(filepath.Base(d))
		cmdline, _ := os.ReadFile(d + "/cmdline")
		if pid != os.Getpid() && bytes.Contains(cmdline, []byte(dir+"/")) {
			found = append(found, fmt.Sprintf("process %d: %s", pid, bytes.ReplaceAll(cmdline, []byte{0}, []byte{' '})))
		}
	}
	return found
}
