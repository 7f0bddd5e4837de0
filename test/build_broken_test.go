package test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// dockerfile writes a Dockerfile into a folder of its own.
func dockerfile(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestKilledBuilds kills the daemon during RUN (VG-6 c).
func TestKilledBuilds(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	dir := dockerfile(t, "FROM busybox\nARG N\nRUN echo $N >/n && dd if=/dev/zero of=/z bs=1M count=4 2>/dev/null\nRUN for i in 1 2 3 4 5; do dd if=/dev/zero of=/z$i bs=1M count=2 2>/dev/null; sleep 0.1; done\nRUN cat /n\n")
	build := []string{"cove", "build", "-q", "-t", "x"}
	settled := 0
	for round := range 10 {
		n := strconv.Itoa(round)
		cmd := e.Command(append(build, "--build-arg", "N="+n, dir)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(rand.IntN(900)) * time.Millisecond)
		e.Kill()
		_ = cmd.Wait()
		e.revive(round)
		if left := e.Run("cove", "ps", "-aq"); left != "" {
			t.Errorf("round %d: containers are left: %s", round, left)
		}
		// A build that was done before it was killed has taken the name from the image before.
		now, _, _ := e.Try("cove", "run", "--rm", "x", "cat", "/n")
		done := strings.TrimSpace(now) == n
		for _, line := range strings.Split(e.Run("cove", "images", "-a", "--format", "{{.Repository}}"), "\n") {
			if line != "x" && line != "busybox" && !(done && line == "<none>") {
				t.Errorf("round %d: there is an image %q", round, line)
			}
		}
		if _, errs, code := e.Try(append(build, "--build-arg", "N="+n, dir)...); code != 0 {
			t.Fatalf("round %d: the build afterwards: status %d\n%s", round, code, errs)
		}
		if got := e.Run("cove", "run", "--rm", "x", "cat", "/n"); got != n {
			t.Errorf("round %d: the image holds %q", round, got)
		}
		e.Run("cove", "builder", "prune", "-a", "-f")
		e.Run("cove", "image", "prune", "-f")
		// Nothing but the image is left, and what goes with the one before: not more in the last round than in the second.
		if round <= 1 {
			time.Sleep(time.Second)
			settled = e.disk()
		} else if now := e.shrinks(settled + 1024); now > settled+1024 {
			t.Errorf("round %d: %d KB on disk, %d after the second", round, now, settled)
		}
	}
}

// TestBuildsOnASmallDisk fills the disk of the daemon with a RUN and with a context (VG-7).
func TestBuildsOnASmallDisk(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4 for a small disk")
	}
	e := newEngine(t)
	mount := smallDisk(t, e)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "run", "-d", "--name", "other", "busybox", "sleep", "1000")
	before := used(t, mount)
	large := dockerfile(t, "FROM busybox\nCOPY large /\n")
	if err := os.WriteFile(filepath.Join(large, "large"), make([]byte, 300<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{
		"a RUN":     dockerfile(t, "FROM busybox\nRUN dd if=/dev/zero of=/f bs=1M\n"),
		"a context": large,
	} {
		_, errs, code := e.Try("cove", "build", "--progress=plain", dir)
		if code != 1 || !strings.Contains(strings.ToLower(errs), "no space left") {
			t.Errorf("%s that fills the disk: status %d\n%s", what, code, errs)
		}
		for deadline := time.Now().Add(30 * time.Second); used(t, mount) > before+3 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		}
		if after := used(t, mount); after > before+3 {
			t.Errorf("%s that fills the disk left %d MB", what, after-before)
		}
		if got := e.Run("cove", "inspect", "-f", "{{.State.Status}}", "other"); got != "running" {
			t.Errorf("the other container is %s", got)
		}
		e.Run("cove", "build", "-q", "-t", "small", dockerfile(t, "FROM busybox\nRUN echo "+strconv.Quote(what)+" >/f\n"))
	}
	if mb := e.peak(); mb > 300 {
		t.Errorf("the daemon took %d MB", mb)
	}
	e.Kill()
	e.Start()
	if got := e.Run("cove", "run", "--rm", "small", "cat", "/f"); !strings.HasPrefix(got, "a ") {
		t.Errorf("after a restart the image holds %q", got)
	}
}
