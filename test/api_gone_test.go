package test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// leaver is a call during which the client may go away at any moment.
type leaver struct {
	name    string
	request string // what the client would send in the end, the head first
	more    string // what it sends once it is answered, or has its head sent
}

func getting(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n" }

func posting(path, headers, body string) string {
	return fmt.Sprintf("POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s", path, headers, len(body), body)
}

const upgrade = "Connection: Upgrade\r\nUpgrade: tcp\r\n"

// chunked is the head of a request whose body has no end.
func chunked(method, path string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nTransfer-Encoding: chunked\r\n\r\n"
}

func leavers(exec string) []leaver {
	const piece = "200\r\nfull of something that is no archive, but nobody knows yet"
	json := "Content-Type: application/json\r\n"
	return []leaver{
		{"attach", posting("/containers/c/attach?stream=1&stdin=1&stdout=1&stderr=1", upgrade, ""), "input\n"},
		{"attach without input", posting("/containers/c/attach?stream=1&stdout=1&stderr=1", upgrade, ""), ""},
		{"attach without upgrade", posting("/containers/c/attach?stream=1&stdout=1&logs=1", "", ""), ""},
		{"attach by websocket", "GET /containers/c/attach/ws?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nOrigin: http://x\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", "\x81\x85"},
		{"exec", posting("/exec/"+exec+"/start", upgrade+json, `{"Detach":false}`), "input\n"},
		{"logs", getting("/containers/c/logs?stdout=1&follow=1"), ""},
		{"stats", getting("/containers/c/stats?stream=1"), ""},
		{"one sample", getting("/containers/c/stats?stream=0"), ""},
		{"events", getting("/events"), ""},
		{"wait", posting("/containers/c/wait", "", ""), ""},
		{"wait for the next exit", posting("/containers/c/wait?condition=next-exit", "", ""), ""},
		{"export", getting("/containers/c/export"), ""},
		{"copy out", getting("/containers/c/archive?path=/"), ""},
		{"copy in", chunked("PUT", "/containers/c/archive?path=/tmp"), piece},
		{"load", chunked("POST", "/images/load"), piece},
		{"import", chunked("POST", "/images/create?fromSrc=-"), piece},
		{"build", chunked("POST", "/build"), piece},
		{"save", getting("/images/busybox/get"), ""},
		{"pull", posting("/images/create?fromImage=127.0.0.1:1/x&tag=1", "", ""), ""},
		{"push", posting("/images/127.0.0.1:1/x/push?tag=1", "", ""), ""},
		{"session", posting("/session", "Connection: Upgrade\r\nUpgrade: h2c\r\nX-Docker-Expose-Session-Uuid: gone\r\nX-Docker-Expose-Session-Name: x\r\n", ""), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"grpc", posting("/grpc", "Connection: Upgrade\r\nUpgrade: h2c\r\n", ""), "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{"create", posting("/containers/create", json, `{"Image":"no-such-image"}`), ""},
		{"profile", getting("/debug/pprof/trace?seconds=1"), ""},
	}
}

// TestVanishingClients lets clients leave at every step of every long call, many times, in both ways a client leaves, and
// counts goroutines and open files before and after.
func TestVanishingClients(t *testing.T) {
	t.Parallel()
	e, s := badEngine(t)
	makeExec := func() string {
		return s.must("POST", "/containers/c/exec", `{"Cmd":["cat"],"AttachStdin":true,"AttachStdout":true}`).field("Id")
	}
	for _, l := range leavers(makeExec()) { // what a first use sets up stays
		s.leaveAt(l, 3, true)
	}
	before := e.vitals(s)
	for i, l := range leavers("") {
		for step := range 6 {
			for round := range 5 {
				if l.name == "exec" {
					l = leavers(makeExec())[i]
				}
				s.leaveAt(l, step, round%2 == 0)
			}
		}
		e.settle(s, l.name, before)
	}
	s.must("GET", "/_ping", "")
	if r := s.say("POST", "/containers/c/kill", ""); r.status != 204 {
		t.Errorf("the container: %d %s", r.status, r.body)
	}
}

// leaveAt goes so far with a call and leaves: with step 0 in the middle of the first line, 1 in the middle of the headers, 2
// when all is sent, 3 when the answer has begun, 4 when more was sent, 5 with one direction closed first.
func (s *speaker) leaveAt(l leaver, step int, abrupt bool) {
	conn := s.dial()
	defer func() {
		if half, ok := conn.(*net.UnixConn); ok && (!abrupt || step == 5) {
			_ = half.CloseWrite()
		}
		conn.Close()
	}()
	head, body, _ := strings.Cut(l.request, "\r\n\r\n")
	switch step {
	case 0:
		_, _ = io.WriteString(conn, head[:8])
		return
	case 1:
		_, _ = io.WriteString(conn, head[:len(head)-3])
		return
	}
	_, _ = io.WriteString(conn, head+"\r\n\r\n"+body)
	if step == 2 {
		return
	}
	if step >= 4 && l.more != "" {
		_, _ = io.WriteString(conn, l.more)
	}
	// A call whose body goes on is not answered yet: for that one a moment is enough.
	_ = conn.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	_, _ = bufio.NewReader(conn).ReadByte()
}

// TestIdleAttachments opens a thousand connections to one container and lets them lie. The daemon stays at hand, the container
// goes on, each connection costs little, and when they are closed nothing of them is left.
func TestIdleAttachments(t *testing.T) {
	e, s := badEngine(t)
	const many = 1000
	s.container("talker", "read x; echo said; sleep 1000")
	before, memory := e.vitals(s), e.resident()
	var conns []net.Conn
	for i := range many {
		conn, _, status := s.raw(posting("/containers/c/attach?stream=1&stdin=1&stdout=1&stderr=1", upgrade, ""))
		if status != 101 {
			t.Fatalf("connection %d: %d", i, status)
		}
		conns = append(conns, conn)
	}
	open, after := e.vitals(s), e.resident()
	t.Logf("%d connections: %d goroutines, %d open files, %d MB more", many, open.goroutines-before.goroutines, open.files-before.files, (after-memory)>>20)
	if per := (after - memory) / many; per > 200<<10 && !raced() {
		t.Errorf("%d bytes of memory for each connection", per)
	}
	if per := (open.files - before.files + many - 1) / many; per > 3 {
		t.Errorf("%d open files for each connection", per)
	}
	s.must("GET", "/containers/json", "")
	if out := e.Run("cove", "run", "--rm", "busybox", "echo", "still here"); out != "still here" {
		t.Errorf("run says %q", out)
	}
	if out := e.Run("cove", "exec", "c", "echo", "inside"); out != "inside" {
		t.Errorf("exec says %q", out)
	}
	for _, conn := range conns {
		conn.Close()
	}
	e.settle(s, "a thousand attachments", before)
	if out, _ := s.must("GET", "/containers/c/json", "").value().(map[string]any)["State"].(map[string]any); out["Running"] != true {
		t.Errorf("the container has ended: %v", out)
	}
}

// TestSlowClients: clients that send their requests, or take their answers, byte by byte keep nobody else waiting.
func TestSlowClients(t *testing.T) {
	e, s := badEngine(t)
	before := e.vitals(s)
	var conns []net.Conn
	for i := range 200 {
		conn := s.dial()
		conns = append(conns, conn)
		switch i % 4 {
		case 0: // never gets beyond its headers
			_, _ = io.WriteString(conn, "GET /_ping HTTP/1.1\r\nHost: x\r\nX-Slow: ")
		case 1: // never gets beyond its body
			_, _ = io.WriteString(conn, "POST /containers/create HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
		case 2: // never reads
			_, _ = io.WriteString(conn, getting("/events"))
		case 3:
			_, _ = io.WriteString(conn, getting("/containers/c/export"))
		}
	}
	for i := range 20 {
		id := s.container(fmt.Sprintf("n%d", i), "true")
		s.must("POST", "/containers/"+id+"/wait", "")
		s.must("DELETE", "/containers/"+id, "")
		_, _ = io.WriteString(conns[4*i], "x")
		_, _ = io.WriteString(conns[4*i+1], " ")
	}
	for _, conn := range conns {
		conn.Close()
	}
	e.settle(s, "slow clients", before)
}
