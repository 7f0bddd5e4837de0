package client

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/jsonstream"
)

// daemon serves handler on a unix socket and gives a client of it. Requests are noted as "METHOD path?query".
func daemon(t *testing.T, handler http.HandlerFunc) (*Client, func() []string) {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var seen []string
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		seen = append(seen, r.Method+" "+r.URL.RequestURI())
		mu.Unlock()
		handler(w, r)
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	c, err := New(Config{Host: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, func() []string {
		mu.Lock()
		defer mu.Unlock()
		return append([]string(nil), seen...)
	}
}

func TestNewestVersionNeedsNoQuestion(t *testing.T) {
	c, seen := daemon(t, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "[]") })
	if _, err := c.ContainerList(t.Context(), ListOptions{All: true, Limit: 3}); err != nil {
		t.Fatal(err)
	}
	if got := seen(); len(got) != 1 || got[0] != "GET /v1.56/containers/json?all=1&limit=3" {
		t.Errorf("got %q", got)
	}
}

// old is a daemon of API 1.41.
func old(w http.ResponseWriter, r *http.Request) {
	switch {
	case r.URL.Path == "/_ping":
		w.Header().Set("Api-Version", "1.41")
	case !strings.HasPrefix(r.URL.Path, "/v1.41/"):
		w.WriteHeader(400)
		io.WriteString(w, `{"message":"client version 1.56 is too new. Maximum supported API version is 1.41"}`)
	case strings.HasSuffix(r.URL.Path, "/load"):
		body, _ := io.ReadAll(r.Body)
		io.WriteString(w, `{"stream":"`+string(body)+`"}`)
	default:
		io.WriteString(w, `{"Id":"x"}`)
	}
}

func TestOlderDaemon(t *testing.T) {
	c, seen := daemon(t, old)
	for range 2 {
		if made, err := c.ContainerCreate(t.Context(), CreateOptions{Name: "n", Config: &container.Config{Image: "i"}}); err != nil || made.ID != "x" {
			t.Fatal(made, err)
		}
	}
	want := "POST /v1.56/containers/create?name=n|POST /v1.41/containers/create?name=n|POST /v1.41/containers/create?name=n"
	if got := strings.Join(seen(), "|"); got != want || c.Version() != "1.41" {
		t.Errorf("got %s, version %s", got, c.Version())
	}
}

func TestStreamToOlderDaemon(t *testing.T) {
	c, seen := daemon(t, old)
	said := ""
	err := c.ImageLoad(t.Context(), io.MultiReader(strings.NewReader("tar")), true, nil, func(m jsonstream.Message) error { said += m.Stream; return nil })
	if err != nil || said != "tar" {
		t.Errorf("said %q, %v", said, err)
	}
	if got := strings.Join(seen(), "|"); got != "GET /_ping|POST /v1.41/images/load?quiet=1" {
		t.Error(got)
	}
}

func TestErrors(t *testing.T) {
	c, _ := daemon(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1.56/containers/none/json":
			w.WriteHeader(404)
			io.WriteString(w, `{"message":"No such container: none"}`+"\n")
		case "/v1.56/containers/plain/json":
			w.WriteHeader(500)
			io.WriteString(w, "broken\n")
		case "/v1.56/containers/stopped/stop":
			w.WriteHeader(304)
		default:
			w.WriteHeader(409)
		}
	})
	_, _, err := c.ContainerInspect(t.Context(), "none", false)
	if !errdefs.IsNotFound(err) || err.Error() != "Error response from daemon: No such container: none" {
		t.Error(err)
	}
	if _, _, err = c.ContainerInspect(t.Context(), "plain", false); err == nil || err.Error() != "Error response from daemon: broken" {
		t.Error(err)
	}
	if err := c.ContainerStop(t.Context(), "stopped", StopOptions{}); err != nil {
		t.Error("nothing to do is no error:", err)
	}
	if _, _, err := c.ContainerInspect(t.Context(), "", false); !errdefs.IsInvalidArgument(err) || err.Error() != "invalid container name or ID: value is empty" {
		t.Error("no name:", err)
	}
	if err := c.ContainerStart(t.Context(), "x"); !errdefs.IsConflict(err) || !strings.Contains(err.Error(), "check if the server supports") {
		t.Error(err)
	}
}

func TestHosts(t *testing.T) {
	c, err := New(Config{Host: "unix:///nowhere/s"})
	if err != nil {
		t.Fatal(err)
	}
	_, err = c.ServerVersion(t.Context())
	if want := "Cannot connect to the Cove daemon at unix:///nowhere/s. Is the cove daemon running?"; err == nil || err.Error() != want {
		t.Error(err)
	}
	if _, err = c.ContainerAttach(t.Context(), "x", AttachOptions{}); err == nil || !strings.HasPrefix(err.Error(), "Cannot connect") {
		t.Error(err)
	}
	for host, want := range map[string]string{
		"nothing": "unable to parse docker host `nothing`", "ssh://u:p@h": "ssh host connection is not valid: invalid SSH URL: plain-text password is not supported", "foo://x": "unsupported protocol",
	} {
		if _, err := New(Config{Host: host}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v", host, err)
		}
	}
}

func TestTCP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"Version":"`+r.URL.Path+r.Header.Get("X-A")+`"}`)
	}))
	defer server.Close()
	c, err := New(Config{Host: "tcp://" + server.Listener.Addr().String() + "/below/", Version: "v1.30", Header: http.Header{"X-A": {"a"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if v, err := c.ServerVersion(t.Context()); err != nil || v.Version != "/below/v1.30/versiona" {
		t.Error(v, err)
	}
}

// takeOver answers an upgrade and hands the connection to talk.
func takeOver(w http.ResponseWriter, contentType string, talk func(net.Conn, *bufio.Reader)) {
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: "+contentType+"\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	talk(conn, rw.Reader)
}

func TestAttach(t *testing.T) {
	c, seen := daemon(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") != "tcp" {
			t.Errorf("no upgrade asked for: %v", r.Header)
		}
		takeOver(w, "application/vnd.docker.raw-stream", func(conn net.Conn, in *bufio.Reader) {
			all, _ := io.ReadAll(in) // until the client has closed its half
			conn.Write(append([]byte("got "), all...))
		})
	})
	s, err := c.ContainerAttach(t.Context(), "x", AttachOptions{Stdin: true, Stdout: true, DetachKeys: "ctrl-a"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	io.WriteString(s, "input")
	if err := s.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(s); err != nil || string(got) != "got input" || !s.Raw {
		t.Errorf("got %q, %v, raw %v", got, err, s.Raw)
	}
	if got := seen()[0]; got != "POST /v1.56/containers/x/attach?detachKeys=ctrl-a&stdin=1&stdout=1&stream=1" {
		t.Error(got)
	}
}

func TestAttachRefused(t *testing.T) {
	c, _ := daemon(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(409)
		io.WriteString(w, `{"message":"no"}`)
	})
	if _, err := c.ExecAttach(t.Context(), "x", container.ExecStartRequest{}); !errdefs.IsConflict(err) {
		t.Error(err)
	}
}

func TestAttachGivenUp(t *testing.T) {
	c, _ := daemon(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := c.ContainerAttach(ctx, "x", AttachOptions{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestWait(t *testing.T) {
	ended := make(chan struct{})
	c, seen := daemon(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(200)
		w.(http.Flusher).Flush()
		<-ended
		io.WriteString(w, `{"StatusCode":7}`)
	})
	w, err := c.ContainerWait(t.Context(), "x", container.WaitConditionNextExit) // returns while the container still runs
	if err != nil {
		t.Fatal(err)
	}
	close(ended)
	if result, err := w.Result(); err != nil || result.StatusCode != 7 {
		t.Error(result, err)
	}
	if got := seen()[0]; got != "POST /v1.56/containers/x/wait?condition=next-exit" {
		t.Error(got)
	}
}

func TestWaitCutOff(t *testing.T) {
	c, _ := daemon(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(200) })
	w, err := c.ContainerWait(t.Context(), "x", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Result(); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

func TestEventsEndWithContext(t *testing.T) {
	c, _ := daemon(t, func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, `{"Type":"container","Action":"start"}`+"\n")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	n := 0
	err := c.Events(ctx, EventsOptions{}, func(m events.Message) error {
		n++
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) || n != 1 {
		t.Error(err, n)
	}
}

func TestOldDiskUsage(t *testing.T) {
	c, _ := daemon(t, func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, `{"LayersSize":100,"Images":[{"Id":"a","Containers":1,"Size":60,"SharedSize":10},{"Id":"b","Containers":0,"Size":50,"SharedSize":10}],
			"Containers":[{"State":"running","SizeRw":5},{"State":"exited","SizeRw":7}],"Volumes":[{"UsageData":{"Size":3,"RefCount":0}}],"BuildCache":[{"Size":2,"InUse":true}]}`)
	})
	du, err := c.DiskUsage(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	if i := du.ImageUsage; i.TotalCount != 2 || i.ActiveCount != 1 || i.TotalSize != 100 || i.Reclaimable != 50 {
		t.Errorf("images %+v", i)
	}
	if x := du.ContainerUsage; x.TotalSize != 12 || x.ActiveCount != 1 || x.Reclaimable != 7 {
		t.Errorf("containers %+v", x)
	}
	if v := du.VolumeUsage; v.TotalSize != 3 || v.Reclaimable != 3 || du.BuildCacheUsage.ActiveCount != 1 {
		t.Errorf("volumes %+v", v)
	}
}

func TestOlder(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{{"1.9", "1.41", true}, {"1.41", "1.9", false}, {"1.41", "1.41", false}, {"2.0", "1.99", false}} {
		if older(c.a, c.b) != c.want {
			t.Error(c)
		}
	}
}
