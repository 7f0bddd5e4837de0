package test

import (
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/system"
)

// du is what the given parts of the engine's data take on disk, as du counts.
func (e *Engine) du(parts ...string) int64 {
	e.t.Helper()
	args := []string{"-sc", "-B1"}
	for _, p := range parts {
		args = append(args, filepath.Join(e.DataRoot, p))
	}
	// What goes while it looks makes it fail, and its figure is right all the same.
	out, _ := exec.Command("du", args...).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	n, err := strconv.ParseInt(strings.Fields(lines[len(lines)-1] + " nothing")[0], 10, 64)
	if err != nil {
		e.t.Fatal(err)
	}
	return n
}

// usage is what "system df" says.
func (e *Engine) usage() system.DiskUsage {
	e.t.Helper()
	out := e.Run("curl", "-sS", "--unix-socket", strings.TrimPrefix(e.Socket(), "unix://"), "http://cove/v1.52/system/df?verbose=1")
	var u system.DiskUsage
	if err := json.Unmarshal([]byte(out), &u); err != nil {
		e.t.Fatalf("%v: %s", err, out)
	}
	return u
}

// agree expects two figures to differ by no more than one per cent.
func agree(t *testing.T, what string, got, want int64) {
	t.Helper()
	if off := max(got-want, want-got); off*100 > want {
		t.Errorf("%s: %d, du says %d: %.1f %% off", what, got, want, float64(off)*100/float64(want))
	} else {
		t.Logf("%s: %d, du says %d", what, got, want)
	}
}

// TestDiskUsage: what "system df" says is what du says, kind by kind and in all; what it calls reclaimable is what pruning says
// it has freed, and what the disk gets back.
func TestDiskUsage(t *testing.T) {
	needRoot(t)
	images(t)
	if _, err := exec.LookPath("curl"); err != nil {
		t.Skip("needs curl")
	}
	e := newEngine(t)
	e.Start()
	e.Load("busybox", "alpine")
	e.Run("cove", "tag", "busybox", "again:1")
	fill := `i=0; while [ $i -lt 120 ]; do head -c $((i*100)) /dev/urandom >$0/f$i; ln $0/f$i $0/h$i; mkdir $0/d$i; i=$((i+1)); done; head -c 10000000 /dev/urandom >$0/big; truncate -s 1G $0/sparse`
	e.Run("cove", "run", "--name", "stopped", "-v", "used:/v", "-v", "/a", "busybox", "sh", "-c", fill, "/v")
	e.Run("cove", "run", "--name", "grown", "busybox", "sh", "-c", "mkdir /w; "+fill, "/w")
	// What a snapshot and a clone share is counted once.
	e.Run("cove", "snapshot", "create", "grown", "s")
	e.Run("cove", "container", "clone", "grown", "twin")
	e.Run("cove", "run", "-d", "--name", "printer", "busybox", "sh", "-c", "head -c 3000000 /dev/zero | tr '\\0' 'a' | fold; echo; sleep 1000")
	e.Run("cove", "run", "--rm", "-v", "unused:/v", "busybox", "sh", "-c", fill, "/v")
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if out, _, _ := e.Try("cove", "logs", "--tail", "1", "printer"); strings.HasPrefix(out, "a") {
			break
		}
	}
	e.Run("sync", "-f", e.DataRoot)
	u := e.usage()
	agree(t, "images", u.ImageUsage.TotalSize, e.du("blobs", "ingest", "layers/trees", "layers/fixes"))
	agree(t, "containers", u.ContainerUsage.TotalSize, e.du("containers", "layers/writable"))
	agree(t, "volumes", u.VolumeUsage.TotalSize, e.du("volumes"))
	agree(t, "in all", u.ImageUsage.TotalSize+u.ContainerUsage.TotalSize+u.VolumeUsage.TotalSize, e.du("."))
	var sum int64
	for _, c := range u.ContainerUsage.Items {
		sum += c.SizeRw
	}
	if sum != u.ContainerUsage.TotalSize || u.ContainerUsage.TotalCount != 4 || u.ContainerUsage.ActiveCount != 1 {
		t.Errorf("containers: %d in items, %+v", sum, u.ContainerUsage)
	}
	if u.ImageUsage.ActiveCount != 1 || u.ImageUsage.TotalCount != 2 || u.VolumeUsage.ActiveCount != 2 {
		t.Errorf("images %+v, volumes %+v", u.ImageUsage, u.VolumeUsage)
	}
	// Pruning gives back what was called reclaimable, and says so.
	for _, kind := range []struct {
		name        string
		reclaimable int64
		args        []string
		parts       []string
	}{
		{"volumes", u.VolumeUsage.Reclaimable, []string{"volume", "prune", "-a", "-f"}, []string{"volumes"}},
		{"images", u.ImageUsage.Reclaimable, []string{"image", "prune", "-a", "-f"}, []string{"blobs", "layers/trees", "layers/fixes"}},
		{"containers", u.ContainerUsage.Reclaimable, []string{"container", "prune", "-f"}, []string{"containers", "layers/writable"}},
	} {
		before := e.du(kind.parts...)
		out := e.Run(append([]string{"cove"}, kind.args...)...)
		_, said, _ := strings.Cut(out, "Total reclaimed space: ")
		e.settled(kind.parts...)
		freed := before - e.du(kind.parts...)
		agree(t, kind.name+", reclaimable", kind.reclaimable, freed)
		agree(t, kind.name+", said to be freed", parseSize(t, said), freed)
	}
}

// settled waits until nothing is being deleted below the given parts any more.
func (e *Engine) settled(parts ...string) {
	for last, deadline := int64(-1), time.Now().Add(30*time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		now := e.du(append(parts, "layers/gone")...)
		if now == last && len(list(filepath.Join(e.DataRoot, "layers/gone"))) == 0 {
			return
		}
		last = now
	}
}

// parseSize reads a size as Docker prints it, with four digits.
func parseSize(t *testing.T, text string) int64 {
	t.Helper()
	text = strings.TrimSpace(text)
	for unit, factor := range map[string]float64{"GB": 1e9, "MB": 1e6, "kB": 1e3} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseFloat(number, 64)
			if err != nil {
				t.Fatal(err)
			}
			return int64(n * factor)
		}
	}
	t.Fatalf("no size: %q", text)
	return 0
}
