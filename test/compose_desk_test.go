package test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// transcript is what a command prints while the test goes on.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer
	cmd  *exec.Cmd
}

// Write takes what is printed.
func (o *transcript) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(b)
}

// String is what was printed so far.
func (o *transcript) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// beside runs compose beside the test until end is called.
func (p *project) beside(args ...string) *transcript {
	p.Helper()
	o := &transcript{cmd: p.command(args...)}
	o.cmd.Stdout, o.cmd.Stderr = o, o
	if err := o.cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(o.end)
	return o
}

func (o *transcript) end() {
	if o.cmd.ProcessState == nil {
		o.cmd.Process.Signal(os.Interrupt)
		o.cmd.Wait()
	}
}

// hears waits until a command beside the test has printed text.
func (p *project) hears(o *transcript, text string) {
	p.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if strings.Contains(o.String(), text) {
			return
		}
	}
	p.Errorf("%q never says %q: %s", o.cmd.Args, text, o.String())
}

// turnsTo waits until a page of the web side is what it should be; the web side may be gone for a while. Again is done every
// now and then: what looks may have begun late.
func (p *project) turnsTo(path, want string, again func()) {
	p.Helper()
	got := ""
	for i := range 300 {
		if i%25 == 0 && again != nil {
			again()
		}
		if at, err := p.try("port", "web", "3000"); err == nil {
			if got, _ = ask(strings.TrimSpace(at), path); got == want {
				return
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	p.Fatalf("%s is %q, not %q\n%s", path, got, want, p.run("logs", "--tail", "20"))
}

// exits expects compose to end with this status.
func (p *project) exits(code int, args ...string) string {
	p.Helper()
	cmd := p.command(args...)
	out, _ := cmd.CombinedOutput()
	if got := cmd.ProcessState.ExitCode(); got != code {
		p.Errorf("compose %s: status %d, not %d: %s", strings.Join(args, " "), got, code, out)
	}
	return string(out)
}

// composeDesk is a help desk in Node with workers behind a queue, of two compose files and one that they extend. The
// queue's socket lies on a volume in memory, which all that use it must share.
func composeDesk(t *testing.T, e *Engine) {
	p := newProject(t, e, "cove", "desk")
	p.env = append(p.env, "SUBNET="+e.Subnet)
	p.says([]string{"SIGNATURE: the desk at home", "/run/queue", e.Subnet + ".20", "replicas: 2"}, "config")
	p.run("build", "--quiet")
	p.run("create")
	p.says([]string{"created"}, "ps", "-a", "--format", "{{.State}}", "db")
	events := p.beside("events")
	p.run("up", "-d", "--wait")
	if got := p.page("web", "3000", "/"); !strings.HasPrefix(got, "good day for desk limit = 20 ") {
		t.Errorf("the desk says %q", got)
	}
	p.hears(events, "health_status")
	events.end()

	logs := p.beside("logs", "-f", "--no-log-prefix", "worker")
	if got := p.page("web", "3000", "/new"); got != "ticket 1" {
		t.Errorf("a new ticket: %q", got)
	}
	p.turnsTo("/answered", "1 answered by the desk at home", nil)
	p.hears(logs, "answered 1")
	p.deskInside()
	p.deskVerbs()

	// The volume in memory outlives a daemon, and whoever comes later sees what is in it.
	e.Kill()
	e.Start()
	p.run("scale", "worker=3")
	p.run("up", "-d", "--wait", "--scale", "worker=3")
	states := p.run("ps", "--format", "{{.Service}} {{.Health}}")
	if strings.Count(states, "worker healthy") != 3 {
		t.Errorf("of three workers there are:\n%s", states)
	}
	p.page("web", "3000", "/new")
	p.turnsTo("/answered", "2 answered by the desk at home", nil)
	logs.end()

	p.deskWatch()
	p.run("--profile", "mail", "up", "-d", "mail")
	p.eventually("mail to ", "logs", "mail")
	p.run("restart", "-t", "5", "db") // takes web along, which depends on it
	p.turnsTo("/answered", "2 answered by the desk at home", nil)
	p.run("--profile", "*", "down", "-t", "5", "--remove-orphans")
	if got := e.Run("cove", "volume", "ls", "-q"); got != "desk_data\ndesk_run" {
		t.Errorf("after down the volumes are %q", got)
	}
	p.run("down", "-v", "--rmi", "local")
	if got := e.Run("cove", "ps", "-aq") + e.Run("cove", "volume", "ls", "-q"); got != "" {
		t.Errorf("down leaves %q", got)
	}
}

// deskInside looks at what services were given.
func (p *project) deskInside() {
	p.Helper()
	for _, tc := range []struct {
		service, command, want string
	}{
		{"web", "cat /tmp/begun", "begun by root"},
		{"web", "id -u; ulimit -n; cat /etc/desk/limits.conf; grep -c outside /etc/hosts", "1000\n512\nlimit = 20\n1"},
		{"worker", "touch /app/x 2>&1 | grep -c 'Read-only'; grep CapBnd /proc/self/status; grep NoNewPrivs /proc/self/status", "1\nCapBnd:\t0000000000000000\nNoNewPrivs:\t1"},
		{"queue", "cat /proc/sys/net/core/somaxconn; stat -f -c %T /run/queue; ls /run/queue", "1024\ntmpfs\nredis.sock"},
		{"db", "cat /run/secrets/password; stat -c ' %a' /run/secrets/password; df --output=size /dev/shm | tail -1", "battery staple 444\n32768"},
	} {
		got := strings.TrimSpace(strings.ReplaceAll(p.run("exec", "-T", tc.service, "sh", "-c", tc.command), "\r", ""))
		if lines := strings.Fields(got); strings.Join(lines, " ") != strings.Join(strings.Fields(tc.want), " ") {
			p.Errorf("in %s, %q gives %q, not %q", tc.service, tc.command, got, tc.want)
		}
	}
}

// deskVerbs uses the commands that no other project has used.
func (p *project) deskVerbs() {
	p.Helper()
	p.says([]string{"desk", "running(5)", "compose.override.yaml"}, "ls")
	p.says([]string{"desk_data", "desk_run"}, "volumes", "-q")
	p.says([]string{"node web.js"}, "top", "web")
	p.says([]string{"desk-web"}, "stats", "--no-stream", "--format", "{{.Name}}")
	p.says([]string{"7 0 /app"}, "exec", "-T", "-e", "X=7", "-u", "0", "-w", "/app", "worker", "sh", "-c", "echo $X $(id -u) $PWD")
	p.says([]string{"from outside"}, "exec", "-T", "--index", "2", "worker", "sh", "-c", "echo from outside")
	p.exits(5, "exec", "-T", "web", "sh", "-c", "exit 5")
	p.says([]string{"v20 the desk at home"}, "run", "--rm", "-T", "--no-deps", "-e", "WHO=v20", "worker", "sh", "-c", "echo $WHO $SIGNATURE")
	p.exits(6, "run", "--rm", "-T", "--no-deps", "worker", "sh", "-c", "exit 6")
	piped := p.command("run", "--rm", "-T", "--no-deps", "worker", "cat")
	piped.Stdin = strings.NewReader("through a pipe")
	if out, err := piped.Output(); err != nil || string(out) != "through a pipe" {
		p.Errorf("run with a pipe: %v %q", err, out)
	}
	if out := p.exits(3, "--profile", "report", "up", "--no-deps", "--exit-code-from", "report", "report"); !strings.Contains(out, "nothing to report") {
		p.Errorf("up of a service that ends says %q", out)
	}
	p.exits(3, "--profile", "report", "wait", "report")
	attached := p.beside("attach", "--no-stdin", "--sig-proxy=false", "--index", "1", "worker")
	for range 60 { // of two workers the one attached to answers some, once it is attached to
		if p.page("web", "3000", "/new"); strings.Contains(attached.String(), "answered") {
			break
		}
		time.Sleep(500 * time.Millisecond)
	}
	p.hears(attached, "answered")
	attached.cmd.Process.Kill()
	attached.cmd.Wait()
	p.run("exec", "-T", "-e", "PGPASSWORD=battery staple", "db", "psql", "-q", "-h", "/tmp", "-U", "shop", "desk", "-c", "delete from tickets where id > 1")
	p.run("kill", "-s", "SIGCONT", "worker")
	p.run("export", "-o", filepath.Join(p.dir, "web.tar"), "web")
	if info, err := os.Stat(filepath.Join(p.dir, "web.tar")); err != nil || info.Size() < 1<<20 {
		p.Errorf("export: %v", err)
	}
	p.run("commit", "web", "desk-kept")
	p.e.Run("cove", "rmi", "desk-kept")
	var images []struct{ Repository string }
	if err := json.Unmarshal([]byte(p.run("images", "--format", "json")), &images); err != nil || !slices.ContainsFunc(images, func(i struct{ Repository string }) bool { return i.Repository == "desk-node" }) {
		p.Errorf("images: %v %v", err, images)
	}
}

// deskWatch changes files that compose watches: one is put into the container, which is restarted, the other has the
// image built anew.
func (p *project) deskWatch() {
	p.Helper()
	watcher := p.beside("watch", "--no-up")
	p.hears(watcher, "Watch enabled")
	write := func(name, text string) func() {
		return func() {
			if err := os.WriteFile(filepath.Join(p.dir, "app", name), []byte(text), 0o644); err != nil {
				p.Fatal(err)
			}
		}
	}
	p.turnsTo("/edition", "second", write("edition.txt", "second\n"))
	p.says([]string{"closing"}, "exec", "-T", "queue", "cat", "/run/queue/closed") // what a service does before it stops
	p.turnsTo("/notice", "longer", write("notice.txt", "longer\n"))
	watcher.end()
}
