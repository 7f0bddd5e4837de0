package forward

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tinylib/msgp/msgp"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/state"
)

// world is a store with one container's log.
type world struct {
	*testing.T
	dir    string
	db     *state.DB
	store  *Store
	log    *logs.Writer
	target logs.Target
}

func newWorld(t *testing.T, driver string, options map[string]string) *world {
	w := &world{T: t, dir: t.TempDir()}
	var err error
	if w.db, err = state.Open(filepath.Join(w.dir, "db")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.db.Close() })
	box := filepath.Join(w.dir, "box")
	if err := os.Mkdir(box, 0o755); err != nil {
		t.Fatal(err)
	}
	w.target = logs.Target{
		Log: logs.Config{Driver: logs.Local, Path: filepath.Join(box, "local.log")}, Driver: driver, Options: options,
		Subject: logs.Subject{ID: strings.Repeat("ab", 32), Name: "/web", ImageName: "busybox"}, Command: "sh -c x",
	}
	if w.log, err = logs.NewWriter(w.target.Log); err != nil {
		t.Fatal(err)
	}
	w.open()
	return w
}

func (w *world) open() {
	w.Helper()
	var err error
	if w.store, err = Open(filepath.Join(w.dir, "forward"), w.db, slog.New(slog.DiscardHandler)); err != nil {
		w.Fatal(err)
	}
}

func (w *world) say(from, to int) {
	for i := from; i < to; i++ {
		fmt.Fprintf(w.log.Stream(logs.Stdout), "line %d\n", i)
	}
}

// sink is a server that keeps the lines it is sent.
type sink struct {
	net.Listener
	mu    sync.Mutex
	lines []string
	conns []net.Conn
}

func listen(t *testing.T, address string) *sink {
	t.Helper()
	s := &sink{}
	var err error
	for range 50 {
		if s.Listener, err = net.Listen("tcp", address); err == nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := s.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.conns = append(s.conns, conn)
			s.mu.Unlock()
			go func() {
				for r := bufio.NewScanner(conn); r.Scan(); {
					s.mu.Lock()
					s.lines = append(s.lines, r.Text())
					s.mu.Unlock()
				}
			}()
		}
	}()
	t.Cleanup(s.stop)
	return s
}

func (s *sink) stop() {
	s.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		c.Close()
	}
}

// has tells how many of the lines from..to are among those received.
func (s *sink) has(from, to int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.lines, "\n") + "\n"
	n := 0
	for i := from; i < to; i++ {
		if strings.Contains(all, fmt.Sprintf(": line %d\n", i)) {
			n++
		}
	}
	return n
}

func await(t *testing.T, what string, ready func() bool) {
	t.Helper()
	for range 1000 {
		if ready() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("it never happens that ", what)
}

// TestNoLineIsLost has the receiver away, the store closed, and the container removed, while lines come.
func TestNoLineIsLost(t *testing.T) {
	first := listen(t, "127.0.0.1:0")
	address := first.Addr().String()
	w := newWorld(t, logs.Syslog, map[string]string{"syslog-address": "tcp://" + address, "syslog-format": "rfc3164"})
	over := make(chan struct{})
	w.store.Follow(w.target, over)
	w.say(0, 100)
	await(t, "the first lines arrive", func() bool { return first.has(0, 100) == 100 })

	first.stop()
	w.say(100, 3000)
	second := listen(t, address)
	await(t, "lines arrive that were printed while nobody listened", func() bool { return second.has(100, 3000) == 2900 })

	second.stop()
	w.say(3000, 3100)
	w.store.Close()
	w.say(3100, 3200)
	w.open()
	w.store.Follow(w.target, over)
	w.say(3200, 3300)
	if err := w.log.Close(); err != nil {
		t.Fatal(err)
	}
	close(over)
	if err := w.store.Release(w.target.Subject.ID); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Dir(w.target.Log.Path)); err != nil {
		t.Fatal(err)
	}
	w.store.Close()
	w.open()
	third := listen(t, address)
	await(t, "lines of a removed container arrive", func() bool { return third.has(3000, 3300) == 300 })
	await(t, "nothing is kept any more", func() bool {
		left, _ := os.ReadDir(filepath.Join(w.dir, "forward"))
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(left)+len(w.store.records)+len(w.store.followers) == 0
	})
	w.store.Close()
	if n := second.has(0, 100); n > 0 {
		t.Errorf("%d lines were sent again long after they had arrived", n)
	}
}

// TestOpenLine: what a program leaves without its end is sent when it has ended.
func TestOpenLine(t *testing.T) {
	to := listen(t, "127.0.0.1:0")
	w := newWorld(t, logs.Syslog, map[string]string{"syslog-address": "tcp://" + to.Addr().String()})
	defer func() { w.store.Close() }()
	over := make(chan struct{})
	w.store.Follow(w.target, over)
	stream := w.log.Stream(logs.Stdout)
	fmt.Fprint(stream, "line 0\nline 1")
	if err := stream.Close(); err != nil {
		t.Fatal(err)
	}
	close(over)
	await(t, "both lines arrive", func() bool { return to.has(0, 2) == 2 })
	w.log.Close()
}

// TestRestart goes on with the log of a container that is started again.
func TestRestart(t *testing.T) {
	to := listen(t, "127.0.0.1:0")
	w := newWorld(t, logs.Syslog, map[string]string{"syslog-address": "tcp://" + to.Addr().String()})
	defer func() { w.store.Close() }()
	for run := range 5 {
		over := make(chan struct{})
		w.store.Follow(w.target, over)
		w.say(10*run, 10*run+10)
		close(over)
	}
	await(t, "all lines arrive", func() bool { return to.has(0, 50) == 50 })
	if len(to.lines) != 50 {
		t.Errorf("%d lines have come", len(to.lines))
	}
	w.log.Close()
}

func TestGELF(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	w := newWorld(t, logs.GELF, map[string]string{"gelf-address": "udp://" + conn.LocalAddr().String()})
	defer func() { w.store.Close() }()
	over := make(chan struct{})
	w.target.Log.Attrs = map[string]string{"tag": "t1", "color": "red"}
	w.store.Follow(w.target, over)
	// What random bytes make cannot be packed: it goes in chunks.
	long := strings.Repeat("0123456789abcdef"+time.Now().String(), 400)
	fmt.Fprintf(w.log.Stream(logs.Stderr), "short\n%s\n", long)
	w.log.Close()
	close(over)
	for _, want := range []string{"short", long} {
		var got map[string]any
		if err := json.Unmarshal(unpacked(t, conn), &got); err != nil {
			t.Fatal(err)
		}
		for name, value := range map[string]any{"version": "1.1", "short_message": want, "level": 3.0, "_tag": "t1", "_color": "red", "_container_name": "web"} {
			if got[name] != value {
				t.Errorf("%s is %v", name, got[name])
			}
		}
	}
}

// unpacked puts one message together.
func unpacked(t *testing.T, conn net.PacketConn) []byte {
	t.Helper()
	var chunks [][]byte
	for {
		buf := make([]byte, 2048)
		conn.SetReadDeadline(time.Now().Add(10 * time.Second))
		n, _, err := conn.ReadFrom(buf)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.HasPrefix(buf, []byte{0x1e, 0x0f}) {
			chunks = append(chunks, buf[:n])
			break
		}
		chunks = append(chunks, buf[12:n])
		if int(buf[11]) == len(chunks) {
			break
		}
	}
	r, err := gzip.NewReader(bytes.NewReader(bytes.Join(chunks, nil)))
	if err != nil {
		t.Fatal(err)
	}
	out, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestFluentd breaks the connection before it confirms: what was not confirmed comes again.
func TestFluentd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w := newWorld(t, logs.Fluentd, map[string]string{"fluentd-address": l.Addr().String(), "fluentd-request-ack": "true", "fluentd-sub-second-precision": "true"})
	defer func() { w.store.Close() }()
	over := make(chan struct{})
	w.store.Follow(w.target, over)
	fmt.Fprintln(w.log.Stream(logs.Stdout), "hello")
	w.log.Close()
	close(over)
	for try := range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		r := msgp.NewReader(conn)
		r.ReadArrayHeader()
		tag, _ := r.ReadString()
		n, _ := r.ReadArrayHeader()
		r.ReadArrayHeader()
		if err := r.Skip(); err != nil { // the time
			t.Fatal(err)
		}
		fields := map[string]any{}
		if err := r.ReadMapStrIntf(fields); err != nil {
			t.Fatal(err)
		}
		options := map[string]any{}
		if err := r.ReadMapStrIntf(options); err != nil {
			t.Fatal(err)
		}
		if tag != "abababababab" || n != 1 || fields["log"] != "hello" || fields["source"] != "stdout" || fields["container_name"] != "/web" {
			t.Errorf("tag %q, %d entries, %v", tag, n, fields)
		}
		if try == 1 {
			answer, _ := msgp.AppendMapStrIntf(nil, map[string]any{"ack": options["chunk"]})
			conn.Write(answer)
		}
		conn.Close()
	}
	await(t, "the line counts as sent", func() bool {
		w.store.mu.Lock()
		defer w.store.mu.Unlock()
		return len(w.store.followers) == 0
	})
}

func TestJournald(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	to, err := newJournald(logs.Target{Log: logs.Config{Attrs: map[string]string{"com.x/y": "two\nlines"}}, Subject: logs.Subject{ID: strings.Repeat("c", 64), Name: "/n"}})
	if err != nil {
		t.Fatal(err)
	}
	to.(*journald).link.address = path
	defer to.close()
	if err := to.send(t.Context(), []message{{Source: logs.Stderr, Time: time.Unix(1, 0), Data: []byte("hi")}}); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 4096)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"PRIORITY=3\n", "MESSAGE=hi\n", "CONTAINER_NAME=n\n", "COM_X_Y\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\n"} {
		if !strings.Contains(string(buf[:n]), want) {
			t.Errorf("%q lacks %q", buf[:n], want)
		}
	}
}

func TestOptionsAreChecked(t *testing.T) {
	s := &Store{}
	for _, c := range []struct{ driver, option, value, want string }{
		{logs.Syslog, "syslog-address", "tcp://h/path", "must not have a path"},
		{logs.Syslog, "syslog-address", "http://h", "must begin with udp://"},
		{logs.Syslog, "syslog-facility", "nope", "invalid syslog facility"},
		{logs.Syslog, "syslog-format", "nope", "Invalid syslog format"},
		{logs.Syslog, "syslog-facility", "local7", ""},
		{logs.GELF, "tag", "x", "gelf-address is a required parameter"},
		{logs.GELF, "gelf-address", "udp://h", "names no port"},
		{logs.Fluentd, "fluentd-buffer-limit", "much", "invalid value for fluentd-buffer-limit"},
		{logs.Fluentd, "fluentd-address", "unix:///x", ""},
	} {
		err := s.Validate(c.driver, map[string]string{c.option: c.value})
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s %s=%s: %v", c.driver, c.option, c.value, err)
		}
	}
}
