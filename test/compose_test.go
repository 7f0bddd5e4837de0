package test

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// project is a folder with a compose file, driven by the stock docker client with the stock compose.
type project struct {
	*testing.T
	e      *Engine
	client string
	dir    string
	env    []string
}

// newProject has client, docker or cove, run the stock compose as its plugin.
func newProject(t *testing.T, e *Engine, client, name string) *project {
	t.Helper()
	p := &project{T: t, e: e, client: client, dir: filepath.Join(t.TempDir(), name)}
	if err := os.CopyFS(p.dir, os.DirFS(filepath.Join("projects", name))); err != nil {
		t.Fatal(err)
	}
	p.env = append(e.Env(), "DOCKER_CONFIG="+plugins(t, map[string]string{"compose": compose(t), "buildx": buildx(t)}), "COMPOSE_PROGRESS=plain")
	t.Cleanup(func() { p.try("--profile", "*", "down", "-v", "-t", "1") })
	return p
}

func (p *project) command(args ...string) *exec.Cmd {
	cmd := p.e.Command(append([]string{p.client, "compose"}, args...)...)
	cmd.Dir, cmd.Env = p.dir, p.env
	return cmd
}

func (p *project) try(args ...string) (string, error) {
	cmd := p.command(args...)
	done := time.AfterFunc(8*time.Minute, func() { cmd.Process.Kill() })
	defer done.Stop()
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// run runs compose and gives what it printed.
func (p *project) run(args ...string) string {
	p.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.Fatalf("compose %s: %v\n%s\n%s", strings.Join(args, " "), err, out, p.e.log.String())
	}
	return out
}

// says runs compose and expects to find each word in what it prints.
func (p *project) says(words []string, args ...string) {
	p.Helper()
	out := p.run(args...)
	for _, w := range words {
		if !strings.Contains(out, w) {
			p.Errorf("compose %s lacks %q:\n%s", strings.Join(args, " "), w, out)
		}
	}
}

// eventually runs compose until what it prints has a word in it: what a container prints comes when it comes.
func (p *project) eventually(word string, args ...string) {
	p.Helper()
	out := p.run(args...)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(out, word) && time.Now().Before(deadline); {
		out = p.run(args...)
	}
	if !strings.Contains(out, word) {
		p.Errorf("compose %s never says %q:\n%s", strings.Join(args, " "), word, out)
	}
}

// page is what a service answers at its published port.
func (p *project) page(service, port, path string) string {
	p.Helper()
	at := strings.TrimSpace(p.run("port", service, port))
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		if body, ok := ask(at, path); ok {
			return body
		}
	}
	p.Fatalf("%s does not answer at %s%s\n%s", service, at, path, p.run("logs"))
	return ""
}

// ask asks a web server once.
func ask(at, path string) (body string, ok bool) {
	client := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	res, err := client.Get("http://" + at + path)
	if err != nil {
		return "", false
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	return string(raw), err == nil && res.StatusCode == http.StatusOK
}

// TestComposeOnDebian has projects whose images are built on Debian's packages; the second uses images of the first.
func TestComposeOnDebian(t *testing.T) {
	needRoot(t)
	t.Parallel() // much of it is waiting for packages
	archive := debianImage(t)
	e := newEngine(t)
	e.Start()
	e.Run("cove", "load", "-q", "-i", archive)
	t.Run("shop", func(t *testing.T) { composeShop(t, e) })
	t.Run("desk", func(t *testing.T) { composeDesk(t, e) })
}

// composeShop is a web application with PostgreSQL and Redis: built, brought up in order of health, used, scaled,
// watched, taken down and up again with what it had.
func composeShop(t *testing.T, e *Engine) {
	p := newProject(t, e, "docker", "shop")
	p.run("build", "--quiet")
	p.run("up", "-d", "--wait")
	if got := p.page("app", "8000", "/"); !strings.HasPrefix(got, "welcome currency = EUR 1 ") {
		t.Errorf("the shop says %q", got)
	}
	p.says([]string{"orders: 0"}, "run", "--rm", "migrate")
	if got := p.page("app", "8000", "/order"); got != "order 1" {
		t.Errorf("the shop says %q", got)
	}
	p.says([]string{"open"}, "logs", "app")
	p.says([]string{"PONG"}, "exec", "-T", "cache", "redis-cli", "-h", "memory", "ping")
	p.says([]string{"postgres"}, "top", "db")
	var states []struct{ Service, State, Health string }
	for line := range strings.Lines(p.run("ps", "--format", "json")) {
		var s struct{ Service, State, Health string }
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		states = append(states, s)
	}
	if len(states) != 3 || slices.ContainsFunc(states, func(s struct{ Service, State, Health string }) bool {
		return s.State != "running" || s.Health != "healthy"
	}) {
		t.Errorf("ps shows %v", states)
	}
	if out, err := p.try("exec", "-T", "cache", "bash", "-c", "exec 3<>/dev/tcp/1.1.1.1/53"); err == nil {
		t.Errorf("the internal network has a way out: %s", out)
	}
	p.watch()
	p.scale()

	p.run("stop", "-t", "20")
	p.run("start")
	if got := p.page("app", "8000", "/order"); got != "order 2" {
		t.Errorf("after stop and start the shop says %q", got)
	}
	p.run("down", "-t", "20")
	p.run("up", "-d", "--wait")
	p.says([]string{"orders: 2"}, "run", "--rm", "migrate")
	p.run("down", "-v", "-t", "20")
	if got := e.Run("cove", "ps", "-aq") + e.Run("cove", "volume", "ls", "-q"); got != "" {
		t.Errorf("down leaves %q", got)
	}
}

// watch changes a page beside a running compose watch.
func (p *project) watch() {
	p.Helper()
	watcher := p.command("watch", "--no-up")
	var said strings.Builder
	watcher.Stdout, watcher.Stderr = &said, &said
	if err := watcher.Start(); err != nil {
		p.Fatal(err)
	}
	defer func() { watcher.Process.Signal(os.Interrupt); watcher.Wait() }()
	got := ""
	for i := range 300 {
		if i%10 == 0 { // it may not have looked before
			if err := os.WriteFile(filepath.Join(p.dir, "app/pages/index.txt"), []byte("the second page\n"), 0o644); err != nil {
				p.Fatal(err)
			}
		}
		if got = p.page("app", "8000", "/page"); got == "the second page\n" {
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
	p.Errorf("the page is %q; watch says %s", got, said.String())
}

// scale has three of one service, all found under its name.
func (p *project) scale() {
	p.Helper()
	p.run("up", "-d", "--wait", "--scale", "app=3")
	addresses := map[string]bool{}
	for line := range strings.Lines(p.run("exec", "-T", "cache", "getent", "ahostsv4", "app")) {
		addresses[strings.Fields(line)[0]] = true
	}
	if len(addresses) != 3 {
		p.Errorf("of three apps the name server knows %v", addresses)
	}
	p.run("up", "-d", "--wait", "--scale", "app=1")
}

// TestComposeNotes is a project of small parts: replicas behind a name, a service that must have ended well before the
// next, a build written in the compose file, logs that are followed, a service that is restarted.
func TestComposeNotes(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	p := newProject(t, e, "cove", "notes")
	p.run("up", "-d", "--build")
	if got := p.page("proxy", "8080", "/cgi-bin/notes"); got != "made\n" {
		t.Errorf("the notes are %q", got)
	}
	p.eventually("made", "logs", "--no-log-prefix", "after")
	names := map[string]bool{}
	for range 60 {
		names[p.page("proxy", "8080", "/name")] = true
		if len(names) == 2 {
			break
		}
	}
	if len(names) != 2 {
		t.Errorf("of two replicas %v answer", names)
	}
	follow := p.command("logs", "-f", "--no-log-prefix", "after")
	var followed lockedBuffer
	follow.Stdout = &followed
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	// Where it finds no container, as between the two, it ends.
	for deadline := time.Now().Add(30 * time.Second); !strings.Contains(followed.String(), "made") && time.Now().Before(deadline); {
		time.Sleep(20 * time.Millisecond)
	}
	p.run("up", "-d", "--force-recreate", "--no-deps", "after")
	p.run("restart", "-t", "1", "proxy")
	if got := p.page("proxy", "8080", "/cgi-bin/notes"); got != "made\n" {
		t.Errorf("after a restart the notes are %q", got)
	}
	p.run("pause", "web")
	p.says([]string{"paused"}, "ps", "-a", "--format", "{{.State}}", "web")
	p.run("unpause", "web")
	p.run("kill", "proxy")
	p.says([]string{"notes-web"}, "images")
	p.says([]string{"web", "proxy"}, "config", "--services")
	p.run("cp", "web:/start.sh", filepath.Join(p.dir, "copied.sh"))
	p.run("rm", "-sf", "proxy")
	p.run("down", "-v", "-t", "1", "--rmi", "local")
	follow.Process.Signal(os.Interrupt)
	follow.Wait()
	if strings.Count(followed.String(), "made") < 2 {
		t.Errorf("following the logs gave %q", followed.String())
	}
}
