package shim

import (
	"io"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
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

// TestDaemonsThatHangUp: daemons that say hello and are gone in the same moment are not waited for when the container has
// ended.
func TestDaemonsThatHangUp(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`sleep 60`, nil)
	w.run(s, cfg)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for range 300 {
		socket, err := sys.ConnectSocket(t.Context(), s.dir, socketName)
		if err != nil {
			t.Fatal(err)
		}
		if err := (&wire{Socket: socket}).send(head{ID: 1, Op: opHello}, nil, nil); err != nil {
			t.Fatal(err)
		}
		socket.Close()
	}
	if err := syscall.Kill(s.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		socket, err := sys.ConnectSocket(t.Context(), s.dir, socketName)
		if err != nil {
			break
		}
		socket.Close()
		if time.Now().After(deadline) {
			t.Fatal("the supervisor goes on without a container and without a daemon")
		}
	}
	again, err := w.open().Reconnect(t.Context(), s.id)
	if err != nil {
		t.Fatal(err)
	}
	if exit := w.wait(again); exit.Code != 137 {
		t.Errorf("exit %+v", exit)
	}
	if err := again.Delete(t.Context()); err != nil {
		t.Error(err)
	}
}
