package listen

import (
	"bytes"
	"context"
	"errors"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 60 * time.Second

// Service is what is served.
type Service struct {
	Handler http.Handler
	// Drain ends the streams that have no end of their own; nil when there are none.
	Drain func()
	Log   *slog.Logger
	// Grace is how long work in progress may take at the end.
	Grace time.Duration
	// Idle is how long a connection on which nothing is asked stays open; 0 is for ever.
	Idle time.Duration
	// HTTP2 serves those too that begin with HTTP/2, as the clients of gRPC do.
	HTTP2 bool
}

// Serve answers requests on the listeners until ctx is done, then ends the streams without an end and lets work in
// progress finish. It closes the listeners. It fails early when a listener breaks.
func (s Service) Serve(ctx context.Context, listeners []net.Listener) error {
	work, abandon := context.WithCancel(context.Background())
	defer abandon()
	web := &http.Server{
		Handler:           s.Handler,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       s.Idle,
		BaseContext:       func(net.Listener) context.Context { return work },
		Protocols:         s.protocols(),
		ErrorLog:          log.New(complaints{s.Log}, "", 0),
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- web.Serve(l) }()
	}
	var broken error
	running := len(listeners)
	select {
	case broken = <-failed:
		running--
	case <-ctx.Done():
	}
	if s.Drain != nil {
		s.Drain()
	}
	bounded, cancel := context.WithTimeout(context.Background(), s.Grace)
	defer cancel()
	if err := web.Shutdown(bounded); err != nil {
		abandon()
		s.Log.Warn("requests were still running at the end", "grace", s.Grace)
		_ = web.Close()
	}
	for ; running > 0; running-- {
		<-failed
	}
	if errors.Is(broken, http.ErrServerClosed) {
		broken = nil
	}
	return broken
}

// complaints takes what the server says of connections. Most of it is what clients have done; that a handler panicked is ours.
type complaints struct{ log *slog.Logger }

func (c complaints) Write(p []byte) (int, error) {
	level := slog.LevelDebug
	if bytes.HasPrefix(p, []byte("http: panic serving")) || bytes.HasPrefix(p, []byte("http2: panic serving")) {
		level = slog.LevelError
	}
	c.log.Log(context.Background(), level, string(bytes.TrimSpace(p)))
	return len(p), nil
}

func (s Service) protocols() *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetHTTP2(s.HTTP2)
	p.SetUnencryptedHTTP2(s.HTTP2)
	return p
}
