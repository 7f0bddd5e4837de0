package test

import (
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// VG-6: the daemon is killed in the middle of something, ten rounds each at random moments; pulls and unpacking are in
// TestKilledPulls.

// revive starts the daemon again and expects it to be there in time.
func (e *Engine) revive(round int) {
	e.t.Helper()
	start := time.Now()
	e.Start()
	if took := time.Since(start); took > 10*time.Second {
		e.t.Errorf("round %d: the daemon took %v to come back", round, took)
	}
}

// clear expects every container to have a name and a state that one can have, and removes all. Nothing may be left but the
// named volumes.
func (e *Engine) clear(round int) {
	e.t.Helper()
	for _, line := range strings.Split(e.Run("cove", "ps", "-a", "--format", "{{.Names}} {{.State}}"), "\n") {
		name, state, _ := strings.Cut(line, " ")
		switch {
		case line == "":
			continue
		case name == "" || state != "created" && state != "running" && state != "exited":
			e.t.Errorf("round %d: container %q", round, line)
		}
		if _, errOut, code := e.Try("cove", "rm", "-f", "-v", name); code != 0 && !strings.Contains(errOut, "No such container") && !strings.Contains(errOut, "already in progress") {
			e.t.Errorf("round %d: rm %s: status %d: %s", round, name, code, errOut)
		}
	}
	for _, name := range strings.Fields(e.Run("cove", "volume", "ls", "-q")) {
		if len(name) == 64 {
			e.t.Errorf("round %d: the anonymous volume %s has outlived its container", round, name)
		}
	}
	for _, dir := range []string{"containers", "layers/writable", "layers/gone"} {
		if left := e.emptied(dir); len(left) > 0 {
			e.t.Errorf("round %d: %s holds %v", round, dir, left)
		}
	}
}

// emptied waits until a folder of the engine's data is empty, for files go after the answer, and tells what is left in it.
func (e *Engine) emptied(dir string) (left []string) {
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if left = list(filepath.Join(e.DataRoot, dir)); len(left) == 0 || time.Now().After(deadline) {
			return left
		}
	}
}

// disk is what the engine's data takes in kilobytes, its database aside, which only grows.
func (e *Engine) disk() int {
	e.t.Helper()
	// What goes while it looks makes it fail, and its figure is right all the same.
	out, _ := exec.Command("du", "-sk", "--exclude=cove.db", e.DataRoot).Output()
	size, err := strconv.Atoi(strings.Fields(string(out) + " nothing")[0])
	if err != nil {
		e.t.Fatal(err)
	}
	return size
}

// shrinks waits until the engine's data takes no more than so many kilobytes, for what is removed goes after the answer, and tells
// what it takes at last.
func (e *Engine) shrinks(to int) int {
	e.t.Helper()
	now := e.disk()
	for deadline := time.Now().Add(30 * time.Second); now > to && time.Now().Before(deadline); now = e.disk() {
		time.Sleep(50 * time.Millisecond)
	}
	return now
}

// folderGrowth is how many kilobytes the engine's folders may keep after they once held more names.
const folderGrowth = 32

// TestKilledCreates kills the daemon during creates with volumes (VG-6 d).
func TestKilledCreates(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "--rm", "-v", "named:/n", "busybox", "true")
	before := e.disk()
	for round := range 10 {
		var clients []*exec.Cmd
		for k := range 3 {
			c := e.Command("sh", "-c", fmt.Sprintf(`n=0; while cove create --name c%d-$n -v /anonymous -v named:/n -w /made busybox; do n=$((n+1)); done`, k))
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		time.Sleep(30*time.Millisecond + rand.N(200*time.Millisecond))
		e.Kill()
		for _, c := range clients {
			c.Wait()
		}
		e.revive(round)
		// What exists is whole: it starts.
		if names := strings.Fields(e.Run("cove", "ps", "-a", "--format", "{{.Names}}")); len(names) > 0 {
			e.Run("cove", "start", names[0])
		}
		e.clear(round)
		e.Run("cove", "create", "--name", "c0-0", "busybox")
		e.Run("cove", "rm", "c0-0")
		if after := e.shrinks(before + folderGrowth); after > before+folderGrowth {
			t.Errorf("round %d: %d kB on disk, %d before", round, after, before)
		}
	}
	e.Run("cove", "volume", "inspect", "named")
}

// TestKilledRemovals kills the daemon while containers are removed that run, ran, and never did (VG-6 e).
func TestKilledRemovals(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "--rm", "busybox", "true")
	before := e.disk()
	half := 0
	for round := range 10 {
		script := `cove create --name a$1 -v /anonymous busybox; cove run -d --name b$1 -v /anonymous busybox sleep 100; cove run --name c$1 -v /anonymous busybox sh -c 'head -c 300000 /dev/zero >/big'`
		for k := range 3 {
			e.Run("sh", "-c", script, "sh", fmt.Sprint(k))
		}
		var clients []*exec.Cmd
		for _, kind := range []string{"a", "b", "c"} {
			c := e.Command("cove", "rm", "-f", "-v", kind+"0", kind+"1", kind+"2")
			if err := c.Start(); err != nil {
				t.Fatal(err)
			}
			clients = append(clients, c)
		}
		time.Sleep(rand.N(100 * time.Millisecond))
		e.Kill()
		for _, c := range clients {
			c.Wait()
		}
		e.revive(round)
		if n := len(strings.Fields(e.Run("cove", "ps", "-aq"))); n > 0 && n < 9 {
			half++
		}
		e.clear(round)
		e.Run("cove", "create", "--name", "a0", "busybox")
		e.Run("cove", "rm", "a0")
		if after := e.shrinks(before + folderGrowth); after > before+folderGrowth {
			t.Errorf("round %d: %d kB on disk, %d before", round, after, before)
		}
	}
	t.Logf("%d of 10 kills came between the first removal and the last", half)
}

// TestKilledCommits kills the daemon while an image is made of a container that runs (VG-6 f): there is a whole image or none,
// the container goes on, and nothing is left of the half ones.
func TestKilledCommits(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "-d", "--name", "c", "busybox", "sh", "-c", "head -c 40000000 /dev/urandom >/big; md5sum /big >/sum; sleep 1000")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if _, _, code := e.Try("cove", "exec", "c", "test", "-s", "/sum"); code == 0 {
			break
		}
	}
	e.Run("cove", "commit", "c", "i")
	e.Run("cove", "run", "--rm", "i", "md5sum", "-c", "/sum")
	e.Run("cove", "rmi", "i")
	before := e.disk()
	whole := 0
	for round := range 10 {
		commit := e.Command("cove", "commit", "c", "i")
		if err := commit.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(rand.N(600 * time.Millisecond))
		e.Kill()
		commit.Wait()
		e.revive(round)
		if state := e.Run("cove", "inspect", "-f", "{{.State.Status}}", "c"); state != "running" {
			t.Fatalf("round %d: the container is %s", round, state)
		}
		if names := e.Run("cove", "images", "--format", "{{.Repository}}"); strings.HasPrefix(names, "i\n") || strings.HasSuffix(names, "\ni") {
			whole++
			e.Run("cove", "run", "--rm", "i", "md5sum", "-c", "/sum")
			e.Run("cove", "rmi", "i")
		} else if names != "busybox" {
			t.Errorf("round %d: images %q", round, names)
		}
		if after := e.shrinks(before + folderGrowth); after > before+folderGrowth {
			t.Errorf("round %d: %d kB on disk, %d before", round, after, before)
		}
	}
	t.Logf("%d of 10 commits were whole", whole)
	e.Run("cove", "commit", "c", "i")
	e.Run("cove", "run", "--rm", "i", "md5sum", "-c", "/sum")
	e.sound("in the end", "--deep")
}
