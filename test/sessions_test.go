package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/cove-containers/cove/testkit"
)

// TestSessions has the files of testdata/sessions, each some command lines for "docker", run by the stock docker 28 client, by a
// current one and by cove, called docker, with coved. What they print is compared with what the docker 28 client prints with
// Debian's dockerd, which is recorded in testdata/sessions/dockerd. What is not the same stands in testdata/sessions/differences
// with the reason why, and nothing stands there that is the same.
//
//	RECORD_SESSIONS=1 ...   asks a real dockerd, and records anew what it has said
//	UPDATE_SESSIONS=1 ...   writes the lists anew; what has no reason yet is under the heading "?"
//	SESSIONS=run,list ...   runs only these
func TestSessions(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	for _, program := range []string{"nsenter", "unshare"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed: no two engines can have the same ports", program)
		}
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	archives := dockerArchives(t, "busybox", "alpine")
	files, err := filepath.Glob("testdata/sessions/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no sessions: %v", err)
	}
	var sessions []dialogue
	for _, f := range files {
		s := readSession(t, f)
		if only := os.Getenv("SESSIONS"); only == "" || slices.Contains(strings.Split(only, ","), s.name) {
			sessions = append(sessions, s)
		}
	}
	plugin := buildx(t)
	docker := docker28(t)
	reference := &party{name: "dockerd", client: docker}
	parties := []*party{
		{name: "docker28", client: docker, plugin: plugin, engine: coveSeat(t)},
		{name: "docker29", client: docker29(t), plugin: plugin, engine: coveSeat(t)},
		{name: "cove", client: filepath.Join(bin, "cove"), engine: coveSeat(t)},
	}
	record := os.Getenv("RECORD_SESSIONS") != ""
	if record {
		reference.engine = dockerSeat(t)
		parties = append(parties, reference)
	} else {
		reference.readRecords(t, sessions)
	}
	var all sync.WaitGroup
	for _, p := range parties {
		all.Go(func() { p.runAll(t, archives, sessions) })
	}
	all.Wait()
	if record {
		reference.writeRecords(t, sessions)
	}
	for _, c := range []struct {
		list string
		a, b *party
	}{{"engine", reference, parties[0]}, {"docker29", parties[0], parties[1]}, {"cove", parties[0], parties[2]}} {
		t.Run(c.list, func(t *testing.T) { compareSessions(t, c.list, sessions, c.a, c.b) })
	}
}

// A dialogue is a session: a list of command lines for a shell; indented lines go with the one before them.
type dialogue struct {
	name    string
	lines   []string
	parties []string // who takes part; "# parties: a b" in the file, else all
}

// with tells whether a party takes part.
func (d dialogue) with(p *party) bool {
	return len(d.parties) == 0 || slices.Contains(d.parties, p.name)
}

func readSession(t *testing.T, path string) dialogue {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := dialogue{name: strings.TrimSuffix(filepath.Base(path), ".txt")}
	for _, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "# parties: "):
			s.parties = strings.Fields(line)[2:]
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "\t") && len(s.lines) > 0:
			s.lines[len(s.lines)-1] += "\n" + strings.TrimPrefix(line, "\t")
		default:
			s.lines = append(s.lines, line)
		}
	}
	return s
}

// answer is what one command line has printed, and its exit status.
type answer struct {
	out, err []string // lines, without what differs from run to run
	status   int
}

// seat is an engine that sessions talk to: its socket, a registry it reaches, and what a command has to begin with to be where
// the engine's ports are.
type seat struct {
	socket, registry, data string
	enter                  []string
}

// party is a client with an engine, and what its sessions have printed.
type party struct {
	name, client string
	home         string // of a party that has one only
	plugin       string // the stock buildx, for a client that has none
	engine       seat
	answers      map[string][]answer
}

// runAll runs one session after the other; between them everything but the images goes away.
func (p *party) runAll(t *testing.T, archives string, sessions []dialogue) {
	dir, err := os.MkdirTemp("", "cvs")
	if err != nil {
		t.Error(err)
		return
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "bin")
	if err := errors.Join(os.Mkdir(bin, 0o755), os.Symlink(p.client, filepath.Join(bin, "docker"))); err != nil {
		t.Error(err)
		return
	}
	p.answers = map[string][]answer{}
	load := "for i in " + archives + "/*.tar; do docker load -q -i $i; done"
	clean := `{ docker unpause $(docker ps -q); docker rm -fv $(docker ps -aq); docker network prune -f; docker volume rm -f $(docker volume ls -q)
		docker rmi -f $(docker images -aq); docker builder prune -af; } >/dev/null 2>&1
		docker ps -aq; docker volume ls -q; docker images -q; docker network ls -q -f type=custom`
	for i, s := range sessions {
		if !s.with(p) {
			continue
		}
		work := filepath.Join(dir, s.name)
		if err := errors.Join(os.Mkdir(work, 0o755), os.Mkdir(filepath.Join(dir, strconv.Itoa(i)), 0o755)); err != nil {
			t.Error(err)
			return
		}
		home := filepath.Join(dir, strconv.Itoa(i))
		buildkit := "0"
		if s.name == "buildx" { // where it is installed, "docker build" and "docker builder" are its commands
			buildkit = "1"
			plugins := filepath.Join(home, ".docker/cli-plugins")
			if p.plugin == "" {
				p.plugin = p.client // never called: it has these commands of its own
			}
			if err := errors.Join(os.MkdirAll(plugins, 0o755), os.Symlink(p.plugin, filepath.Join(plugins, "docker-buildx"))); err != nil {
				t.Error(err)
				return
			}
		}
		run := func(line string) answer { return p.shell(t, work, home, bin, "DOCKER_BUILDKIT="+buildkit, line) }
		if a := run(load); a.status != 0 {
			t.Errorf("%s: load: %q", p.name, a.err)
			return
		}
		start := time.Now()
		for _, line := range s.lines {
			p.answers[s.name] = append(p.answers[s.name], run(line))
		}
		took := time.Since(start)
		if a := run(clean); a.status != 0 || len(a.out) > 0 {
			t.Errorf("%s: left by %s: %q %q", p.name, s.name, a.out, a.err)
		}
		t.Logf("%s: %s: %v", p.name, s.name, took)
	}
}

// shell runs a line with the client called docker.
func (p *party) shell(t *testing.T, work, home, bin, buildkit, line string) answer {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	args := append(append([]string(nil), p.engine.enter...), "sh", "-c", line)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	cmd.WaitDelay = time.Second
	cmd.Dir = work
	cmd.Env = []string{
		"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + home, "PWD=" + work, "DOCKER_HOST=unix://" + p.engine.socket, "DOCKER_CLI_HINTS=false",
		"R=" + p.engine.registry, buildkit, "LANG=C.UTF-8", "TZ=UTC",
	}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Errorf("%s: %s: %v", p.name, line, err)
	}
	clear := strings.NewReplacer(work, "<dir>", home, "<home>", p.engine.registry, "<registry>", p.engine.socket, "<socket>", p.engine.data, "<data>")
	return answer{out: linesOf(clear.Replace(out.String())), err: linesOf(clear.Replace(errOut.String())), status: cmd.ProcessState.ExitCode()}
}

// dockerArchives writes real images in the form that old daemons load.
func dockerArchives(t *testing.T, names ...string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range names {
		f, err := os.Open(filepath.Join(images(t), name+".tar"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		image, err := testkit.FromLayout(f, runtime.GOARCH)
		if err != nil {
			t.Fatal(err)
		}
		archive, err := image.DockerArchive(name + ":latest")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name+".tar"), archive, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// coveSeat is an engine of ours in a network namespace of its own.
func coveSeat(t *testing.T) seat {
	e := newEngine(t)
	e.Shell = `exec unshare --net --uts sh -c 'ip link set lo up && exec "$@"' sh "$@"`
	e.Start()
	return seated(t, strings.TrimPrefix(e.Socket(), "unix://"), e.DataRoot, e.daemon.Process.Pid)
}

// dockerSeat starts a dockerd in namespaces of its own, so that its bridge, rules and mounts are gone with it.
func dockerSeat(t *testing.T) seat {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("dockerd is not installed: there is nobody to record")
	}
	dir, err := os.MkdirTemp("", "cvd")
	if err != nil {
		t.Fatal(err)
	}
	parent := "/cove-sessions-" + strconv.Itoa(os.Getpid())
	socket := filepath.Join(dir, "docker.sock")
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("unshare", "--net", "--uts", "--mount", "sh", "-c", `ip link set lo up && exec "$@"`, "sh",
		"dockerd", "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-H", "unix://"+socket, "--pidfile", dir+"/pid", "--cgroup-parent", parent)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(30 * time.Second):
			t.Error("dockerd does not end")
			cmd.Process.Kill()
			<-ended
		}
		for _, left := range processes(dir) {
			t.Errorf("left behind by dockerd: %s", left)
		}
		log.Close()
		removeCgroups(parent)
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return seated(t, socket, dir+"/data", cmd.Process.Pid)
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			t.Fatalf("dockerd does not answer:\n%s", text)
		}
	}
}

// seated starts a registry where the daemon with this pid is.
func seated(t *testing.T, socket, data string, pid int) seat {
	t.Helper()
	s := seat{socket: socket, data: data, registry: "127.0.0.1:5000", enter: []string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid)}}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	accounts := filepath.Join(dir, "htpasswd")
	if err := os.WriteFile(accounts, []byte(account("alice", "secret")), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append(s.enter[1:], filepath.Join(bin, "coved"), "registry", "serve", "--listen", s.registry, "--root", dir+"/data", "--htpasswd", accounts)
	cmd := exec.Command(s.enter[0], args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	return s
}

// removeCgroups removes the empty groups of this name that dockerd has left.
func removeCgroups(name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/*" + name, "/sys/fs/cgroup" + name} {
		found, _ := filepath.Glob(pattern)
		for _, f := range found {
			os.Remove(f)
		}
	}
}
