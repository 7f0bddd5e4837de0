package stats

import (
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/client"
)

// daemon knows containers a and b, and tells that b ends and c starts.
func daemon(t *testing.T) *client.Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	collected := make(chan struct{}, 100)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch path := strings.TrimPrefix(r.URL.Path, "/v1.56"); path {
		case "/containers/json":
			io.WriteString(w, `[{"Id":"a"},{"Id":"b"}]`)
		case "/events":
			<-collected // of a or b: the list has been read by then
			<-collected
			io.WriteString(w, `{"Action":"die","Actor":{"ID":"b"}}{"Action":"start","Actor":{"ID":"c"}}`)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		case "/containers/gone/stats":
			w.WriteHeader(404)
			io.WriteString(w, `{"message":"No such container: gone"}`)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"id": strings.Split(path, "/")[2], "name": "/n"})
			w.(http.Flusher).Flush()
			collected <- struct{}{}
			if r.URL.Query().Get("stream") == "1" {
				<-r.Context().Done()
			}
		}
	}))
	server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
	c, err := client.New(client.Config{Host: "unix://" + socket})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func ids(b *Board) string {
	var out []string
	for _, row := range b.Rows() {
		out = append(out, row.ID+row.Name)
	}
	return strings.Join(out, " ")
}

func TestOnce(t *testing.T) {
	b := &Board{Daemon: daemon(t)}
	if err := b.Watch(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.Wait()
	if got := ids(b); got != "an bn" || b.Err() != nil {
		t.Errorf("%s, %v", got, b.Err())
	}
}

func TestFollow(t *testing.T) {
	b := &Board{Daemon: daemon(t), Follow: true}
	if err := b.Watch(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	b.Wait()
	for deadline := time.Now().Add(30 * time.Second); ids(b) != "an cn"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal(ids(b))
		}
	}
}

func TestUnknown(t *testing.T) {
	b := &Board{Daemon: daemon(t)}
	b.Add(t.Context(), "gone")
	b.Wait()
	if b.Err() == nil || len(b.Rows()) != 0 {
		t.Error(b.Err(), b.Rows())
	}
}
