package test

import (
	"bufio"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// clients are the command lines that the tests in Go compare.
func clients() []string {
	if _, err := exec.LookPath("docker"); err == nil {
		return []string{"cove", "docker"}
	}
	return []string{"cove"}
}

const trapping = `trap "echo T; exit 5" TERM; trap "echo W" WINCH; echo ready; while :; do sleep .1; done`

// TestSignalsToTheClient: what the client gets goes to the container, but for what is the client's own business (RN-3).
func TestSignalsToTheClient(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	for _, client := range clients() {
		cmd := e.Command(client, "run", "--rm", "--name", "sig", "busybox", "sh", "-c", trapping)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		lines.Scan()
		if lines.Text() != "ready" {
			t.Errorf("%s: first line %q", client, lines.Text())
		}
		for _, s := range []syscall.Signal{syscall.SIGWINCH, syscall.SIGURG, syscall.SIGCHLD, syscall.SIGPIPE} {
			cmd.Process.Signal(s)
		}
		time.Sleep(300 * time.Millisecond)
		cmd.Process.Signal(syscall.SIGTERM)
		var rest []string
		for lines.Scan() {
			rest = append(rest, lines.Text())
		}
		cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 5 || !strings.HasSuffix(strings.Join(rest, " "), "T") {
			t.Errorf("%s: status %d after %q", client, code, rest)
		}
	}
}

// TestNoSignalProxy: without the proxy the client dies and the container goes on, untouched (RN-3).
func TestNoSignalProxy(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	for _, client := range clients() {
		cmd := e.Command(client, "run", "--sig-proxy=false", "--name", client, "busybox", "sh", "-c", trapping)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if line, _ := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Errorf("%s: first line %q", client, line)
		}
		// The stock client of today dies of the third signal, older ones and ours of the first.
		if n := map[string]int{"docker": 3}[client]; !killed(cmd, max(1, n)) {
			t.Errorf("%s: the client does not end", client)
		}
		if code := cmd.ProcessState.ExitCode(); code == 0 || code == 5 {
			t.Errorf("%s: status %d", client, code)
		}
		time.Sleep(300 * time.Millisecond)
		if got := e.Run("cove", "inspect", "-f", "{{.State.Running}}", client); got != "true" {
			t.Errorf("%s: running is %s after the client's end", client, got)
		}
		if got := e.Run("cove", "logs", client); got != "ready" {
			t.Errorf("%s: the container printed %q: it was signalled", client, got)
		}
	}
}

// killed sends a started command up to so many TERMs, a second apart, and tells whether it ends of them within a minute. If not, it is
// ended otherwise.
func killed(cmd *exec.Cmd, times int) bool {
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	for n := range times {
		cmd.Process.Signal(syscall.SIGTERM)
		if n < times-1 && !after(ended, time.Second) {
			continue
		}
		if after(ended, time.Minute) {
			return true
		}
	}
	cmd.Process.Kill()
	<-ended
	return false
}

func after(ended <-chan struct{}, limit time.Duration) bool {
	select {
	case <-ended:
		return true
	case <-time.After(limit):
		return false
	}
}

// terminated sends a started "run" a TERM, and the stock client another one when its container runs, and tells whether it ends of them
// within a minute. If not, it is killed.
func (e *Engine) terminated(cmd *exec.Cmd, client string) bool {
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	cmd.Process.Signal(syscall.SIGTERM)
	if client == "docker" {
		for deadline := time.Now().Add(20 * time.Second); !after(ended, 20*time.Millisecond) && time.Now().Before(deadline); {
			if e.Run("cove", "ps", "-q") != "" && !after(ended, 300*time.Millisecond) {
				cmd.Process.Signal(syscall.SIGTERM)
				break
			}
		}
	}
	if after(ended, time.Minute) {
		return true
	}
	cmd.Process.Kill()
	<-ended
	return false
}

// TestEarlySignal: a signal that comes before the container runs is not lost, and no container runs that nobody waits for
// (RN-3). The stock client of today lets the first signal go by while it creates, whatever the daemon: it still waits, and the
// second one reaches the container.
func TestEarlySignal(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	for _, client := range clients() {
		for delay := 0 * time.Millisecond; delay < 90*time.Millisecond; delay += 6 * time.Millisecond {
			// With an init, because the kernel drops a signal for a process 1 that has not set its trap yet.
			cmd := e.Command(client, "run", "--rm", "--init", "busybox", "sh", "-c", `trap "exit 5" TERM; while :; do sleep .05; done`)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			time.Sleep(delay)
			if !e.terminated(cmd, client) {
				t.Errorf("%s, after %v: the client does not end", client, delay)
			}
		}
		none := func(what string, args ...string) {
			left := e.Run(args...)
			for deadline := time.Now().Add(20 * time.Second); left != "" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
				left = e.Run(args...)
			}
			if left != "" {
				t.Errorf("%s: %s: %q", client, what, left)
			}
		}
		time.Sleep(500 * time.Millisecond)
		none("containers that nobody waits for", "cove", "ps", "-q")
		if client == "cove" {
			none("containers are left behind", "cove", "ps", "-aq")
		}
	}
}

// TestAttachAtTheEnd attaches at about the moment of exit, many times: never a hang, never a wrong status.
func TestAttachAtTheEnd(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	for n := range 20 {
		e.Run("cove", "run", "-d", "--name", "end", "busybox", "sh", "-c", "sleep .1; exit 4")
		time.Sleep(time.Duration(60+n*4) * time.Millisecond)
		_, errOut, code := e.Try("cove", "attach", "end")
		if code != 4 && !(code == 1 && strings.Contains(strings.ToLower(errOut), "stopped container")) {
			t.Errorf("try %d: status %d: %s", n, code, errOut)
		}
		e.Run("cove", "rm", "-f", "end")
	}
}

// TestSlowReader: a follower of the log that does not read never blocks the container.
func TestSlowReader(t *testing.T) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "-d", "--name", "loud", "busybox", "sh", "-c", "head -c 20000000 /dev/zero | tr '\\0' 'a' | fold -w 100; echo finished > /done; sleep 100")
	follower := e.Command("cove", "logs", "-f", "loud")
	pipe, err := follower.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follower.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { follower.Process.Kill(); follower.Wait() }()
	if _, err := io.ReadFull(pipe, make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if _, _, code := e.Try("cove", "exec", "loud", "test", "-e", "/done"); code == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Error("the container is blocked by a reader that does not read")
}

// TestTwoEngines run beside each other on one host and do not touch one another.
func TestTwoEngines(t *testing.T) {
	needRoot(t)
	images(t)
	a, b := newEngine(t), newEngine(t)
	for _, e := range []*Engine{a, b} {
		e.Start()
		e.Load("busybox")
		e.Run("cove", "run", "-d", "--name", "same", "busybox", "sleep", "100")
	}
	b.Run("cove", "rm", "-f", "same")
	b.Stop()
	if got := a.Run("cove", "exec", "same", "sh", "-c", "ip route | grep -c default; ping -c 1 -W 2 $(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p') >/dev/null && echo reached"); got != "1\nreached" {
		t.Errorf("after the other engine's end: %q", got)
	}
}
