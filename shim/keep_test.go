package shim

import (
	"io"
	"os"
	"testing"

	"github.com/containerd/errdefs"
)

// TestKeep: what one daemon has kept the next gets, and with the container it is closed.
func TestKeep(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	read, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer read.Close()
	if err := s.Keep(t.Context(), "end", write); err != nil {
		t.Fatal(err)
	}
	write.Close()
	w.run(s, cfg)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := w.open().Reconnect(t.Context(), s.id)
	if err != nil {
		t.Fatal(err)
	}
	for _, word := range []string{"one", "two"} {
		end, err := again.Kept(t.Context(), "end")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := end.WriteString(word); err != nil {
			t.Error(err)
		}
		end.Close()
	}
	if _, err := again.Kept(t.Context(), "other"); !errdefs.IsNotFound(err) {
		t.Errorf("a file that nobody gave: %v", err)
	}
	if err := again.Delete(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := io.ReadAll(read); string(all) != "onetwo" || err != nil {
		t.Errorf("read %q, %v", all, err)
	}
}
