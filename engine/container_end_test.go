package engine

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/state"
)

// TestExitOutlivesItsTrace: the supervisor's word of how a container ended goes only when the record has it on disk.
func TestExitOutlivesItsTrace(t *testing.T) {
	ctx := context.Background()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w := newWorld()
	e := engineOn(t, w, db, t.TempDir())
	id := mustCreate(t, e, request())
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	told := make(chan container.State, 1)
	w.atDelete = func() {
		onDisk, err := container.Open(db)
		if err != nil {
			t.Error(err)
			return
		}
		c, err := onDisk.Get(id)
		if err != nil {
			t.Error(err)
			return
		}
		told <- c.State
	}
	w.shim(id).finish(7)
	if s := <-told; s.Status != ct.StateExited || s.ExitCode != 7 {
		t.Errorf("on disk when the supervisor goes: %+v", s)
	}
}

// TestAttachedLog: a running container is connected before its log is read, so that no line falls between.
func TestAttachedLog(t *testing.T) {
	ctx := context.Background()
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(command_("/bin/obedient")))
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	c, err := e.containers.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	const early = `{"log":"early\n","stream":"stdout","time":"2020-01-01T00:00:00Z"}` + "\n"
	const before = `{"log":"before\n","stream":"stdout","time":"2020-01-01T00:00:01Z"}` + "\n"
	const late = `{"log":"late\n","stream":"stdout","time":"2999-01-01T00:00:00Z"}` + "\n"
	log := logFile(e.parts.Config.Root, c)
	if err := os.WriteFile(log, []byte(early), 0o600); err != nil {
		t.Fatal(err)
	}
	w.atAttach = func() { // one line was printed just before, the other comes over the stream
		if err := os.WriteFile(log, []byte(early+before+late), 0o600); err != nil {
			t.Error(err)
		}
	}
	client := &fakeConn{in: w.shim(id).exited}
	time.AfterFunc(100*time.Millisecond, func() { w.shim(id).finish(0) })
	err = e.ContainerAttach(ctx, id, AttachOptions{Stdout: true, Logs: true, Stream: true, Open: func(bool) (Conn, error) { return client, nil }})
	if err != nil {
		t.Fatal(err)
	}
	if got := string(client.wrote); got != "\x01\x00\x00\x00\x00\x00\x00\x06early\n"+"\x01\x00\x00\x00\x00\x00\x00\x07before\n" {
		t.Errorf("the client got %q", got)
	}
}

// slowConn is a client that has the output only when it is told.
type slowConn struct {
	*fakeConn
	read chan struct{}
}

func (c slowConn) CloseWrite() error {
	<-c.read
	return nil
}

// TestEndIsToldAfterTheOutput: who listens for ends may close the connection on which the output comes.
func TestEndIsToldAfterTheOutput(t *testing.T) {
	ctx := context.Background()
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(command_("/bin/obedient")))
	client := slowConn{&fakeConn{closed: make(chan struct{})}, make(chan struct{})}
	w.atAttach = func() { time.AfterFunc(50*time.Millisecond, func() { w.shim(id).finish(0) }) }
	opened, attached := make(chan struct{}), make(chan error, 1)
	go func() {
		attached <- e.ContainerAttach(ctx, id, AttachOptions{Stdout: true, Stream: true, Open: func(bool) (Conn, error) {
			close(opened)
			return client, nil
		}})
	}()
	<-opened
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	dead := func() bool {
		return slices.ContainsFunc(e.bus.Past(), func(m et.Message) bool { return m.Action == et.ActionDie })
	}
	eventually(t, "the end", func() bool { c, err := e.containers.Get(id); return err == nil && c.State.Status == ct.StateExited })
	time.Sleep(100 * time.Millisecond)
	if dead() {
		t.Error("told before the client had the output")
	}
	close(client.read)
	eventually(t, "the news of the end", dead)
	if err := <-attached; err != nil {
		t.Error(err)
	}
}

// TestProbeLeavesSomethingBehind: a probe has ended when its process has, whoever still holds its output; and it is no
// command that anybody can ask about.
func TestProbeLeavesSomethingBehind(t *testing.T) {
	ctx := context.Background()
	w := newWorld()
	e := testEngine(t, w)
	id := mustCreate(t, e, request(command_("/bin/obedient")))
	if err := e.ContainerStart(ctx, id); err != nil {
		t.Fatal(err)
	}
	c, err := e.containers.Get(id)
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	result := e.probeOnce(ctx, c, e.runs.live(id), plan.Probe{Args: []string{"true"}, Timeout: time.Minute})
	if result.ExitCode != 5 || time.Since(begun) > 10*time.Second {
		t.Errorf("%+v after %v", result, time.Since(begun))
	}
	if left := e.commands.of(id); len(left) != 0 {
		t.Errorf("%d commands are kept", len(left))
	}
}

// TestAttachersOfWhatIsGone: clients that come to a container while it is removed find the same run that will not come, and
// each ends it.
func TestAttachersOfWhatIsGone(t *testing.T) {
	rs := newRuns()
	r := rs.of("gone")
	rs.forget(r)
	rs.forget(r)
	<-r.over
	<-r.cleaned
	next := rs.of("gone")
	rs.forget(r)
	if rs.of("gone") != next {
		t.Error("the end of one run has ended another")
	}
}
