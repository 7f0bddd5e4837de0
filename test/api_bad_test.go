package test

import (
	"bytes"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
)

// vitals are what a daemon that forgets to let go has ever more of.
type vitals struct{ goroutines, files int }

// vitals reads them off the process and its debugging endpoint.
func (e *Engine) vitals(s *speaker) vitals {
	e.t.Helper()
	info, _ := s.must("GET", "/info", "").value().(map[string]any)
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", e.daemon.Process.Pid))
	if err != nil {
		e.t.Fatal(err)
	}
	return vitals{int(info["NGoroutines"].(float64)), len(entries)}
}

// settle waits until the daemon has no more than it had before, give or take what it keeps ready, and fails the test when it
// does not get there.
func (e *Engine) settle(s *speaker, what string, before vitals) {
	e.t.Helper()
	const slack = 8 // a pool being filled, a connection that is kept alive
	var now vitals
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		now = e.vitals(s)
		if now.goroutines <= before.goroutines+slack && now.files <= before.files+slack {
			return
		}
	}
	e.t.Errorf("%s: %+v before, %+v after\n%s", what, before, now, s.say("GET", "/debug/pprof/goroutine?debug=1", "").body)
}

// resident is the daemon's memory in bytes.
func (e *Engine) resident() int64 {
	e.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", e.daemon.Process.Pid))
	if err != nil {
		e.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	n, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	return n << 10
}

// badEngine is an engine with busybox and a container called c that runs.
func badEngine(t *testing.T) (*Engine, *speaker) {
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	s := newSpeaker(t, e.Socket())
	s.loadImage("busybox")
	s.container("c", "sleep 1000")
	return e, s
}

// jsonCalls are all calls that take JSON.
var jsonCalls = []string{
	"/containers/create", "/containers/c/exec", "/exec/x/start", "/containers/c/update", "/networks/create", "/networks/bridge/connect",
	"/networks/bridge/disconnect", "/volumes/create", "/commit?container=c", "/auth", "/cove/containers/c/ports", "/cove/containers/c/clone",
	"/cove/containers/c/snapshots",
}

// TestMalformedBodies sends every call that takes JSON what is none, or none of the right kind. Each is refused with a
// status of the client's and a message, and nothing is made.
func TestMalformedBodies(t *testing.T) {
	t.Parallel()
	_, s := badEngine(t)
	deep := strings.Repeat("[", 100_000)
	for _, path := range jsonCalls {
		for name, body := range map[string]string{
			"cut off": `{"Image":"busybox"`, "a word": `nix`, "a list": `[1,2]`, "a string": `"x"`, "a number": `1e9999`, "two values": `{} {}`,
			"rubbish behind": `{}x`, "deep": deep, "deep object": strings.Repeat(`{"a":`, 100_000), "zero byte": "{\"Image\":\"busybox\"}\x00",
			"wrong kinds": `{"Image":{},"Name":[],"Container":7,"Cmd":{"a":1},"CpuShares":"x","username":[],"Detach":"x","HostPort":{},"IP":5}`,
		} {
			r := s.say("POST", path, body)
			if r.status < 400 || r.status > 499 || r.message() == "" {
				t.Errorf("%s, %s: %d %.200s", path, name, r.status, r.body)
			}
		}
		if r := s.say("POST", path, `{"a":1}`, "Content-Type", "text/plain"); path != "/auth" && r.status != 400 {
			t.Errorf("%s, another content type: %d %.200s", path, r.status, r.body)
		}
	}
	for path, field := range map[string]string{
		"/containers/create": `"Image":"busybox","HostConfig":{"FutureThing":{"a":[1]}}`, "/networks/create": `"Name":"n1"`, "/volumes/create": `"Name":"v1"`,
		"/containers/c/exec": `"Cmd":["true"]`, "/containers/c/update": `"CpuShares":100`,
	} {
		if r := s.say("POST", path, `{`+field+`,"FutureField":{"deep":[null,{"x":1}]}}`); r.status >= 300 {
			t.Errorf("%s: an unknown field: %d %s", path, r.status, r.body)
		}
	}
	if list, _ := s.must("GET", "/containers/json?all=1", "").value().([]any); len(list) != 2 {
		t.Errorf("there are %d containers", len(list))
	}
}

// zeros is a body without an end.
type zeros struct{ given int64 }

func (z *zeros) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	z.given += int64(len(p))
	return len(p), nil
}

// TestHugeRequests: what is larger than makes sense is refused before it is all there, and the daemon's memory does not show it.
func TestHugeRequests(t *testing.T) {
	e, s := badEngine(t)
	before := e.resident()
	for _, path := range jsonCalls {
		body := &zeros{}
		r, err := s.try("POST", path, body, "Content-Type", "application/json")
		if err == nil && (r.status != 400 || !strings.Contains(r.message(), "larger than")) {
			t.Errorf("%s: %d %s", path, r.status, r.body)
		}
		// A client that is answered while it sends may see the connection end first; either way it cannot send for ever.
		if body.given > 1<<30 {
			t.Errorf("%s took %d bytes", path, body.given)
		}
	}
	if after := e.resident(); after > before+200<<20 {
		t.Errorf("%d MB before, %d MB after", before>>20, after>>20)
	}
	for name, text := range map[string]string{
		"header": "GET /_ping HTTP/1.1\r\nHost: x\r\nX-Large: " + strings.Repeat("a", 2<<20) + "\r\n\r\n",
		"path":   "GET /" + strings.Repeat("a", 2<<20) + " HTTP/1.1\r\nHost: x\r\n\r\n",
	} {
		conn := s.dial()
		go io.WriteString(conn, text)
		_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
		answer, _ := io.ReadAll(conn)
		conn.Close()
		if !bytes.HasPrefix(answer, []byte("HTTP/1.1 431")) {
			t.Errorf("a large %s: %.100q", name, answer)
		}
	}
	if r := s.say("GET", "/containers/json?"+filters(`{"name":["`+strings.Repeat("(a*)*", 1000)+`"]}`), ""); r.status != 200 {
		t.Errorf("a large expression: %d %.200s", r.status, r.body)
	}
	s.must("GET", "/_ping", "")
}

// TestRubbish: bytes that are no HTTP do not end the daemon, nor leave anything behind.
func TestRubbish(t *testing.T) {
	t.Parallel()
	e, s := badEngine(t)
	before := e.vitals(s)
	for i, text := range []string{
		"", "\x00\x01\x02\x03", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
		"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + strings.Repeat("\xff", 1000), "GET /_ping HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
		"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n", "POST /containers/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n", "GET /containers/..%2f..%2fetc/json HTTP/1.1\r\nHost: x\r\n\r\n", "GET /containers/%zz/json HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /containers/%00/json HTTP/1.1\r\nHost: x\r\n\r\n", "GET http://[::1/ HTTP/1.1\r\n\r\n", "CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n", "* / * / *\r\n\r\n",
	} {
		for range 10 {
			conn := s.dial()
			_, _ = io.WriteString(conn, text)
			if i%2 == 0 {
				_ = conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
				answer, _ := io.ReadAll(conn)
				if bytes.HasPrefix(answer, []byte("HTTP/1.1 5")) {
					t.Errorf("%q: %.200s", text, answer)
				}
			}
			conn.Close()
		}
	}
	e.settle(s, "rubbish", before)
}

// TestUnknownFilters: no call that takes filters passes over one it does not know.
func TestUnknownFilters(t *testing.T) {
	_, s := badEngine(t)
	for _, call := range []string{
		"GET /containers/json", "GET /images/json", "GET /volumes", "GET /networks", "GET /images/search?term=x", "GET /plugins", "GET /events?since=1&until=2",
		"POST /containers/prune", "POST /images/prune", "POST /volumes/prune", "POST /networks/prune", "POST /build/prune",
	} {
		method, path, _ := strings.Cut(call, " ")
		glue := "?"
		if strings.Contains(path, "?") {
			glue = "&"
		}
		for _, text := range []string{`{"no-such-filter":["x"]}`, `{"no-such-filter":{"x":true}}`} {
			if r := s.say(method, path+glue+filters(text), ""); r.status != 400 || r.message() != "invalid filter 'no-such-filter'" {
				t.Errorf("%s %s: %d %s", call, text, r.status, r.body)
			}
		}
		for _, text := range []string{`nix`, `[]`, `{"label":7}`, `{"label":{"a":"b"}}`, `{"label"`} {
			if r := s.say(method, path+glue+"filters="+url.QueryEscape(text), ""); r.status != 400 || r.message() == "" {
				t.Errorf("%s %s: %d %s", call, text, r.status, r.body)
			}
		}
		// Both ways to write the same, and names with nothing wanted.
		for _, text := range []string{`{"label":["nobody=has"]}`, `{"label":{"nobody=has":true}}`, `{"label":{}}`, `{"label":null}`, `null`, `{}`} {
			if strings.Contains(path, "search") || strings.Contains(path, "plugins") || method == "POST" && !strings.Contains(text, "nobody") {
				continue
			}
			if r := s.say(method, path+glue+"filters="+url.QueryEscape(text), ""); r.status != 200 {
				t.Errorf("%s %s: %d %s", call, text, r.status, r.body)
			}
		}
	}
}

// TestNowhere: a client whose engine cannot be reached says so and ends, whatever the way it was to go, and a broken
// configuration is named.
func TestNowhere(t *testing.T) {
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	e := &Engine{t: t, Bin: bin, Dir: home}
	run := func(env []string, args ...string) (string, int) {
		cmd := e.Command(append([]string{"cove"}, args...)...)
		cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "DOCKER_CONFIG=" + filepath.Join(home, "cfg")}, env...)
		out, _ := cmd.CombinedOutput()
		return string(out), cmd.ProcessState.ExitCode()
	}
	for _, host := range []string{"unix:///no/such/socket", "tcp://127.0.0.1:1", "unix://" + home, "ssh://nobody@127.0.0.1:1"} {
		out, code := run([]string{"DOCKER_HOST=" + host}, "ps")
		if code != 1 || !strings.Contains(out, host) && !strings.Contains(out, "ssh") {
			t.Errorf("%s: status %d: %s", host, code, out)
		}
	}
	for _, host := range []string{"nix://x", "tcp://", "tcp://a:b:c", "unix"} {
		if out, code := run([]string{"DOCKER_HOST=" + host}, "ps"); code != 1 || !strings.Contains(out, host) {
			t.Errorf("%s: status %d: %s", host, code, out)
		}
	}
	if out, code := run([]string{"DOCKER_CONTEXT=no-such"}, "ps"); code != 1 || !strings.Contains(out, `no-such`) {
		t.Errorf("a context that is not there: status %d: %s", code, out)
	}
	// As docker writes it: a folder called by the hash of the name.
	meta := filepath.Join(home, "cfg", "contexts", "meta", digest.FromString("lost").Encoded())
	if err := os.MkdirAll(meta, 0o700); err != nil {
		t.Fatal(err)
	}
	context := `{"Name":"lost","Metadata":{},"Endpoints":{"docker":{"Host":"unix:///no/such/socket"}}}`
	if err := os.WriteFile(filepath.Join(meta, "meta.json"), []byte(context), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := run(nil, "--context", "lost", "ps"); code != 1 || !strings.Contains(out, "/no/such/socket") {
		t.Errorf("a context that leads nowhere: status %d: %s", code, out)
	}
	config := filepath.Join(home, "cfg", "config.json")
	for _, text := range []string{`{`, `[]`, `{"auths":7}`, "\x00\x01", `{"currentContext":{}}`} {
		if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, code := run([]string{"DOCKER_HOST=unix:///no/such/socket"}, "ps")
		if code == 0 || !strings.Contains(out, config) {
			t.Errorf("config.json %q: status %d: %s", text, code, out)
		}
	}
	if err := os.WriteFile(config, []byte(`{"currentContext":"gone","futureField":{"a":1}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, code := run(nil, "ps"); code != 1 || !strings.Contains(out, "gone") {
		t.Errorf("a chosen context that is not there: status %d: %s", code, out)
	}
}
