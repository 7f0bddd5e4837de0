package cgroup

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

func TestParseScope(t *testing.T) {
	for text, want := range map[string]string{
		"system.slice:cove:abc":   "/system.slice/cove-abc.scope",
		":cove:abc":               "/system.slice/cove-abc.scope",
		"user-1000.slice::abc":    "/user.slice/user-1000.slice/abc.scope",
		"a-b-c.slice:x:y":         "/a.slice/a-b.slice/a-b-c.slice/x-y.scope",
		"-.slice:x:y":             "/x-y.scope",
		"/plain/path":             "",
		"/one:colon":              "",
		"system.slice:cove:":      "error",
		"system:cove:abc":         "error",
		"a.slice:../../x:y":       "error",
		"../x.slice:cove:abc.def": "error",
	} {
		s, asked, err := parseScope(text)
		switch {
		case want == "error":
			if !errors.Is(err, errdefs.ErrInvalidArgument) {
				t.Errorf("%q: %v, %v", text, s, err)
			}
		case want == "" && (asked || err != nil):
			t.Errorf("%q asks for systemd: %v", text, err)
		case want != "" && (!asked || err != nil || s.path() != want):
			t.Errorf("%q: %q, %v, want %q", text, s.path(), err, want)
		}
	}
}

func TestMessages(t *testing.T) {
	var w writer
	w.text("unit")
	w.properties([]property{{"A", "text"}, {"B", true}, {"C", uint64(7)}, {"D", []uint32{1, 2}}})
	m := &message{kind: messageCall, serial: 3, replySerial: 9, body: w.b, fields: map[byte]string{
		fieldPath: "/x", fieldMember: "M", fieldInterface: "i.f", fieldDestination: "d", fieldSignature: "sa(sv)",
	}}
	got, err := readMessage(bytes.NewReader(m.encode()))
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v\nwant %+v", got, err, m)
	}
	for n := range m.encode() {
		if _, err := readMessage(bytes.NewReader(m.encode()[:n])); err == nil {
			t.Errorf("%d bytes are enough", n)
		}
	}
}

func FuzzReadMessage(f *testing.F) {
	f.Add((&message{kind: messageReturn, serial: 1, replySerial: 2, fields: map[byte]string{fieldSignature: "s"}, body: []byte{1, 0, 0, 0, 'x', 0}}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := readMessage(bytes.NewReader(b)); err == nil {
			r := &reader{b: m.body}
			r.text()
			r.uint32()
		}
	})
}

// fakeSystemd answers on a socket as systemd does and makes the unit's folder in a fake hierarchy.
func fakeSystemd(t *testing.T, result string, made func(unit string)) (socket string, calls chan *message) {
	t.Helper()
	dir := t.TempDir()
	l, err := sys.ListenSocket(dir, "private")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	calls = make(chan *message, 10)
	go func() {
		s, err := l.Accept()
		if err != nil {
			return
		}
		defer s.Close()
		in := bufio.NewReader(s)
		for range 2 { // AUTH, BEGIN
			line, err := in.ReadString('\n')
			if err != nil {
				return
			}
			if strings.Contains(line, "AUTH EXTERNAL 30") {
				_, _ = s.Write([]byte("OK 1234\r\n"))
			}
		}
		for serial := uint32(1); ; serial += 2 {
			m, err := readMessage(in)
			if err != nil {
				return
			}
			calls <- m
			answer := &message{kind: messageReturn, serial: serial, replySerial: m.serial}
			if m.fields[fieldMember] != "StartTransientUnit" {
				_, _ = s.Write(answer.encode())
				continue
			}
			unit := (&reader{b: m.body}).text()
			made(unit)
			var job, removed writer
			job.text("/job/7")
			answer.fields, answer.body = map[byte]string{fieldSignature: "o"}, job.b
			removed.uint32(7)
			removed.text("/job/7")
			removed.text(unit)
			removed.text(result)
			signal := &message{kind: messageSignal, serial: serial + 1, body: removed.b, fields: map[byte]string{
				fieldPath: "/org/freedesktop/systemd1", fieldInterface: "org.freedesktop.systemd1.Manager", fieldMember: "JobRemoved", fieldSignature: "uoss",
			}}
			_, _ = s.Write(signal.encode()) // the signal may well come first
			_, _ = s.Write(answer.encode())
		}
	}()
	return filepath.Join(dir, "private"), calls
}

func TestScope(t *testing.T) {
	h, dir := fakeUnified(t, "/system.slice/cove-x.scope", map[string]string{"memory.max": "", "pids.max": "", "cpu.weight": "", "cpu.max": ""})
	unit := ""
	socket, calls := fakeSystemd(t, "done", func(u string) { unit = u })
	stopped := false
	hold := func() (int, func(), error) { return 4711, func() { stopped = true }, nil }
	s, _, err := parseScope("system.slice:cove:x")
	if err != nil {
		t.Fatal(err)
	}
	r := &specs.LinuxResources{
		Memory: &specs.LinuxMemory{Limit: p(int64(1 << 20))}, Pids: &specs.LinuxPids{Limit: p(int64(-1))},
		CPU: &specs.LinuxCPU{Quota: p(int64(25001)), Shares: p(uint64(1024))},
	}
	c, err := createScope(h, s, r, hold, socket)
	if err != nil {
		t.Fatal(err)
	}
	if c.Path() != "/system.slice/cove-x.scope" || unit != "cove-x.scope" || !stopped {
		t.Errorf("path %s, unit %s, placeholder stopped: %v", c.Path(), unit, stopped)
	}
	if got := content(t, dir+"/memory.max"); got != "1048576" {
		t.Errorf("memory.max is %q", got)
	}
	<-calls // Subscribe
	start := <-calls
	for _, want := range []string{"MemoryMax", "TasksMax", "CPUWeight", "CPUQuotaPerSecUSec", "PIDs", "Delegate", "system.slice"} {
		if !bytes.Contains(start.body, []byte(want)) {
			t.Errorf("systemd is not told %s", want)
		}
	}
	if perSecond(25001, nil) != 260_000 {
		t.Errorf("quota is %d", perSecond(25001, nil))
	}
	socket, _ = fakeSystemd(t, "failed", func(string) {})
	if _, err := createScope(h, s, nil, hold, socket); err == nil || !strings.Contains(err.Error(), "failed") {
		t.Errorf("a failed job: %v", err)
	}
	if _, err := createScope(h, s, nil, hold, filepath.Join(t.TempDir(), "absent")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no systemd: %v", err)
	}
}
