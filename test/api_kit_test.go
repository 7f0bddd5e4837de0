package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// speaker sends requests to a daemon's socket as they are written down: no client library puts anything in.
type speaker struct {
	t      testing.TB
	socket string
	web    *http.Client
}

func newSpeaker(t testing.TB, address string) *speaker {
	s := &speaker{t: t, socket: strings.TrimPrefix(address, "unix://")}
	transport := &http.Transport{DisableCompression: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", s.socket)
	}}
	s.web = &http.Client{Transport: transport, Timeout: 2 * time.Minute}
	t.Cleanup(transport.CloseIdleConnections)
	return s
}

// reply is what came back.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// message is the error text of a reply, or "".
func (r reply) message() string {
	var m struct{ Message string }
	if r.status < 400 || json.Unmarshal(r.body, &m) != nil {
		return ""
	}
	return m.Message
}

// value decodes the body; where it is no JSON there is none.
func (r reply) value() any {
	var v any
	if json.Unmarshal(r.body, &v) != nil {
		return nil
	}
	return v
}

// field reads a string out of a body that is an object.
func (r reply) field(name string) string {
	object, _ := r.value().(map[string]any)
	s, _ := object[name].(string)
	return s
}

// say sends one request; a body that is JSON gets its content type.
func (s *speaker) say(method, path, body string, headers ...string) reply {
	s.t.Helper()
	r, err := s.try(method, path, strings.NewReader(body), headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return r
}

// must is say for a request that has to succeed.
func (s *speaker) must(method, path, body string, headers ...string) reply {
	s.t.Helper()
	r := s.say(method, path, body, headers...)
	if r.status >= 300 {
		s.t.Fatalf("%s %s: %d %s", method, path, r.status, r.body)
	}
	return r
}

func (s *speaker) try(method, path string, body io.Reader, headers ...string) (reply, error) {
	request, err := http.NewRequest(method, "http://localhost"+path, body)
	if err != nil {
		return reply{}, err
	}
	if text, ok := body.(*strings.Reader); ok && text.Len() > 0 {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	answer, err := s.web.Do(request)
	if err != nil {
		return reply{}, err
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	return reply{answer.StatusCode, answer.Header, content}, err
}

// dial opens a connection of its own, for what is not one request and one answer.
func (s *speaker) dial() net.Conn {
	s.t.Helper()
	conn, err := net.Dial("unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	return conn
}

// raw writes text to a connection of its own and reads the head of the answer.
func (s *speaker) raw(text string) (net.Conn, *bufio.Reader, int) {
	s.t.Helper()
	conn := s.dial()
	if _, err := io.WriteString(conn, text); err != nil {
		s.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(time.Minute))
	reader := bufio.NewReader(conn)
	head, err := http.ReadResponse(reader, nil)
	if err != nil {
		s.t.Fatalf("%.80q: %v", text, err)
	}
	_ = conn.SetReadDeadline(time.Time{})
	return conn, reader, head.StatusCode
}

// loadImage gives a daemon a real image by its API.
func (s *speaker) loadImage(name string) {
	s.t.Helper()
	archive, err := os.Open(filepath.Join(images(s.t.(*testing.T)), name+".tar"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer archive.Close()
	r, err := s.try(http.MethodPost, "/images/load?quiet=1", archive, "Content-Type", "application/x-tar")
	if err != nil || r.status != 200 || bytes.Contains(r.body, []byte("errorDetail")) {
		s.t.Fatalf("load %s: %v %d %s", name, err, r.status, r.body)
	}
}

// container makes a container of busybox and starts it; it is removed when the test ends.
func (s *speaker) container(name, command string) string {
	s.t.Helper()
	body := fmt.Sprintf(`{"Image":"busybox","Cmd":["sh","-c",%q]}`, command)
	id := s.must("POST", "/containers/create?name="+name, body).field("Id")
	s.must("POST", "/containers/"+id+"/start", "")
	return id
}
