package test

import (
	"bufio"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestRemoteLogs sends what containers print to a syslog server that is away at first: also what a container printed that
// is long gone, and what came while there was no daemon.
func TestRemoteLogs(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	address := freeAddress() // nobody listens
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	flags := []string{"--log-driver", "syslog", "--log-opt", "syslog-address=tcp://" + address, "--log-opt", "tag={{.Name}}"}
	run := func(client, name string, rest ...string) string {
		return e.Run(slices.Concat([]string{client, "run", "--name", name}, flags, rest)...)
	}
	if got := run("docker", "once", "--rm", "busybox", "echo", "from once"); got != "from once" {
		t.Errorf("docker run says %q", got)
	}
	run("cove", "kept", "-d", "busybox", "sh", "-c", "echo from kept; sleep 3; echo later")
	got := ""
	for deadline := time.Now().Add(30 * time.Second); got == "" && time.Now().Before(deadline); { // it may not have come so far
		got = e.Run("docker", "logs", "kept")
	}
	if !strings.HasPrefix(got, "from kept") {
		t.Errorf("docker logs says %q", got)
	}
	e.Kill()
	time.Sleep(3 * time.Second) // what comes meanwhile is the supervisor's to keep
	e.Start()
	var mu sync.Mutex
	var lines []string
	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				for r := bufio.NewScanner(conn); r.Scan(); {
					_, text, _ := strings.Cut(r.Text(), " ")
					mu.Lock()
					lines = append(lines, text)
					mu.Unlock()
				}
			}()
		}
	}()
	for _, want := range []string{"once[", "from once", "kept[", "from kept", "later"} {
		arrived := func() bool {
			mu.Lock()
			defer mu.Unlock()
			return slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, want) })
		}
		for range 400 {
			if arrived() {
				break
			}
			time.Sleep(50 * time.Millisecond)
		}
		if !arrived() {
			t.Errorf("%q never arrives", want)
		}
	}
	if _, message, code := e.Try("docker", "run", "--log-driver", "gelf", "busybox"); code != 125 || !strings.Contains(message, "gelf-address is a required parameter") {
		t.Errorf("status %d, %s", code, message)
	}
	e.Run("cove", "rm", "kept")
}
