package test

import (
	"bytes"
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// newDockerd starts Debian's dockerd with folders of its own and without a default network. It is ended with the test.
func newDockerd(t *testing.T, args ...string) *speaker {
	t.Helper()
	if _, err := exec.LookPath("dockerd"); err != nil {
		t.Skip("docker.io is not installed")
	}
	dir, err := os.MkdirTemp("", "dk")
	if err != nil {
		t.Fatal(err)
	}
	socket, log := filepath.Join(dir, "sock"), filepath.Join(dir, "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("dockerd", append(args, "--data-root", dir+"/data", "--exec-root", dir+"/exec", "-H", "unix://"+socket, "--pidfile", dir+"/pid",
		"--bridge", "none", "--iptables=false", "--ip6tables=false", "--storage-driver", "vfs")...)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s := newSpeaker(t, "unix://"+socket)
	t.Cleanup(func() {
		s.removeAll()
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-exited:
		case <-time.After(time.Minute):
			_ = cmd.Process.Kill()
			<-exited
		}
		_ = exec.Command("umount", "-R", "-l", dir).Run()
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("left behind: %v", err)
		}
	})
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		if r, err := s.try("GET", "/_ping", strings.NewReader("")); err == nil && r.status == 200 {
			return s
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log)
			t.Fatalf("dockerd does not answer:\n%s", text)
		}
	}
}

// removeAll takes away what dockerd would leave behind on the host: containers, and networks with their bridges.
func (s *speaker) removeAll() {
	containers, _ := s.say("GET", "/containers/json?all=1", "").value().([]any)
	for _, c := range containers {
		s.say("DELETE", fmt.Sprintf("/containers/%v?force=1&v=1", c.(map[string]any)["Id"]), "")
	}
	s.say("POST", "/networks/prune", "")
}

// step is a request that is made of both daemons. What stands in braces was saved by an earlier step.
type step struct {
	name, method, path, body string
	save                     string // keeps the answer's Id under this name
}

// play makes a request of one daemon.
func (s *speaker) play(p step, saved map[string]string) reply {
	path, body := p.path, p.body
	for name, value := range saved {
		path, body = strings.ReplaceAll(path, "{"+name+"}", value), strings.ReplaceAll(body, "{"+name+"}", value)
	}
	r := s.say(p.method, "/v1.41"+path, body)
	if p.save != "" {
		id := r.field("Id")
		if id == "" {
			s.t.Fatalf("%s: %d %s", p.name, r.status, r.body)
		}
		saved[p.save] = id
	}
	return r
}

func filters(text string) string { return "filters=" + url.QueryEscape(text) }

// identifiers differ from daemon to daemon.
var identifiers = []struct {
	pattern *regexp.Regexp
	word    string
}{
	{regexp.MustCompile(`sha256:[0-9a-f]{64}`), "DIGEST"}, {regexp.MustCompile(`\b[0-9a-f]{64}\b`), "ID"}, {regexp.MustCompile(`\b[0-9a-f]{12}\b`), "SHORT"},
	{regexp.MustCompile(`\d+\.\d+\.\d+\.\d+`), "ADDRESS"}, {regexp.MustCompile(`/tmp/[^ :"]*`), "PATH"},
}

func anonymous(text string) string {
	for _, i := range identifiers {
		text = i.pattern.ReplaceAllString(text, i.word)
	}
	return text
}

// differ tells where ours is another answer than theirs.
func differ(name string, ours, theirs reply, tell func(string)) {
	if ours.status != theirs.status {
		tell(fmt.Sprintf("%s: status %d | %d", name, ours.status, theirs.status))
	}
	if a, b := anonymous(ours.message()), anonymous(theirs.message()); a != b {
		tell(fmt.Sprintf("%s: message %q | %q", name, a, b))
	}
	for _, header := range slices.Sorted(maps.Keys(theirs.header)) {
		a, b := ours.header.Get(header), theirs.header.Get(header)
		switch header {
		case "Date", "Content-Length", "Server", "Api-Version", "X-Docker-Container-Path-Stat":
			if a == "" {
				tell(fmt.Sprintf("%s: header %s only dockerd", name, header))
			}
		default:
			if a != b {
				tell(fmt.Sprintf("%s: header %s %q | %q", name, header, a, b))
			}
		}
	}
	if ours.status < 400 && theirs.status < 400 {
		differShape(name+": body", ours.value(), theirs.value(), tell)
	}
}

func differShape(at string, ours, theirs any, tell func(string)) {
	if a, b := kindOf(ours), kindOf(theirs); a != b {
		tell(fmt.Sprintf("%s %s | %s", at, a, b))
		return
	}
	switch ours := ours.(type) {
	case []any:
		if theirs := theirs.([]any); len(ours) > 0 && len(theirs) > 0 {
			differShape(at+"[]", ours[0], theirs[0], tell)
		}
	case map[string]any:
		a, b := byShape(ours), byShape(theirs.(map[string]any))
		for _, key := range slices.Sorted(maps.Keys(a)) {
			if _, ok := b[key]; ok {
				differShape(at+"."+key, a[key], b[key], tell)
			} else {
				tell(fmt.Sprintf("%s.%s only cove", at, key))
			}
		}
		for _, key := range slices.Sorted(maps.Keys(b)) {
			if _, ok := a[key]; !ok {
				tell(fmt.Sprintf("%s.%s only dockerd", at, key))
			}
		}
	}
}

// byShape names entries whose names are identifiers all the same.
func byShape(object map[string]any) map[string]any {
	out := make(map[string]any, len(object))
	for key, value := range object {
		out[anonymous(key)] = value
	}
	return out
}

// TestBesideDockerd makes the same requests of the engine and of a dockerd and compares statuses, messages, headers, and the
// fields of the answers with their kinds. testdata/api/dockerd.txt lists what differs, each with its reason.
func TestBesideDockerd(t *testing.T) {
	needRoot(t)
	images(t)
	theirs := newDockerd(t)
	if version := theirs.must("GET", "/version", "").field("Version"); !strings.HasPrefix(version, "20.10.") {
		t.Skipf("the table is of dockerd 20.10, as in Debian 12; this one is %s", version)
	}
	e := newEngine(t)
	e.Start()
	ours := newSpeaker(t, e.Socket())
	ours.loadImage("busybox")
	saved := ours.must("GET", "/images/busybox/get", "") // the archive is of a kind that a dockerd of that age does not know
	if r, err := theirs.try("POST", "/images/load", bytes.NewReader(saved.body), "Content-Type", "application/x-tar"); err != nil || bytes.Contains(r.body, []byte("errorDetail")) {
		t.Fatalf("load: %v %s", err, r.body)
	}
	excuses := readExcuses(t, "testdata/api/dockerd.txt")
	a, b := map[string]string{}, map[string]string{}
	for i, saved := range []map[string]string{a, b} {
		saved["subnet"] = fmt.Sprintf("%s.%d", e.Subnet, 64*i) // both stand on one host
	}
	var late []step // for a plugin that is not there dockerd looks for a quarter of a minute
	for _, p := range slices.Concat(lifeSteps(), keeperSteps(), badSteps()) {
		if slices.Contains([]string{"create bad log driver", "volume bad driver", "network bad driver"}, p.name) {
			late = append(late, p)
			continue
		}
		differ(p.name, ours.play(p, a), theirs.play(p, b), excuses.add)
	}
	answers := make([]reply, len(late))
	var all sync.WaitGroup
	for i, p := range late {
		all.Go(func() { answers[i] = theirs.play(p, nil) })
	}
	all.Wait()
	for i, p := range late {
		differ(p.name, ours.play(p, nil), answers[i], excuses.add)
	}
	excuses.done()
}

func lifeSteps() []step {
	const long = `{"Image":"busybox","Cmd":["sh","-c","echo out; echo err >&2; sleep 1000"],"Labels":{"a":"b"},"ExposedPorts":{"80/tcp":{}},
		"HostConfig":{"NetworkMode":"net","Binds":["data:/data"],"PortBindings":{"80/tcp":[{"HostIp":"127.0.0.1","HostPort":""}]}}}`
	return []step{
		{"version", "GET", "/version", "", ""},
		{"info", "GET", "/info", "", ""},
		{"ping", "GET", "/_ping", "", ""},
		{"ping head", "HEAD", "/_ping", "", ""},
		{"volume create", "POST", "/volumes/create", `{"Name":"data","Labels":{"a":"b"}}`, ""},
		{"network create", "POST", "/networks/create", `{"Name":"net","CheckDuplicate":true,"IPAM":{"Config":[{"Subnet":"{subnet}/26"}]}}`, "net"},
		{"create", "POST", "/containers/create?name=long", long, "long"},
		{"create bare", "POST", "/containers/create?name=bare", `{"Image":"busybox","Cmd":["true"],"HostConfig":{"NetworkMode":"none"}}`, "bare"},
		{"inspect created", "GET", "/containers/{bare}/json", "", ""},
		{"start", "POST", "/containers/{long}/start", "", ""},
		{"start twice", "POST", "/containers/{long}/start", "", ""},
		{"inspect", "GET", "/containers/{long}/json", "", ""},
		{"inspect size", "GET", "/containers/long/json?size=1", "", ""},
		{"list", "GET", "/containers/json", "", ""},
		{"list all", "GET", "/containers/json?all=1&size=1", "", ""},
		{"list label", "GET", "/containers/json?" + filters(`{"label":["a=b"]}`), "", ""},
		{"list none", "GET", "/containers/json?" + filters(`{"label":{"a=c":true}}`), "", ""},
		{"top", "GET", "/containers/long/top", "", ""},
		{"top aux", "GET", "/containers/long/top?ps_args=aux", "", ""},
		{"logs", "GET", "/containers/long/logs?stdout=1&stderr=1", "", ""},
		{"stats", "GET", "/containers/long/stats?stream=0", "", ""},
		{"stats one-shot", "GET", "/containers/long/stats?stream=0&one-shot=1", "", ""},
		{"changes", "GET", "/containers/long/changes", "", ""},
		{"archive", "GET", "/containers/long/archive?path=/etc/passwd", "", ""},
		{"archive head", "HEAD", "/containers/long/archive?path=/etc/passwd", "", ""},
		{"export", "GET", "/containers/bare/export", "", ""},
		{"exec create", "POST", "/containers/long/exec", `{"Cmd":["sh","-c","exit 3"],"AttachStdout":true}`, "exec"},
		{"exec inspect", "GET", "/exec/{exec}/json", "", ""},
		{"exec start", "POST", "/exec/{exec}/start", `{"Detach":true}`, ""},
		{"update", "POST", "/containers/long/update", `{"CpuShares":512}`, ""},
		{"pause", "POST", "/containers/long/pause", "", ""},
		{"pause twice", "POST", "/containers/long/pause", "", ""},
		{"exec paused", "POST", "/containers/long/exec", `{"Cmd":["true"]}`, ""},
		{"unpause", "POST", "/containers/long/unpause", "", ""},
		{"unpause twice", "POST", "/containers/long/unpause", "", ""},
		{"resize", "POST", "/containers/long/resize?h=10&w=10", "", ""},
		{"rename", "POST", "/containers/long/rename?name=longer", "", ""},
		{"rename taken", "POST", "/containers/long/rename?name=bare", "", ""},
		{"rename empty", "POST", "/containers/longer/rename", "", ""},
		{"rename same", "POST", "/containers/longer/rename?name=longer", "", ""},
		{"restart", "POST", "/containers/longer/restart?t=0", "", ""},
		{"remove running", "DELETE", "/containers/longer", "", ""},
		{"kill", "POST", "/containers/longer/kill?signal=KILL", "", ""},
		{"wait", "POST", "/containers/longer/wait", "", ""},
		{"kill ended", "POST", "/containers/longer/kill", "", ""},
		{"stop ended", "POST", "/containers/longer/stop", "", ""},
		{"top ended", "GET", "/containers/longer/top", "", ""},
		{"pause ended", "POST", "/containers/longer/pause", "", ""},
		{"exec ended", "POST", "/containers/longer/exec", `{"Cmd":["true"]}`, ""},
		{"resize ended", "POST", "/containers/longer/resize?h=10&w=10", "", ""},
		{"attach ended", "POST", "/containers/longer/attach?logs=1&stdout=1", "", ""},
		{"inspect ended", "GET", "/containers/longer/json", "", ""},
		{"stats ended", "GET", "/containers/longer/stats?stream=0", "", ""},
		{"commit", "POST", "/commit?container=longer&repo=made&tag=1&comment=c&author=a", "", "made"},
		{"commit inspect", "GET", "/images/made:1/json", "", ""},
	}
}

func keeperSteps() []step {
	return []step{
		{"images", "GET", "/images/json", "", ""},
		{"images filter", "GET", "/images/json?" + filters(`{"reference":["made"]}`), "", ""},
		{"image inspect", "GET", "/images/busybox/json", "", ""},
		{"image history", "GET", "/images/busybox/history", "", ""},
		{"image tag", "POST", "/images/busybox/tag?repo=other&tag=x", "", ""},
		{"image untag", "DELETE", "/images/other:x", "", ""},
		{"image in use", "DELETE", "/images/busybox", "", ""},
		{"image prune", "POST", "/images/prune", "", ""},
		{"volumes", "GET", "/volumes", "", ""},
		{"volume", "GET", "/volumes/data", "", ""},
		{"volume again", "POST", "/volumes/create", `{"Name":"data"}`, ""},
		{"volume in use", "DELETE", "/volumes/data", "", ""},
		{"volume prune", "POST", "/volumes/prune", "", ""},
		{"networks", "GET", "/networks?" + filters(`{"name":["net"]}`), "", ""},
		{"network", "GET", "/networks/net", "", ""},
		{"network twice", "POST", "/networks/create", `{"Name":"net","CheckDuplicate":true}`, ""},
		{"network host", "POST", "/networks/create", `{"Name":"h","Driver":"host"}`, ""},
		{"network remove none", "DELETE", "/networks/none", "", ""},
		{"connect", "POST", "/networks/net/connect", `{"Container":"longer"}`, ""},
		{"disconnect", "POST", "/networks/net/disconnect", `{"Container":"longer"}`, ""},
		{"disconnect twice", "POST", "/networks/net/disconnect", `{"Container":"longer"}`, ""},
		{"disconnect nowhere", "POST", "/networks/no-such/disconnect", `{"Container":"longer"}`, ""},
		{"df", "GET", "/system/df", "", ""},
		{"events", "GET", "/events?since=1&until=2", "", ""},
		{"plugins", "GET", "/plugins", "", ""},
		{"plugin", "GET", "/plugins/nix/json", "", ""},
		{"plugin enable", "POST", "/plugins/nix/enable?timeout=0", "", ""},
		{"plugin enable bare", "POST", "/plugins/nix/enable", "", ""},
		{"plugin disable", "POST", "/plugins/nix/disable", "", ""},
		{"plugin set", "POST", "/plugins/nix/set", `["a=b"]`, ""},
		{"plugin push", "POST", "/plugins/nix/push", "", ""},
		{"plugin remove", "DELETE", "/plugins/nix", "", ""},
		{"plugin filter", "GET", "/plugins?" + filters(`{"enabled":["x"]}`), "", ""},
		{"swarm", "GET", "/swarm", "", ""},
		{"swarm leave", "POST", "/swarm/leave", "", ""},
		{"swarm update", "POST", "/swarm/update?version=1", `{}`, ""},
		{"swarm unlock key", "GET", "/swarm/unlockkey", "", ""},
		{"swarm unlock", "POST", "/swarm/unlock", `{"UnlockKey":"x"}`, ""},
		{"nodes", "GET", "/nodes", "", ""}, {"node", "GET", "/nodes/x", "", ""}, {"node remove", "DELETE", "/nodes/x", "", ""},
		{"node update", "POST", "/nodes/x/update?version=1", `{}`, ""},
		{"services", "GET", "/services", "", ""}, {"service", "GET", "/services/x", "", ""},
		{"service create", "POST", "/services/create", `{"Name":"x"}`, ""}, {"service remove", "DELETE", "/services/x", "", ""},
		{"service update", "POST", "/services/x/update?version=1", `{}`, ""}, {"service logs", "GET", "/services/x/logs?stdout=1", "", ""},
		{"tasks", "GET", "/tasks", "", ""}, {"task", "GET", "/tasks/x", "", ""}, {"task logs", "GET", "/tasks/x/logs?stdout=1", "", ""},
		{"secrets", "GET", "/secrets", "", ""}, {"secret", "GET", "/secrets/x", "", ""}, {"secret remove", "DELETE", "/secrets/x", "", ""},
		{"secret create", "POST", "/secrets/create", `{"Name":"x","Data":"eA=="}`, ""}, {"secret update", "POST", "/secrets/x/update?version=1", `{}`, ""},
		{"configs", "GET", "/configs", "", ""}, {"config", "GET", "/configs/x", "", ""}, {"config remove", "DELETE", "/configs/x", "", ""},
		{"config create", "POST", "/configs/create", `{"Name":"x","Data":"eA=="}`, ""}, {"config update", "POST", "/configs/x/update?version=1", `{}`, ""},
		{"remove", "DELETE", "/containers/longer", "", ""},
		{"remove bare", "DELETE", "/containers/bare", "", ""},
		{"image delete", "DELETE", "/images/made:1", "", ""},
		{"volume remove", "DELETE", "/volumes/data", "", ""},
		{"network remove", "DELETE", "/networks/net", "", ""},
		{"prune", "POST", "/containers/prune", "", ""},
		{"network prune", "POST", "/networks/prune", "", ""},
	}
}
