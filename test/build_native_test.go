package test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/tonistiigi/fsutil"
)

// TestNativeGRPC builds as programs do that are written for BuildKit's daemon: gRPC on the engine's own socket, with the
// session inside of it.
func TestNativeGRPC(t *testing.T) {
	b := newBuilder(t)
	c, err := client.New(t.Context(), b.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	workers, err := c.ListWorkers(t.Context())
	if err != nil || len(workers) != 1 {
		t.Fatalf("%v %v", workers, err)
	}
	dir := folder(t, "Dockerfile", "FROM busybox\nCOPY f /f\n", "f", "native\n")
	files, err := fsutil.NewFS(dir)
	if err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	_, err = c.Solve(t.Context(), nil, client.SolveOpt{
		Frontend: "dockerfile.v0", LocalMounts: map[string]fsutil.FS{"context": files, "dockerfile": files},
		Exports: []client.ExportEntry{{Type: "local", OutputDir: to}},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(to, "f")); err != nil || string(got) != "native\n" {
		t.Errorf("%q %v", got, err)
	}
}
