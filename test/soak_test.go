package test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/client"
)

var soakFor = flag.Duration("soak", 20*time.Second, "how long TestNetworksSoak goes on")

// soak is what TestNetworksSoak counts.
type soak struct {
	*Engine
	t        *testing.T
	daemon   *client.Client
	networks []string
	until    time.Time

	deeds, questions, wrong atomic.Int64
}

// fault counts a wrong answer, and says the first of them.
func (s *soak) fault(format string, args ...any) {
	if s.wrong.Add(1) <= 20 {
		s.t.Errorf(format, args...)
	}
}

// worker has one container, which it starts, stops, removes, and moves between networks and ports.
type worker struct {
	*soak
	name  string
	port  int
	r     *rand.Rand
	runs  bool
	on    map[string]bool
	extra bool // a second port is published
}

// TestNetworksSoak: eight workers connect, disconnect, start, stop and remove containers and change their ports while names are
// looked up and servers asked. Every answer must be right, whatever goes on beside it, and in the end nothing may be left.
func TestNetworksSoak(t *testing.T) {
	needRoot(t)
	images(t)
	s := &soak{Engine: newEngine(t), t: t}
	s.Start()
	s.Load("busybox")
	var err error
	if s.daemon, err = client.New(client.Config{Host: s.Socket()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.daemon.Close)
	for i := range 3 {
		s.networks = append(s.networks, fmt.Sprint("n", i))
		s.Run("cove", "network", "create", s.networks[i])
		s.Run("cove", "run", "-d", "--name", fmt.Sprint("asker", i), "--network", s.networks[i], "busybox", "sleep", "100000")
	}
	anchor := s.serving("anchor", s.networks[0], freePorts(1)[0])
	before := s.held()
	s.until = time.Now().Add(*soakFor)
	var group sync.WaitGroup
	for i := range 8 {
		w := &worker{soak: s, name: fmt.Sprint("w", i), port: freePorts(2)[0], r: rand.New(rand.NewPCG(uint64(i), uint64(time.Now().UnixNano()))), on: map[string]bool{}}
		group.Go(w.work)
	}
	group.Go(func() { s.anchored(anchor) })
	group.Wait()
	s.Run("cove", "rm", "-f", "anchor")
	t.Logf("%s: %d deeds, %d questions, %d wrong answers", *soakFor, s.deeds.Load(), s.questions.Load(), s.wrong.Load())
	s.settled(before)
}

// serving starts a container that serves its name, published on a port.
func (s *soak) serving(name, network string, port int) int {
	s.Run("cove", "run", "-d", "--name", name, "--network", network, "-p", fmt.Sprint(port, ":80"), "busybox",
		"sh", "-c", "mkdir /w; echo "+name+" > /w/index.html; exec httpd -f -h /w")
	return port
}

// anchored asks a container that nobody touches, over and over: what the workers do must not disturb it.
func (s *soak) anchored(port int) {
	for time.Now().Before(s.until) {
		if got := s.page(port, 5*time.Second); got != "anchor" {
			s.fault("the anchor at its port says %q", got)
		}
		out, errOut, code := s.Try("cove", "exec", "asker0", "sh", "-c", "wget -T 5 -qO- http://anchor/ && nslookup -type=a anchor >/dev/null")
		s.questions.Add(3)
		if strings.TrimSpace(out) != "anchor" || code != 0 {
			s.fault("the anchor by its name says %q %q", out, errOut)
		}
	}
}

// page is what the server at a port of the host says, "" for nothing within the time.
func (s *soak) page(port int, patience time.Duration) string {
	c := http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		s.questions.Add(1)
		if res, err := c.Get(fmt.Sprintf("http://127.0.0.1:%d/", port)); err == nil {
			text, err := io.ReadAll(res.Body)
			res.Body.Close()
			if err == nil {
				return strings.TrimSpace(string(text))
			}
		}
		if time.Now().After(deadline) {
			return ""
		}
	}
}

// closed tells whether nobody serves at a port of the host.
func (s *soak) closed(port int) bool {
	s.questions.Add(1)
	c, err := net.DialTimeout("tcp4", fmt.Sprint("127.0.0.1:", port), time.Second)
	if err == nil {
		c.Close()
	}
	return err != nil
}

func (w *worker) work() {
	ctx := context.Background()
	for time.Now().Before(w.until) {
		w.deeds.Add(1)
		what, err := w.deed(ctx)
		if err != nil {
			w.fault("%s: %s: %v", w.name, what, err)
			w.daemon.ContainerRemove(ctx, w.name, client.RemoveOptions{Force: true})
			w.runs, w.on, w.extra = false, map[string]bool{}, false
			continue
		}
		w.check(what)
	}
	if err := w.daemon.ContainerRemove(ctx, w.name, client.RemoveOptions{Force: true}); err != nil && !errdefs.IsNotFound(err) {
		w.fault("%s: removed in the end: %v", w.name, err)
	}
}

// deed does one thing that can be done with the container as it is.
func (w *worker) deed(ctx context.Context) (what string, err error) {
	if len(w.on) == 0 {
		first := w.networks[w.r.IntN(len(w.networks))]
		_, errOut, code := w.Try("cove", "run", "-d", "--name", w.name, "--network", first, "-p", fmt.Sprint(w.port, ":80"), "busybox",
			"sh", "-c", "mkdir /w; echo "+w.name+" > /w/index.html; exec httpd -f -h /w")
		if code != 0 {
			return "run", fmt.Errorf("%s", errOut)
		}
		w.runs, w.on[first] = true, true
		return "run", nil
	}
	immediately := 0
	network := w.networks[w.r.IntN(len(w.networks))]
	switch n := w.r.IntN(10); {
	case n < 2:
		w.on, w.extra = map[string]bool{}, false
		w.runs = false
		return "rm", w.daemon.ContainerRemove(ctx, w.name, client.RemoveOptions{Force: true})
	case n < 4 && w.runs:
		w.runs = false
		return "stop", w.daemon.ContainerStop(ctx, w.name, client.StopOptions{Timeout: &immediately})
	case n < 4:
		w.runs = true
		return "start", w.daemon.ContainerStart(ctx, w.name)
	case n < 6:
		change := api.PortChange{Ports: nt.PortMap{nt.MustParsePort("80/tcp"): {{HostPort: strconv.Itoa(w.port + 1)}}}}
		w.extra = !w.extra
		if w.extra {
			return "port add", w.daemon.PortAdd(ctx, w.name, change)
		}
		return "port rm", w.daemon.PortRemove(ctx, w.name, change)
	case w.on[network] && len(w.on) > 1:
		delete(w.on, network)
		return "disconnect " + network, w.daemon.NetworkDisconnect(ctx, network, nt.DisconnectRequest{Container: w.name})
	case !w.on[network]:
		w.on[network] = true
		return "connect " + network, w.daemon.NetworkConnect(ctx, network, nt.ConnectRequest{Container: w.name})
	}
	return "nothing", nil
}

// check asks for the container in every way there is: by its ports and by its name, where it is and where it is not.
func (w *worker) check(after string) {
	for port, open := range map[int]bool{w.port: w.runs, w.port + 1: w.runs && w.extra} {
		if open {
			if got := w.page(port, 10*time.Second); got != w.name {
				w.fault("%s, after %s: port %d says %q", w.name, after, port, got)
			}
		} else if !w.closed(port) {
			w.fault("%s, after %s: port %d is open", w.name, after, port)
		}
	}
	i := w.r.IntN(len(w.networks))
	asker, network := fmt.Sprint("asker", i), w.networks[i]
	w.questions.Add(1)
	out, errOut, code := w.Try("cove", "exec", asker, "wget", "-T", "5", "-qO-", "http://"+w.name+"/")
	switch there := w.runs && w.on[network]; {
	case there && strings.TrimSpace(out) != w.name:
		w.fault("%s, after %s: by its name on %s it says %q %q (%d)", w.name, after, network, out, errOut, code)
	case !there && code == 0:
		w.fault("%s, after %s: it is not on %s and says %q", w.name, after, network, out)
	case !there && !strings.Contains(errOut, "bad address"):
		w.fault("%s, after %s: its name is known on %s, where it is not: %q", w.name, after, network, errOut)
	}
	if !w.runs {
		return
	}
	info, _, err := w.daemon.ContainerInspect(context.Background(), w.name, false)
	if err != nil {
		w.fault("%s, after %s: inspect: %v", w.name, after, err)
		return
	}
	if len(info.NetworkSettings.Networks) != len(w.on) || info.State.Status != ct.StateRunning {
		w.fault("%s, after %s: inspect says it is on %d networks, not %d, and %s", w.name, after, len(info.NetworkSettings.Networks), len(w.on), info.State.Status)
	}
}

// held counts what the engine holds of the host.
func (s *soak) held() map[string]int {
	all := map[string]int{}
	pid := strconv.Itoa(s.Engine.daemon.Process.Pid)
	files, _ := os.ReadDir(filepath.Join("/proc", pid, "fd"))
	all["files"] = len(files)
	for _, f := range files {
		if target, _ := os.Readlink(filepath.Join("/proc", pid, "fd", f.Name())); strings.HasPrefix(target, "net:[") {
			all["namespaces"]++
		} else if strings.HasPrefix(target, "socket:[") {
			all["sockets"]++
		}
	}
	for _, network := range s.networks {
		n, _, err := s.daemon.NetworkInspect(context.Background(), network, false)
		if err == nil {
			all["endpoints"] += len(n.Containers)
		}
	}
	links, _ := exec.Command("ip", "-o", "link", "show", "type", "veth").Output()
	all["veths"] = strings.Count(string(links), ": cv"+s.mark())
	all["elements"] = s.elements()
	return all
}

// mark is the beginning of what the engine's names on the host carry.
func (s *soak) mark() string {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "run", "mark"))
	return (strings.TrimSpace(string(text)) + "00000")[:5]
}

// elements counts those of the engine's firewall table.
func (s *soak) elements() (n int) {
	text, _ := os.ReadFile(filepath.Join(s.Dir, "run", "mark"))
	for _, family := range []string{"ip", "ip6", "bridge"} {
		out, _ := exec.Command("nft", "list", "table", family, "cove-"+strings.TrimSpace(string(text))).Output()
		for line := range strings.Lines(string(out)) {
			if _, inSet := strings.CutPrefix(strings.TrimSpace(line), "elements = "); inSet || strings.Count(line, " . ") > 0 {
				n += 1 + strings.Count(strings.TrimRight(line, ",\n"), ",")
			}
		}
	}
	return n
}

// settled waits until what is held is what was held before, give or take what is kept ready, and says what is more.
func (s *soak) settled(before map[string]int) {
	const spare = 12 // namespaces kept ready come and go
	var now map[string]int
	more := ""
	for deadline := time.Now().Add(75 * time.Second); time.Now().Before(deadline); time.Sleep(time.Second) {
		now, more = s.held(), ""
		for _, what := range []string{"files", "sockets", "namespaces", "veths", "elements", "endpoints"} {
			room := spare
			switch what {
			case "endpoints":
				room = 0
			case "files", "sockets", "elements":
				room = 4 * spare
			}
			if now[what] > before[what]+room {
				more += fmt.Sprintf(" %s: %d, were %d;", what, now[what], before[what])
			}
		}
		if more == "" {
			break
		}
	}
	s.t.Logf("held before: %v, after: %v", before, now)
	if more != "" {
		s.t.Errorf("left:%s", more)
	}
	if out, errOut, code := s.Try("cove", "system", "check"); code != 0 {
		s.t.Errorf("check: %s%s", out, errOut)
	}
}
