package server

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/pkg/stdcopy"
	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"
	"golang.org/x/net/websocket"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/logs"
)

// hijack sends a request line with headers over a connection of its own and reads the answer's head.
func hijack(t *testing.T, path, request string) (net.Conn, *bufio.Reader, *http.Response) {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	res, err := http.ReadResponse(reader, &http.Request{Method: "POST"})
	if err != nil {
		t.Fatal(err)
	}
	return conn, reader, res
}

// echo answers, after all input has come, with what it got.
func echo(ctx context.Context, o engine.AttachOptions) error {
	conn, err := o.Open(true)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(conn)
	if err != nil {
		return err
	}
	time.Sleep(10 * time.Millisecond)
	if ctx.Err() != nil {
		return ctx.Err() // the end of input is not the end of the call
	}
	if _, err := fmt.Fprintf(conn, "got %s", got); err != nil {
		return err
	}
	return conn.CloseWrite()
}

func TestAttach(t *testing.T) {
	_, path := serve(t, Parts{Streams: fakeStreams{attach: echo}})
	upgrade := "Upgrade: tcp\r\nConnection: Upgrade\r\n"
	for _, test := range []struct{ headers, body, status string }{
		{upgrade, "", "101 UPGRADED"},
		{"", "", "200 OK"},
		{upgrade + "Content-Type: application/json\r\nContent-Length: 14\r\n", `{"stdin":true}`, "101 UPGRADED"}, // is no input
	} {
		// The input comes together with the request: what is read too early must not be lost.
		conn, reader, res := hijack(t, path, "POST /v1.40/containers/x/attach?stdin=1&stream=1 HTTP/1.1\r\nHost: x\r\n"+test.headers+"\r\n"+test.body+"early ")
		if res.Status != test.status || res.Header.Get("Content-Type") != "application/vnd.docker.raw-stream" {
			t.Errorf("%s: %s %v", test.status, res.Status, res.Header)
		}
		_, _ = io.WriteString(conn, "late")
		if err := conn.(*net.UnixConn).CloseWrite(); err != nil {
			t.Fatal(err)
		}
		out, err := io.ReadAll(reader)
		if err != nil || string(out) != "got early late" {
			t.Errorf("%s: %q %v", test.status, out, err)
		}
	}
}

func TestAttachContentTypes(t *testing.T) {
	var tty bool
	_, path := serve(t, Parts{Streams: fakeStreams{attach: func(_ context.Context, o engine.AttachOptions) error {
		_, err := o.Open(tty)
		return err
	}}})
	for _, test := range []struct {
		version string
		tty     bool
		want    string
	}{
		{"1.41", false, "application/vnd.docker.raw-stream"},
		{"1.42", false, "application/vnd.docker.multiplexed-stream"},
		{"1.42", true, "application/vnd.docker.raw-stream"},
	} {
		tty = test.tty
		_, _, res := hijack(t, path, "POST /v"+test.version+"/containers/x/attach HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
		if got := res.Header.Get("Content-Type"); got != test.want {
			t.Errorf("%+v: %s", test, got)
		}
	}
}

func TestAttachRefused(t *testing.T) {
	_, path := serve(t, Parts{Streams: fakeStreams{attach: func(context.Context, engine.AttachOptions) error { return notFound("x") }}})
	_, _, res := hijack(t, path, "POST /containers/x/attach HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
	body, _ := io.ReadAll(res.Body)
	if res.StatusCode != 404 || string(body) != `{"message":"No such container: x"}`+"\n" {
		t.Errorf("%s %s", res.Status, body)
	}
}

// TestSilentClientLeaves: nobody reads from a client without standard input, and still it is noticed that it left.
func TestSilentClientLeaves(t *testing.T) {
	left := make(chan error, 1)
	_, path := serve(t, Parts{Streams: fakeStreams{attach: func(ctx context.Context, o engine.AttachOptions) error {
		if _, err := o.Open(true); err != nil {
			return err
		}
		<-ctx.Done()
		left <- ctx.Err()
		return nil
	}}})
	conn, _, _ := hijack(t, path, "POST /containers/x/attach?stdout=1 HTTP/1.1\r\nHost: x\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n")
	_ = conn.(*net.UnixConn).CloseWrite()
	select {
	case <-left:
		t.Fatal("a client that only has nothing more to say has not left")
	case <-time.After(hangUpInterval + hangUpInterval/2):
	}
	conn.Close()
	select {
	case <-left:
	case <-time.After(2*hangUpInterval + 20*time.Second):
		t.Fatal("not noticed")
	}
}

func TestAttachWebsocket(t *testing.T) {
	for _, tty := range []bool{true, false} {
		_, path := serve(t, Parts{Streams: fakeStreams{attach: func(_ context.Context, o engine.AttachOptions) error {
			conn, err := o.Open(tty)
			if err != nil {
				return err
			}
			var word [5]byte
			if _, err := io.ReadFull(conn, word[:]); err != nil {
				return err
			}
			if tty {
				_, err = conn.Write(word[:])
			} else {
				_, err = stdcopyWrite(conn, stdcopy.Stdout, word[:])
			}
			if err != nil {
				return err
			}
			return conn.CloseWrite()
		}}})
		raw, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_ = raw.SetDeadline(time.Now().Add(10 * time.Second))
		config, _ := websocket.NewConfig("ws://x/v1.40/containers/x/attach/ws?stream=1", "http://x")
		conn, err := websocket.NewClient(config, raw)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, "hello")
		out, err := io.ReadAll(conn)
		if err != nil || string(out) != "hello" {
			t.Errorf("tty %v: %q %v", tty, out, err)
		}
		conn.Close()
	}
	w := ask(t, Parts{Streams: fakeStreams{attach: func(context.Context, engine.AttachOptions) error { return notFound("x") }}}, "GET", "/containers/x/attach/ws", "")
	if w.Code != 404 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// stdcopyWrite sends a frame in the smallest pieces there are.
func stdcopyWrite(w io.Writer, source stdcopy.StdType, content []byte) (int, error) {
	head := frameHeader(byte(source), len(content))
	for _, b := range append(head[:], content...) {
		if _, err := w.Write([]byte{b}); err != nil {
			return 0, err
		}
	}
	return len(content), nil
}

func TestExecStart(t *testing.T) {
	var failure error
	_, path := serve(t, Parts{Execs: fakeExecs{start: func(_ context.Context, o engine.ExecStartOptions) error { return failure }}})
	for _, test := range []struct {
		err    error
		body   string
		status int
		out    string
	}{
		{errdefs.ErrInvalidArgument.WithMessage(`exec: "no": executable file not found in $PATH`), `{}`, 101, "\x01\x00\x00\x00\x00\x00\x00\x30exec: \"no\": executable file not found in $PATH\r\n"},
		{errdefs.ErrInvalidArgument.WithMessage("no"), `{"Tty":true}`, 101, "no\r\n"},
		{errdefs.ErrInvalidArgument.WithMessage("no"), `{"Detach":true}`, 400, `{"message":"no"}` + "\n"},
		{errdefs.ErrNotFound.WithMessage("No such exec instance: x"), `{}`, 404, `{"message":"No such exec instance: x"}` + "\n"},
		{errdefs.ErrConflict.WithMessage("container x is not running"), `{}`, 409, `{"message":"container x is not running"}` + "\n"},
		{nil, `{"Detach":true}`, 200, ""},
	} {
		failure = test.err
		_, reader, res := hijack(t, path, fmt.Sprintf("POST /v1.45/exec/x/start HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: %d\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n%s", len(test.body), test.body))
		source := io.Reader(reader)
		if test.status != 101 {
			source = res.Body
		}
		out, err := io.ReadAll(source)
		if res.StatusCode != test.status || string(out) != test.out || err != nil {
			t.Errorf("%+v: %s %q %v", test, res.Status, out, err)
		}
		if res.Header.Get("Api-Version") == "" {
			t.Errorf("%+v: the usual headers are missing", test)
		}
	}
}

func TestExecCreate(t *testing.T) {
	var got ct.ExecCreateRequest
	p := Parts{Execs: fakeExecs{create: func(r ct.ExecCreateRequest) (string, error) { got = r; return "e", nil }}}
	if w := ask(t, p, "POST", "/v1.41/containers/x/exec", `{"Cmd":["a"],"ConsoleSize":[1,2]}`); w.Code != 201 || w.Body.String() != `{"Id":"e"}`+"\n" || got.ConsoleSize != nil {
		t.Errorf("%d %s %v", w.Code, w.Body, got)
	}
	if w := ask(t, p, "POST", "/v1.42/containers/x/exec", `{"Cmd":["a"],"ConsoleSize":[1,2]}`); w.Code != 201 || *got.ConsoleSize != [2]uint{1, 2} {
		t.Errorf("%d %v", w.Code, got)
	}
	if w := ask(t, p, "POST", "/containers/x/exec", `{}`); w.Code != 400 || w.Body.String() != `{"message":"No exec command specified"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWaitRegistersFirst(t *testing.T) {
	exit := make(chan ct.WaitResponse)
	_, path := serve(t, Parts{Streams: fakeStreams{wait: func(context.Context, ct.WaitCondition) (<-chan ct.WaitResponse, error) { return exit, nil }}})
	res, err := dialer(path).Post("http://cove/v1.45/containers/x/wait?condition=next-exit", "", nil)
	if err != nil {
		t.Fatal(err) // the header came, though there is no exit yet
	}
	exit <- ct.WaitResponse{StatusCode: 3}
	body, _ := io.ReadAll(res.Body)
	res.Body.Close()
	if string(body) != `{"StatusCode":3}`+"\n" || res.Header.Get("Content-Type") != "application/json" {
		t.Errorf("%s", body)
	}
	if w := ask(t, Parts{}, "POST", "/containers/x/wait?condition=never", ""); w.Code != 400 || w.Body.String() != `{"message":"invalid condition: \"never\""}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWaitOfOldVersions(t *testing.T) {
	var condition ct.WaitCondition
	p := Parts{Streams: fakeStreams{wait: func(_ context.Context, c ct.WaitCondition) (<-chan ct.WaitResponse, error) {
		condition = c
		exit := make(chan ct.WaitResponse, 1)
		exit <- ct.WaitResponse{StatusCode: 1, Error: &ct.WaitExitError{Message: "m"}}
		return exit, nil
	}}}
	if w := ask(t, p, "POST", "/v1.29/containers/x/wait?condition=removed", ""); condition != ct.WaitConditionNotRunning || w.Body.Len() == 0 {
		t.Errorf("%s %s", condition, w.Body)
	}
	if w := ask(t, p, "POST", "/v1.33/containers/x/wait?condition=removed", ""); condition != ct.WaitConditionRemoved || w.Body.Len() != 0 {
		t.Errorf("%s %s", condition, w.Body)
	}
	if w := ask(t, p, "POST", "/v1.34/containers/x/wait?condition=removed", ""); w.Body.String() != `{"Error":{"Message":"m"},"StatusCode":1}`+"\n" {
		t.Errorf("%s", w.Body)
	}
}

func TestLogs(t *testing.T) {
	var tty bool
	var options engine.LogsOptions
	lines := func(_ context.Context, o engine.LogsOptions, open func(bool) error, emit func(logs.Line, string) error) error {
		options = o
		if err := open(tty); err != nil {
			return err
		}
		_ = emit(logs.Line{Source: logs.Stdout, Data: []byte("out\n")}, "now ")
		_ = emit(logs.Line{Source: logs.Stderr, Data: []byte("err\n")}, "")
		return errors.New("the disk burns")
	}
	p := Parts{Streams: fakeStreams{logs: lines}}
	w := ask(t, p, "GET", "/v1.42/containers/x/logs?stdout=1&stderr=1&follow=1&tail=5&since=7.5&timestamps=1&details=1", "")
	var out, errs bytes.Buffer
	_, err := stdcopy.StdCopy(&out, &errs, w.Body)
	if out.String() != "now out\n" || errs.String() != "err\n" || err == nil || !strings.Contains(err.Error(), "Error grabbing logs: the disk burns") {
		t.Errorf("%q %q %v", out.String(), errs.String(), err)
	}
	if w.Header().Get("Content-Type") != "application/vnd.docker.multiplexed-stream" {
		t.Errorf("%v", w.Header())
	}
	if o := options; !o.Follow || !o.Timestamps || !o.Details || o.Tail != 5 || !o.Since.Equal(time.Unix(7, 5e8)) || !o.Until.IsZero() {
		t.Errorf("%+v", o)
	}
	tty = true
	w = ask(t, p, "GET", "/containers/x/logs?stdout=1&tail=all", "")
	if w.Body.String() != "now out\nerr\n" || w.Header().Get("Content-Type") != "application/vnd.docker.raw-stream" || options.Tail != -1 {
		t.Errorf("%q %v %+v", w.Body, w.Header(), options)
	}
	if w := ask(t, p, "GET", "/containers/x/logs", ""); w.Code != 400 || w.Body.String() != `{"message":"Bad parameters: you must choose at least one stream"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := ask(t, p, "GET", "/containers/x/logs?stdout=1&since=x", ""); w.Code != 400 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// TestLogsComeAtOnce: a line is sent shortly after it was printed, not when the buffer is full.
func TestLogsComeAtOnce(t *testing.T) {
	next := make(chan string)
	_, path := serve(t, Parts{Streams: fakeStreams{logs: func(ctx context.Context, _ engine.LogsOptions, open func(bool) error, emit func(logs.Line, string) error) error {
		if err := open(true); err != nil {
			return err
		}
		for {
			select {
			case line := <-next:
				_ = emit(logs.Line{Data: []byte(line)}, "")
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	}}})
	res, err := dialer(path).Get("http://cove/containers/x/logs?stdout=1&follow=1")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	reader := bufio.NewReader(res.Body)
	for _, line := range []string{"a\n", "b\n"} {
		next <- line
		if got, err := reader.ReadString('\n'); got != line {
			t.Errorf("%q %v", got, err)
		}
	}
} // the server stops here, although the stream never ends

func TestEvents(t *testing.T) {
	message := et.Message{Type: "container", Action: "start", Actor: et.Actor{ID: "c", Attributes: map[string]string{"image": "i"}}, Scope: "local", Time: 1, TimeNano: 2}
	p := Parts{System: fakeSystem{events: func(_ context.Context, o engine.EventsOptions, emit func(et.Message) error) error {
		if err := o.Open(); err != nil {
			return err
		}
		_ = emit(et.Message{Type: "image", Action: "create"})
		return emit(message)
	}}}
	w := ask(t, p, "GET", "/v1.45/events?until=5", "")
	if want := `{"status":"start","id":"c","from":"i","Type":"container","Action":"start","Actor":{"ID":"c","Attributes":{"image":"i"}},"scope":"local","time":1,"timeNano":2}` + "\n"; w.Body.String() != want {
		t.Errorf("%s", w.Body)
	}
	w = ask(t, p, "GET", "/v1.52/events", "")
	if want := `{"Type":"image","Action":"create","Actor":{"ID":"","Attributes":null}}` + "\n" + `{"Type":"container","Action":"start","Actor":{"ID":"c","Attributes":{"image":"i"}},"scope":"local","time":1,"timeNano":2}` + "\n"; w.Body.String() != want {
		t.Errorf("%s", w.Body)
	}
	for accept, kind := range map[string]string{"": "application/json", "text/html, application/json-seq;q=0.5": "application/json-seq", "application/x-ndjson": "application/x-ndjson", "application/jsonl": "application/jsonl"} {
		if got := eventsType([]string{accept}); got != kind {
			t.Errorf("%q: %s", accept, got)
		}
	}
	if w := ask(t, p, "GET", "/events?since=10&until=5", ""); w.Code != 400 || w.Body.String() != `{"message":"`+"`since` time (10) cannot be after `until` time (5)"+`"}`+"\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestStats(t *testing.T) {
	var stream, oneShot bool
	var failure error
	p := Parts{Streams: fakeStreams{stats: func(_ context.Context, s, o bool, emit func(ct.StatsResponse) error) error {
		stream, oneShot = s, o
		if failure != nil {
			return failure
		}
		return emit(ct.StatsResponse{Name: "/x"})
	}}}
	if w := ask(t, p, "GET", "/v1.40/containers/x/stats?one-shot=1", ""); w.Code != 200 || !stream || oneShot || !strings.Contains(w.Body.String(), `"name":"/x"`) {
		t.Errorf("%d %s %v %v", w.Code, w.Body, stream, oneShot)
	}
	if ask(t, p, "GET", "/v1.41/containers/x/stats?one-shot=1&stream=0", ""); stream || !oneShot {
		t.Errorf("%v %v", stream, oneShot)
	}
	failure = notFound("x")
	if w := ask(t, p, "GET", "/containers/x/stats", ""); w.Code != 404 {
		t.Errorf("%d", w.Code)
	}
}

func TestResize(t *testing.T) {
	var h, w uint
	p := Parts{Streams: fakeStreams{resize: func(height, width uint) error { h, w = height, width; return nil }}}
	if answer := ask(t, p, "POST", "/containers/x/resize?h=24&w=80", ""); answer.Code != 200 || h != 24 || w != 80 {
		t.Errorf("%d %d %d", answer.Code, h, w)
	}
}
