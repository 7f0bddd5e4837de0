package test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestManyClients starts and removes 200 containers from 16 clients at once; newEngine counts what is left.
func TestManyClients(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	const clients, total = 16, 200
	work := make(chan int)
	var wait sync.WaitGroup
	for range clients {
		wait.Go(func() {
			for n := range work {
				name := fmt.Sprintf("s%d", n)
				steps := [][]string{{"cove", "run", "-d", "--name", name, "busybox", "sleep", "100"}, {"cove", "rm", "-f", name}}
				if n%2 == 0 {
					steps = [][]string{{"cove", "run", "--rm", "--name", name, "busybox", "echo", name}}
				}
				for _, step := range steps {
					if out, errOut, code := e.Try(step...); code != 0 {
						t.Errorf("%v: status %d: %s%s", step, code, out, errOut)
					} else if n%2 == 0 && strings.TrimSpace(out) != name {
						t.Errorf("%v printed %q", step, out)
					}
				}
			}
		})
	}
	for n := range total {
		work <- n
	}
	close(work)
	wait.Wait()
	if left := e.Run("cove", "ps", "-aq"); left != "" {
		t.Errorf("containers are left: %s", left)
	}
	for _, folder := range []string{"containers", "layers/writable"} {
		if left := e.emptied(folder); len(left) > 0 {
			t.Errorf("left on disk: %s: %v", folder, left)
		}
	}
}

func list(dir string) []string {
	entries, _ := os.ReadDir(dir)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// TestKilledDaemon kills the daemon at changing moments of a busy life, ten times, and expects every container to be whole
// or gone, every name free or removable, and what was finished to stay finished.
func TestKilledDaemon(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "-d", "--name", "keeper", "busybox", "sh", "-c", "i=0; while :; do echo $i; i=$((i+1)); sleep .02; done")
	for round := range 10 {
		var clients []*exec.Cmd
		for k := range 3 {
			script := fmt.Sprintf(`while :; do cove run --rm --name k%d busybox true || exit; cove create --name n%d busybox || exit; cove rm n%d || exit; done`, k, k, k)
			c := e.Command("sh", "-c", script)
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		loader := e.Command("cove", "load", "-i", filepath.Join(images(t), "alpine.tar"))
		if err := loader.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(30+round*67) * time.Millisecond)
		e.Kill()
		for _, c := range append(clients, loader) {
			c.Wait()
		}
		start := time.Now()
		e.Start()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("round %d: the daemon took %v to come back", round, took)
		}
		if state := e.Run("cove", "inspect", "-f", "{{.State.Status}}", "keeper"); state != "running" {
			t.Fatalf("round %d: keeper is %s", round, state)
		}
		for _, line := range strings.Split(e.Run("cove", "ps", "-a", "--format", "{{.Names}} {{.State}}"), "\n") {
			name, state, _ := strings.Cut(line, " ")
			if state == "dead" || name == "" {
				t.Errorf("round %d: %q", round, line)
			}
			if name != "keeper" {
				e.Try("cove", "rm", "-f", name) // an automatic removal may be under way
			}
		}
		e.Run("cove", "create", "--name", "n0", "busybox")
		e.Run("cove", "rm", "n0")
		if out, _, code := e.Try("cove", "image", "inspect", "-f", "{{.Os}}", "alpine:3.20"); code == 0 {
			if got := e.Run("cove", "run", "--rm", "alpine:3.20", "cat", "/etc/alpine-release"); got != "3.20.3" {
				t.Errorf("round %d: a half image: %q %q", round, out, got)
			}
			e.Run("cove", "rmi", "-f", "alpine:3.20")
		}
	}
	numbers := strings.Fields(e.Run("cove", "logs", "keeper"))
	for i, n := range numbers {
		if n != fmt.Sprint(i) {
			t.Fatalf("line %d of the log is %s: lines were lost or doubled", i, n)
		}
	}
	if parts := list(filepath.Join(e.DataRoot, "ingest")); len(parts) > 0 {
		t.Errorf("temporary files of earlier rounds are left: %v", parts)
	}
}

// TestExecSurvivesTheDaemon keeps an exec session's process and a created container through a kill.
func TestExecSurvivesTheDaemon(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "create", "--name", "later", "busybox", "echo", "later")
	e.Run("cove", "run", "-d", "--name", "c", "-v", "v:/v", "busybox", "sleep", "100")
	e.Run("cove", "exec", "-d", "c", "sh", "-c", "sleep 2; echo done > /v/out")
	e.Kill()
	e.Start()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); got != "done" && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		got, _, _ = e.Try("cove", "exec", "c", "cat", "/v/out")
		got = strings.TrimSpace(got)
	}
	if got != "done" {
		t.Errorf("the exec session left %q", got)
	}
	if got := e.Run("cove", "start", "-a", "later"); got != "later" {
		t.Errorf("the created container printed %q", got)
	}
	if n := bytes.Count([]byte(e.Run("cove", "ps", "-q")), []byte("\n")); n != 0 {
		t.Errorf("%d containers run, want one", n+1)
	}
}
