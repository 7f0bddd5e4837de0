package test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/testkit"
)

// zeroLayer is an image whose one layer claims a file of so many zeros, about a thousandth of that on the wire. Its diff ID is
// not right: a disk that takes it all would have to be large.
func zeroLayer(t *testing.T, size int64) *testkit.Image {
	t.Helper()
	const piece = 256 << 20
	var head, zeros bytes.Buffer
	for into, from := range map[*bytes.Buffer]func(io.Writer) error{
		&head: func(w io.Writer) error {
			return tar.NewWriter(w).WriteHeader(&tar.Header{Name: "zeros", Mode: 0o644, Size: size})
		},
		&zeros: func(w io.Writer) error { _, err := io.CopyN(w, zeroes{}, piece); return err },
	} {
		z, err := gzip.NewWriterLevel(into, gzip.BestSpeed)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(from(z), z.Close()); err != nil {
			t.Fatal(err)
		}
	}
	blob := append(head.Bytes(), bytes.Repeat(zeros.Bytes(), int(size/piece))...)
	im, err := testkit.Craft("L; f q 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	im.Layers = [][]byte{blob}
	var m map[string]any
	if err := json.Unmarshal(im.Manifest, &m); err != nil {
		t.Fatal(err)
	}
	m["layers"] = []any{map[string]any{"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(blob), "digest": digest.FromBytes(blob)}}
	if im.Manifest, err = json.Marshal(m); err != nil {
		t.Fatal(err)
	}
	return im
}

type zeroes struct{}

func (zeroes) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// peak is the most memory the daemon ever had, in megabytes.
func (e *Engine) peak() int {
	raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.daemon.Process.Pid))
	_, rest, _ := strings.Cut(string(raw), "VmHWM:")
	kb, _ := strconv.Atoi(strings.Fields(rest + " 0")[0])
	return kb >> 10
}

// smallDisk puts the data of an engine that has not been started on a disk of 200 MB and gives where that is mounted.
func smallDisk(t *testing.T, e *Engine) string {
	t.Helper()
	disk, mount := filepath.Join(t.TempDir(), "disk"), t.TempDir()
	for _, args := range [][]string{{"truncate", "-s", "200M", disk}, {"mkfs.ext4", "-q", disk}, {"mount", "-o", "loop", disk, mount}} {
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v: %s", args, err, out)
		}
	}
	t.Cleanup(func() {
		e.finishOnce()
		if out, err := exec.Command("umount", mount).CombinedOutput(); err != nil {
			t.Errorf("unmount: %v: %s", err, out)
			exec.Command("umount", "-l", mount).Run()
		}
	})
	e.DataRoot = filepath.Join(mount, "data")
	return mount
}

// TestSmallDisk: a data root of 200 MB meets a layer of ten gigabytes of zeros and containers that write and print without
// end. Each fails for itself, the others and the daemon live, and nothing of it stays (VG-7).
func TestSmallDisk(t *testing.T) {
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
	e.Run("cove", "run", "-d", "--name", "other", "--label", "x=y", "busybox", "sleep", "1000")
	r := openRegistry(t, testkit.Faults{})
	r.Push("x", "bomb", zeroLayer(t, 10<<30))
	for _, client := range clients() {
		before := used(t, mount)
		if out, errOut, code := e.Try(client, "pull", r.Host()+"/x:bomb"); code != 1 || !strings.Contains(out+errOut, "no space left") {
			t.Errorf("%s pull: status %d: %s%s", client, code, out, errOut)
		}
		for deadline := time.Now().Add(30 * time.Second); used(t, mount) > before+2 && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		}
		if after := used(t, mount); after > before+2 {
			t.Errorf("%s: the failed pull left %d MB", client, after-before)
		}
		if _, errOut, code := e.Try(client, "run", "--name", "writer", "busybox", "sh", "-c", "cat /dev/zero > /fill"); code == 0 || !strings.Contains(errOut, "No space left") {
			t.Errorf("%s, writing until full: status %d: %s", client, code, errOut)
		}
		if got := e.Run(client, "inspect", "-f", "{{.State.Status}} {{.Config.Labels.x}}", "other"); got != "running y" {
			t.Errorf("%s: the other container is %s", client, got)
		}
		e.Run(client, "rm", "-f", "writer")
		if got := e.Run(client, "run", "--rm", "busybox", "echo", "fine"); got != "fine" {
			t.Errorf("%s: afterwards: %q", client, got)
		}
	}
	e.Run("cove", "run", "-d", "--name", "printer", "--log-opt", "max-size=-1", "busybox", "sh", "-c", "yes 0123456789012345678901234567890123456789")
	for deadline := time.Now().Add(30 * time.Second); free(t, mount) > 1 && time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
	}
	time.Sleep(time.Second)
	if got := e.Run("cove", "inspect", "-f", "{{.State.Status}}", "printer"); got != "running" {
		t.Errorf("the printer is %s", got)
	}
	if got := e.Run("cove", "logs", "--tail", "1", "printer"); !strings.HasPrefix(got, "0123456789") {
		t.Errorf("the printer's logs end in %.80q", got)
	}
	if mb := e.peak(); mb > 300 {
		t.Errorf("the daemon took %d MB", mb)
	}
	e.Run("cove", "rm", "-f", "printer")
	e.Kill()
	e.Start()
	if got := e.Run("cove", "ps", "--format", "{{.Names}} {{.State}}"); got != "other running" {
		t.Errorf("after a restart: %s", got)
	}
	e.Run("cove", "run", "--rm", "busybox", "true")
}

func used(t *testing.T, path string) int64 { return df(t, path, "--output=used") }
func free(t *testing.T, path string) int64 { return df(t, path, "--output=avail") }

// df is a figure of a file system in megabytes.
func df(t *testing.T, path, column string) int64 {
	t.Helper()
	out, err := exec.Command("df", "-BM", column, path).Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	n, err := strconv.ParseInt(strings.TrimSuffix(fields[len(fields)-1], "M"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestKilledPulls kills the daemon at changing moments of a pull, of its unpacking and of removals, and expects whole images or
// none, free names, and a disk that does not fill (VG-6 a, b).
func TestKilledPulls(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	r := openRegistry(t, testkit.Faults{Rate: 20_000_000})
	im := on(t, "L comp=none; z a 4000000\nL; z b 30000000; f done 1")
	r.Push("x", "1", im)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	name := r.Host() + "/x:1"
	for round := range 10 {
		e.Run("cove", "create", "--name", "c", "busybox")
		pull, remove := e.Command("cove", "pull", "-q", name), e.Command("cove", "rm", "c")
		if err := pull.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(10+round*61) * time.Millisecond)
		if err := remove.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Duration(round) * time.Millisecond)
		e.Kill()
		pull.Wait()
		remove.Wait()
		start := time.Now()
		e.Start()
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("round %d: the daemon took %v to come back", round, took)
		}
		for _, line := range strings.Split(e.Run("cove", "images", "--format", "{{.Repository}}:{{.Tag}}"), "\n") {
			if line == name {
				if got := e.Run("cove", "run", "--rm", "--pull", "never", name, "sh", "-c", "wc -c </b; cat /done"); got != "30000000\n1" {
					t.Errorf("round %d: a half image: %q", round, got)
				}
			} else if line != "busybox:latest" {
				t.Errorf("round %d: image %q", round, line)
			}
		}
		if state := e.Run("cove", "ps", "-a", "--format", "{{.Names}} {{.State}}"); state != "" && state != "c created" {
			t.Errorf("round %d: containers: %s", round, state)
		}
		e.Try("cove", "rm", "-f", "c")
		e.Run("cove", "pull", "-q", name)
		if got := e.Run("cove", "run", "--rm", name, "cat", "/done"); got != "1" {
			t.Errorf("round %d: pulled again: %q", round, got)
		}
		e.Run("cove", "rmi", name)
	}
	e.Run("cove", "rmi", "busybox")
	clean(t, e, "all removed")
	for _, dir := range []string{"containers", "layers/writable", "layers/fixes"} {
		if left := e.emptied(dir); len(left) > 0 {
			t.Errorf("%s holds %v", dir, left)
		}
	}
}
