// Package server is the Docker Engine HTTP API: a table of routes, one file per call or small family. A handler reads
// the request, calls the engine or the one keeper concerned, and writes the answer in the shape that the client's API
// version knows. It decides nothing else.
//
// The path of a request: version prefix off (shape), row of the table found (routes.go, route.go), version checked,
// handler called, its error turned into a status and a body (error.go).
package server

import (
	"context"
	"log/slog"
	"net/http"
	"runtime"
	"sync"

	"github.com/moby/moby/api/types/common"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/release"
	"github.com/cove-containers/cove/server/shape"
)

// Server answers Engine API requests. It is an http.Handler, safe for concurrent use.
type Server struct {
	Parts
	routes *table

	drain  sync.Once
	closed chan struct{} // closed when the daemon ends: streams without an end of their own end with it
}

// New returns a Server that answers with what the parts know.
func New(p Parts) *Server {
	if p.Log == nil {
		p.Log = slog.Default()
	}
	s := &Server{Parts: p, closed: make(chan struct{})}
	s.routes = compile(s.rows())
	return s
}

// Drain ends the streams that would go on for ever (events, followed logs, statistics, attachments, waiting), so that
// the daemon can stop. Requests that do work finish it.
func (s *Server) Drain() { s.drain.Do(func() { close(s.closed) }) }

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	header := w.Header()
	header.Set("Server", "Cove/"+release.Version+" ("+runtime.GOOS+")")
	header.Set("Api-Version", api.Version)
	s.tellExperimental(header)
	header.Set("Ostype", runtime.GOOS)

	raw, path := shape.CutVersion(r.URL.Path)
	c := &call{Request: r, w: w, server: s}
	if r.Method == http.MethodOptions {
		c.status(http.StatusOK)
		return
	}
	row, values := s.routes.find(r.Method, path)
	if row == nil {
		c.writeError(http.StatusNotFound, "page not found")
		return
	}
	v, err := shape.CheckVersion(raw)
	if err != nil {
		if v < shape.Oldest { // so old a client prints the body as it is
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		c.writeError(http.StatusBadRequest, err.Error())
		return
	}
	c.version, c.names, c.values = v, row.names, values
	if c.query, err = parseQuery(r.URL.RawQuery); err != nil {
		c.writeError(http.StatusBadRequest, err.Error())
		return
	}
	c.finish(row.Handle(c))
}

// call is one request on its way to its answer.
type call struct {
	*http.Request
	w       http.ResponseWriter
	server  *Server
	version shape.Version
	query   query
	names   []string
	values  []string
	begun   bool // the status line has left, or the connection is no longer HTTP
}

// name gives the value of {name} in the route.
func (c *call) name(name string) string {
	for i, n := range c.names {
		if n == name {
			return c.values[i]
		}
	}
	return ""
}

// finish turns what a handler returned into the answer, as far as one can still be given.
func (c *call) finish(err error) {
	switch {
	case err == nil:
		if !c.begun {
			c.status(http.StatusOK)
		}
	case c.begun:
		if !gone(c.Context(), err) {
			c.server.Log.Debug("answer broken off", "call", c.Method+" "+c.URL.Path, "error", err.Error())
		}
	default:
		status := statusOf(err)
		if status == http.StatusInternalServerError && !gone(c.Context(), err) {
			c.server.Log.Error("call failed", "call", c.Method+" "+c.URL.Path, "error", err.Error())
		}
		c.writeError(status, err.Error())
	}
}

func (c *call) writeError(status int, message string) {
	c.w.Header().Del("Content-Length")
	if status == http.StatusNotModified {
		c.status(status)
		return
	}
	_ = c.json(status, common.ErrorResponse{Message: message})
}

// status writes a header without a body.
func (c *call) status(code int) {
	c.begun = true
	c.w.WriteHeader(code)
}

// since tells whether the client speaks API 1.minor or newer.
func (c *call) since(minor int) bool { return c.version >= shape.Version(1000+minor) }

// lasting is the context of a stream without an end of its own: over when the client leaves or the daemon stops.
func (c *call) lasting() (context.Context, context.CancelFunc) { return c.untilDrained(c.Context()) }

// hijackable is the context of a call that may take its connection over. To net/http a client that has nothing more
// to send has left, to such a call it has not: the hijacker finds out who really left.
func (c *call) hijackable() (context.Context, context.CancelFunc) {
	return c.untilDrained(context.WithoutCancel(c.Context()))
}

func (c *call) untilDrained(parent context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(parent)
	go func() {
		select {
		case <-c.server.closed:
			cancel()
		case <-ctx.Done():
		}
	}()
	return ctx, cancel
}
