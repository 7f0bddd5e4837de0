package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cove-containers/cove/cli/build"
	"github.com/cove-containers/cove/cli/command"
	"github.com/moby/moby/api/types/container"
)

// fake is a daemon that knows one image and runs containers that answer with what script says.
type fake struct {
	t      *testing.T
	host   string
	mu     sync.Mutex
	calls  []string
	images map[string]bool
	made   container.CreateRequest
	exec   container.ExecCreateRequest
	script script
	// registered is closed when attach and wait have both been noted, started when start has been asked for.
	attached, waiting, started chan struct{}
	over                       chan struct{} // the test has ended
	killed                     chan string
	refuse                     map[string]string // "METHOD /path" to message; 404 for those that begin with "No such", else 400
	answers                    map[string]string // "METHOD /path" to the text of the answer
	asked                      map[string]string // "METHOD /path?query" to the text of the request, of calls in answers
	experimental               bool
}

// script is what a container does: it prints, echoes its input when echo is set, and ends with code, with hold only after
// a signal.
type script struct {
	stdout, stderr string
	echo, hold     bool
	code           int
}

func newFake(t *testing.T) *fake {
	t.Helper()
	f := &fake{
		t: t, images: map[string]bool{"busybox": true}, refuse: map[string]string{},
		answers: map[string]string{}, asked: map[string]string{}, over: make(chan struct{}), attached: make(chan struct{}), waiting: make(chan struct{}), started: make(chan struct{}), killed: make(chan string, 10),
	}
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(f.serve))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(func() { close(f.over) })
	f.host = "unix://" + socket
	for _, name := range []string{"COVE_HOST", "DOCKER_HOST", "COVE_CONTEXT", "DOCKER_CONTEXT", "DOCKER_API_VERSION", "COVE_API_VERSION", "DOCKER_DEFAULT_PLATFORM", "DOCKER_TLS_VERIFY", "DOCKER_TLS"} {
		t.Setenv(name, "")
	}
	t.Setenv("COVE_CONFIG", t.TempDir())
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	call := r.Method + " " + strings.TrimPrefix(r.URL.Path, "/v1.56")
	f.mu.Lock()
	f.calls = append(f.calls, call)
	message := f.refuse[call]
	answer, known := f.answers[call]
	f.mu.Unlock()
	if known {
		f.note(r, call)
		io.WriteString(w, answer)
		return
	}
	if message != "" {
		code := 400
		if strings.HasPrefix(message, "No such") {
			code = 404
		}
		f.say(w, code, map[string]string{"message": message})
		return
	}
	switch call {
	case "GET /_ping":
		w.Header().Set("Api-Version", "1.56")
		w.Header().Set("Docker-Experimental", strconv.FormatBool(f.experimental))
	case "GET /containers/json":
		list := []map[string]any{{"Names": []string{"/web"}}, {"Names": []string{"/db"}}}
		if filters := r.URL.Query().Get("filters"); strings.Contains(filters, "running") {
			list = list[:1]
		}
		f.say(w, 200, list)
	case "GET /images/json":
		f.say(w, 200, []map[string]any{{"RepoTags": []string{"app:1", "app:2"}}})
	case "GET /networks":
		f.say(w, 200, []map[string]any{{"Name": "bridge"}, {"Name": "net"}})
	case "GET /volumes":
		f.say(w, 200, map[string]any{"Volumes": []map[string]any{{"Name": "data"}}})
	case "GET /info":
		f.say(w, 200, map[string]any{"Runtimes": map[string]any{"cove": map[string]any{}, "runc": map[string]any{}}, "Plugins": map[string]any{"Log": []string{"json-file", "local"}}})
	case "POST /containers/create":
		f.create(w, r)
	case "POST /images/create":
		f.pull(w, r)
	case "POST /containers/id/attach":
		f.attach(w, f.attached)
	case "POST /containers/id/wait":
		f.wait(w)
	case "POST /containers/id/start":
		f.start(w)
	case "POST /containers/id/kill":
		f.killed <- r.URL.Query().Get("signal")
		w.WriteHeader(204)
	case "POST /containers/id/exec":
		_ = json.NewDecoder(r.Body).Decode(&f.exec)
		f.say(w, 201, map[string]string{"Id": "e"})
	case "POST /exec/e/start":
		close(f.started)
		f.attach(w, make(chan struct{}))
	case "GET /exec/e/json":
		f.say(w, 200, map[string]int{"ExitCode": f.script.code})
	case "POST /exec/e/resize", "POST /containers/id/resize", "DELETE /containers/id":
		w.WriteHeader(204)
	default:
		f.say(w, 404, map[string]string{"message": "No such thing: " + call})
	}
}

// note keeps what was asked.
func (f *fake) note(r *http.Request, call string) {
	text, _ := io.ReadAll(r.Body)
	if r.URL.RawQuery != "" {
		call += "?" + r.URL.RawQuery
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.asked[call] = strings.TrimSpace(string(text))
}

func (f *fake) say(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(v)
}

func (f *fake) create(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := json.NewDecoder(r.Body).Decode(&f.made); err != nil {
		f.t.Error(err)
	}
	if !f.images[f.made.Image] {
		f.say(w, 404, map[string]string{"message": "No such image: " + f.made.Image})
		return
	}
	f.say(w, 201, container.CreateResponse{ID: "id", Warnings: []string{"careful"}})
}

func (f *fake) pull(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.images[r.URL.Query().Get("fromImage")] = true
	f.mu.Unlock()
	io.WriteString(w, `{"status":"Pulling from x","id":"latest"}`+"\n"+`{"status":"Downloading","progressDetail":{"current":1,"total":2},"id":"l"}`+"\n"+
		`{"status":"Status: Downloaded"}`+"\n")
}

func (f *fake) wait(w http.ResponseWriter) {
	close(f.waiting)
	w.WriteHeader(200)
	w.(http.Flusher).Flush()
	if !f.until(f.started) {
		return
	}
	if f.script.hold {
		select {
		case <-f.killed:
		case <-f.over:
			return
		}
	}
	fmt.Fprintf(w, `{"StatusCode":%d}`, f.script.code)
}

// until waits for c, and tells whether it came before the end of the test.
func (f *fake) until(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-f.over:
		return false
	}
}

// start insists on attach and wait having been registered, when there are to be any.
func (f *fake) start(w http.ResponseWriter) {
	f.mu.Lock()
	attached := f.made.Config != nil && f.made.AttachStdout
	f.mu.Unlock()
	for name, c := range map[string]chan struct{}{"attach": f.attached, "wait": f.waiting} {
		select {
		case <-c:
		default:
			if attached {
				f.t.Errorf("start came before %s", name)
			}
		}
	}
	close(f.started)
	w.WriteHeader(204)
}

func (f *fake) attach(w http.ResponseWriter, registered chan struct{}) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		f.t.Error(err)
		return
	}
	defer conn.Close()
	close(registered)
	io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	if !f.until(f.started) {
		return
	}
	frame := func(stream byte, text string) {
		header := make([]byte, 8)
		header[0] = stream
		binary.BigEndian.PutUint32(header[4:], uint32(len(text)))
		conn.Write(append(header, text...))
	}
	if f.script.echo {
		all, _ := io.ReadAll(bufio.NewReader(rw.Reader))
		frame(1, string(all))
	}
	frame(1, f.script.stdout)
	frame(2, f.script.stderr)
	for f.script.hold && !strings.Contains(f.seen(), "/kill") {
		select {
		case <-f.over:
			return
		case <-time.After(time.Millisecond):
		}
	}
}

func (f *fake) seen() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return strings.Join(f.calls, "|")
}

// cove runs the command line against the fake; input is standard input, empty is no input at all.
func (f *fake) cove(ctx context.Context, input string, args ...string) (stdout, stderr string, code int) {
	f.t.Helper()
	in := filepath.Join(f.t.TempDir(), "in")
	if err := os.WriteFile(in, []byte(input), 0o600); err != nil {
		f.t.Fatal(err)
	}
	file, err := os.Open(in)
	if err != nil {
		f.t.Fatal(err)
	}
	defer file.Close()
	var out, errs bytes.Buffer
	a := &command.App{In: file, Out: &out, Err: &errs, Build: build.Command}
	code = main(ctx, a, append([]string{"-H", f.host}, args...))
	return out.String(), errs.String(), code
}
