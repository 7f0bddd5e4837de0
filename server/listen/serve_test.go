package listen

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestPanicsAreTold: what clients do to their connections is for who looks for it, a handler that panics is for everyone.
func TestPanicsAreTold(t *testing.T) {
	listeners, err := Open(Config{Hosts: []string{"tcp://127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	var said words
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- Service{
			Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { panic("in a handler") }),
			Log:     slog.New(slog.NewTextHandler(&said, nil)), Grace: time.Second, HTTP2: true,
		}.Serve(ctx, listeners)
	}()
	for _, version := range []func(*http.Protocols, bool){(*http.Protocols).SetHTTP1, (*http.Protocols).SetUnencryptedHTTP2} {
		protocols := &http.Protocols{}
		version(protocols, true)
		transport := &http.Transport{Protocols: protocols}
		if answer, err := (&http.Client{Transport: transport}).Get("http://" + listeners[0].Addr().String()); err == nil {
			answer.Body.Close()
			t.Errorf("answered %s", answer.Status)
		}
		transport.CloseIdleConnections()
	}
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	_, _ = complaints{slog.New(slog.NewTextHandler(&said, nil))}.Write([]byte("http: TLS handshake error from 192.0.2.1:4: EOF\n"))
	if got := said.String(); strings.Count(got, "level=ERROR") != 2 || strings.Count(got, "in a handler") < 2 || strings.Contains(got, "handshake") {
		t.Errorf("said:\n%s", got)
	}
}

// words is what several connections say.
type words struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (w *words) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func (w *words) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}
