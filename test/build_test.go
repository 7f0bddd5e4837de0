package test

import (
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/rogpeppe/go-internal/testscript"
)

// buildScript builds and writes all that is printed to the file log in the script's folder: build -t x . ; with a ! the build has
// to fail with status 1, or with that of its RUN where docker's older API is used.
func buildScript(ts *testscript.TestScript, neg bool, args []string) {
	line := []string{"build"}
	if ts.Getenv("DOCKER_BUILDKIT") != "0" {
		line = append(line, "--progress=plain")
	}
	err := ts.Exec(ts.Getenv("E"), append(line, args...)...)
	log := ts.ReadFile("stdout") + ts.ReadFile("stderr")
	ts.Check(os.WriteFile(filepath.Join(ts.Getenv("WORK"), "log"), []byte(log), 0o644))
	var exit *exec.ExitError
	switch {
	case !neg:
		ts.Check(err)
	case !errors.As(err, &exit) || exit.ExitCode() != 1 && ts.Getenv("DOCKER_BUILDKIT") != "0":
		ts.Fatalf("the build ended with %v, status 1 was expected", err)
	}
}

// web serves a folder on loopback, by HTTP, and sets $W to its address.
func web(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: web FOLDER")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	server := &http.Server{Handler: http.FileServer(http.Dir(ts.MkAbs(args[0])))}
	go func() { _ = server.Serve(listener) }()
	ts.Defer(func() { server.Close() })
	ts.Setenv("W", listener.Addr().String())
}
