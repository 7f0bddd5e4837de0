package checkpoint

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

// TestMain lets the test's own binary play criu.
func TestMain(m *testing.M) {
	if len(os.Args) == 3 && os.Args[1] == "swrk" {
		os.Exit(playCriu())
	}
	os.Exit(m.Run())
}

// playCriu tells of one step and then does what a file beside the log says.
func playCriu() int {
	s := sys.FD(3)
	buf := make([]byte, 1<<16)
	n, err := s.Read(buf)
	if err != nil {
		return 1
	}
	var work, log string
	err = fields(buf[:n], func(field int, _ uint64, options []byte) error {
		if field != requestOptions {
			return nil
		}
		return fields(options, func(field int, _ uint64, text []byte) error {
			switch field {
			case optLogFile:
				log = string(text)
			case optExternal:
				work = string(text)
			}
			return nil
		})
	})
	if err != nil {
		return 1
	}
	play, _ := os.ReadFile(filepath.Join(work, "play"))
	var told, notify message
	notify.text(1, "setup-namespaces")
	notify.number(2, 77)
	told.number(1, typeNotify)
	told.number(2, 1)
	told.text(5, string(notify))
	if _, err := s.Write(told); err != nil {
		return 1
	}
	if n, err = s.Read(buf); err != nil || string(play) == "silence" {
		fmt.Fprintln(os.Stderr, "last words")
		return 1
	}
	agreed := false
	_ = fields(buf[:n], func(field int, v uint64, _ []byte) error {
		agreed = agreed || field == requestNotified && v == 1
		return nil
	})
	var done, restored message
	restored.number(1, 78)
	done.number(1, typeRestore)
	done.yes(2, agreed && string(play) == "success")
	done.text(4, string(restored))
	done.text(9, "in its answer")
	if string(play) == "log" {
		_ = os.WriteFile(filepath.Join(work, log), []byte("(00.1) Error (a.c:1): first\n(00.2) Warn  (a.c:2): never mind\n(00.3) Error (b.c:2): second FAILED.\n(00.4) Error (c.c:3): last\n"), 0o600)
	}
	_, _ = s.Write(done)
	return 0
}

func TestTalk(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for play, want := range map[string]string{
		"success": "", "failure": "criu failed: in its answer", "silence": "criu ended without an answer: last words",
		"log": "criu failed: (a.c:1): first; (b.c:2): second FAILED.", "refused": "not now",
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "play"), []byte(strings.Replace(play, "refused", "success", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		told := 0
		c := &call{
			options: Options{Criu: self, Images: dir}, kind: typeRestore, log: "x.log",
			ask: func(m *message) { m.text(optExternal, dir) },
			on: func(step string, pid int) error {
				if step == "setup-namespaces" {
					told = pid
				}
				if play == "refused" {
					return errors.New("not now")
				}
				return nil
			},
		}
		a, err := c.do()
		switch {
		case want == "" && (err != nil || a.restored != 78):
			t.Errorf("%s: %+v, %v", play, a, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", play, err, want)
		case told != 77:
			t.Errorf("%s: told of process %d", play, told)
		}
	}
	c := &call{options: Options{Criu: "criu-that-is-not-there", Images: t.TempDir()}, ask: func(*message) {}}
	if _, err := c.do(); err == nil || !strings.Contains(err.Error(), "executable file not found") {
		t.Errorf("without a criu: %v", err)
	}
}

func FuzzReadAnswer(f *testing.F) {
	var m message
	m.number(1, typeRestore)
	m.yes(2, true)
	m.text(9, "words")
	f.Add([]byte(m))
	f.Add([]byte{0x4a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := readAnswer(b)
		if err == nil && len(a.message) > len(b) {
			t.Errorf("%d bytes hold %q", len(b), a.message)
		}
	})
}

// TestExternalMounts: what shows a file system of the container's own, as parts of proc do, is its own as well.
func TestExternalMounts(t *testing.T) {
	own := Own([]specs.Mount{
		{Destination: "/proc", Type: "proc"}, {Destination: "/dev", Type: "tmpfs"}, {Destination: "/sys", Type: "sysfs"},
		{Destination: "/run/", Type: "tmpfs"}, {Destination: "/tmp", Type: "tmpfs", Options: []string{"rbind"}}, {Destination: "/data", Type: "bind"},
	})
	if want := []string{"/proc", "/dev", "/run"}; !slices.Equal(own, want) {
		t.Errorf("own: %q, want %q", own, want)
	}
	got := external([]sys.Mount{
		{ID: "1", Device: "0:1", Point: "/"}, {ID: "2", Device: "0:2", Point: "/proc"}, {ID: "3", Device: "0:3", Point: "/dev"}, {ID: "4", Device: "0:4", Point: "/sys"}, {ID: "5", Device: "0:5", Point: "/tmp"}, {ID: "6", Device: "8:1", Point: "/data"},
		{ID: "7", Device: "0:2", Point: "/proc/sys"}, {ID: "8", Device: "0:9", Point: "/proc/acpi"}, {ID: "9", Device: "8:1", Point: "/data"}, {ID: "10", Device: "0:7", Point: "/run"},
	}, own)
	if want := []string{"/sys", "/tmp", "/data", "/proc/acpi"}; !slices.Equal(got, want) {
		t.Errorf("external: %q, want %q", got, want)
	}
}

// TestRecord: a folder is a checkpoint once it is whole, and says what it needs.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	if _, err := readRecord(dir); Exists(dir) || !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("an empty folder: %v", err)
	}
	want := record{Mounts: []string{"/a b"}, Streams: [3]string{"", "pipe:[1]"}, Program: &program{Key: "k", Digest: "d"}, Network: true}
	pages := filepath.Join(dir, "pages-1.img")
	if err := os.WriteFile(pages, []byte("page"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := want.write(dir); err != nil {
		t.Fatal(err)
	}
	want.Sizes = map[string]int64{"pages-1.img": 4}
	got, err := readRecord(dir)
	if !Exists(dir) || err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
	if err := os.Truncate(pages, 0); err != nil {
		t.Fatal(err)
	}
	if _, err := readRecord(dir); !errors.Is(err, errdefs.ErrDataLoss) || !strings.HasSuffix(err.Error(), "pages-1.img is damaged: it has 0 bytes instead of 4") {
		t.Errorf("cut short: %v", err)
	}
	if _, err := openProgram(want.Program); !errors.Is(err, errdefs.ErrFailedPrecondition) {
		t.Errorf("another program: %v", err)
	}
}

// TestUserNamespace: what cannot be restored is not kept either.
func TestUserNamespace(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: makes a namespace")
	}
	p := exec.Command("unshare", "-U", "sleep", "1000")
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = p.Process.Kill()
		_ = p.Wait()
	}()
	for own := false; !own; {
		var err error
		if own, err = ownNamespace(p.Process.Pid, "user"); err != nil {
			t.Fatal(err)
		}
	}
	err := Dump(Source{Pid: p.Process.Pid}, Options{Criu: "criu", Images: t.TempDir()})
	if !errors.Is(err, errdefs.ErrNotImplemented) || !strings.Contains(err.Error(), "user namespace") {
		t.Errorf("got %v", err)
	}
}
