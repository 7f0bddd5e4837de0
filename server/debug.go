package server

import (
	"expvar"
	"net/http/pprof"
)

// debugRows show what goes on inside the daemon: goroutines, memory, time spent, in the form the Go tools read.
func debugRows() []route {
	return []route{
		{"GET /debug/vars", Administer, func(c *call) error {
			c.begun = true
			expvar.Handler().ServeHTTP(c.w, c.Request)
			return nil
		}},
		{"GET /debug/pprof/{name}", Administer, profile},
	}
}

func profile(c *call) error {
	c.begun = true
	switch name := c.name("name"); name {
	case "":
		// The index finds out by the path what it is asked for, and knows nothing of versions.
		request := c.Clone(c.Context())
		request.URL.Path = "/debug/pprof/"
		pprof.Index(c.w, request)
	case "cmdline":
		pprof.Cmdline(c.w, c.Request)
	case "profile":
		pprof.Profile(c.w, c.Request)
	case "symbol":
		pprof.Symbol(c.w, c.Request)
	case "trace":
		pprof.Trace(c.w, c.Request)
	default:
		pprof.Handler(name).ServeHTTP(c.w, c.Request)
	}
	return nil
}
