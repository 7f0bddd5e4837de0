package container

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/state"
)

func openStore(t *testing.T) (*Store, *state.DB) {
	t.Helper()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	s, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return s, db
}

func reopen(t *testing.T, db *state.DB) *Store {
	t.Helper()
	s, err := Open(db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func sample(id, name string) *Container {
	return &Container{
		ID: id, Name: name, Created: time.Now(), Config: &ct.Config{}, HostConfig: &ct.HostConfig{},
		State: State{Status: ct.StateCreated},
	}
}

func create(t *testing.T, s *Store, id, name string) *Container {
	t.Helper()
	name, err := s.Reserve(id, name)
	if err != nil {
		t.Fatal(err)
	}
	c := sample(id, name)
	if err := s.Create(c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestGet(t *testing.T) {
	s, _ := openStore(t)
	create(t, s, "aaaa11", "web")
	create(t, s, "aaaa22", "db")
	create(t, s, "bbbb33", "aaaa")
	for _, tt := range []struct{ ref, id, fails string }{
		{ref: "web", id: "aaaa11"},
		{ref: "/web", id: "aaaa11"},
		{ref: "aaaa22", id: "aaaa22"},
		{ref: "aaaa2", id: "aaaa22"},
		{ref: "bb", id: "bbbb33"},
		{ref: "aaaa", id: "bbbb33"},
		{ref: "aa", fails: "multiple IDs found with provided prefix: aa"},
		{ref: "zz", fails: "No such container: zz"},
		{ref: "", fails: "No such container"},
	} {
		c, err := s.Get(tt.ref)
		switch {
		case tt.fails != "":
			if err == nil || !strings.Contains(err.Error(), tt.fails) {
				t.Errorf("Get(%q): %v, want %q", tt.ref, err, tt.fails)
			}
		case err != nil:
			t.Errorf("Get(%q): %v", tt.ref, err)
		case c.ID != tt.id:
			t.Errorf("Get(%q) = %s, want %s", tt.ref, c.ID, tt.id)
		}
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"ab": true, "a1": true, "A_b.c-d": true, "0x": true, "a": true, "": false, "-a": false, "_a": false, ".a": false,
		"a b": false, "a/b": false, "aé": false,
	} {
		if validName(name) != ok {
			t.Errorf("validName(%q) = %v", name, !ok)
		}
	}
}

func TestNameHasOneOwner(t *testing.T) {
	s, _ := openStore(t)
	var won, lost int
	var mu sync.Mutex
	var all sync.WaitGroup
	for i := range 20 {
		all.Go(func() {
			_, err := s.Reserve(strings.Repeat("x", i+1), "x1")
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
				return
			}
			lost++
			if !errdefs.IsConflict(err) || !strings.Contains(err.Error(), `The container name "/x1" is already in use by container "x`) {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if won != 1 || lost != 19 {
		t.Errorf("%d won, %d lost", won, lost)
	}
}

func TestInventedNames(t *testing.T) {
	s, _ := openStore(t)
	seen := map[string]bool{}
	for i := range 500 {
		name, err := s.Reserve(strings.Repeat("a", i+1), "")
		if err != nil {
			t.Fatal(err)
		}
		if seen[name] || !validName(name) || !strings.Contains(name, "_") {
			t.Fatalf("name %q", name)
		}
		seen[name] = true
	}
}

func TestReleaseLeavesOthersNames(t *testing.T) {
	s, _ := openStore(t)
	create(t, s, "a1", "web")
	s.Release("b2", "web")
	if _, err := s.Reserve("b2", "web"); !errdefs.IsConflict(err) {
		t.Errorf("the name went to another: %v", err)
	}
}

func TestRename(t *testing.T) {
	s, db := openStore(t)
	create(t, s, "a1", "web")
	create(t, s, "b2", "db")
	if _, err := s.Rename("a1", "db"); !errdefs.IsConflict(err) {
		t.Errorf("rename to a taken name: %v", err)
	}
	if _, err := s.Rename("a1", "w2"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("web"); !errdefs.IsNotFound(err) {
		t.Errorf("the old name still works: %v", err)
	}
	if c, err := reopen(t, db).Get("w2"); err != nil || c.ID != "a1" {
		t.Errorf("after reopening: %v, %v", c, err)
	}
}

func TestDurability(t *testing.T) {
	s, db := openStore(t)
	create(t, s, "a1", "web")
	create(t, s, "b2", "db")
	create(t, s, "c3", "gone")
	noteErr := func(id string) error {
		_, err := s.Note(id, func(c *Container) error { c.RestartCount = 7; return nil })
		return err
	}
	if err := noteErr("a1"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Change("b2", func(c *Container) error { c.StoppedByHand = true; return nil }); err != nil {
		t.Fatal(err)
	}
	if c, _ := reopen(t, db).Get("b2"); !c.StoppedByHand {
		t.Error("a change was not durable when it returned")
	}
	s.Drop("c3")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	after := reopen(t, db)
	if c, _ := after.Get("a1"); c.RestartCount != 7 {
		t.Error("a note was not written at the end")
	}
	if _, err := after.Get("c3"); !errdefs.IsNotFound(err) {
		t.Errorf("a dropped record came back: %v", err)
	}
	if err := noteErr("c3"); !errdefs.IsNotFound(err) {
		t.Errorf("note on a dropped record: %v", err)
	}
}

func TestNoteIsWrittenBehind(t *testing.T) {
	s, db := openStore(t)
	create(t, s, "a1", "web")
	if _, err := s.Note("a1", func(c *Container) error { c.RestartCount = 3; return nil }); err != nil {
		t.Fatal(err)
	}
	for range 1000 {
		if c, _ := reopen(t, db).Get("a1"); c.RestartCount == 3 {
			return
		}
		time.Sleep(writeBehind / 5)
	}
	t.Error("a note was never written")
}

func TestFailedChangeChangesNothing(t *testing.T) {
	s, _ := openStore(t)
	create(t, s, "a1", "web")
	boom := errors.New("boom")
	if _, err := s.Change("a1", func(c *Container) error { c.Name = "other"; return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
	if c, _ := s.Get("a1"); c.Name != "web" {
		t.Errorf("name is %q", c.Name)
	}
}

// TestUnwrittenChange: what could not be made durable was not done, and what was noted is written later.
func TestUnwrittenChange(t *testing.T) {
	s, db := openStore(t)
	create(t, s, "a1", "web")
	db.Close()
	if c, err := s.Change("a1", func(c *Container) error { c.StoppedByHand = true; return nil }); err == nil || c.StoppedByHand {
		t.Errorf("change without a database: %+v %v", c, err)
	}
	if _, err := s.Rename("a1", "other"); err == nil {
		t.Error("renamed without a database")
	}
	for ref, there := range map[string]bool{"web": true, "other": false} {
		if c, err := s.Get(ref); (err == nil) != there || there && (c.Name != "web" || c.StoppedByHand) {
			t.Errorf("%s: %+v %v", ref, c, err)
		}
	}
	if _, err := s.Note("a1", func(c *Container) error { c.RestartCount = 3; return nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err == nil || !s.noted["a1"] {
		t.Errorf("flushed without a database: %v", err)
	}
}

func TestSnapshotsDoNotChange(t *testing.T) {
	s, _ := openStore(t)
	before := create(t, s, "a1", "web")
	if _, err := s.Keep("a1", func(c *Container) error { c.State = c.State.Begin(1, time.Now(), nil); return nil }); err != nil {
		t.Fatal(err)
	}
	if before.State.Status != ct.StateCreated {
		t.Error("a record handed out changed")
	}
}

func received(ch <-chan State) (State, bool) {
	select {
	case s := <-ch:
		return s, true
	case <-time.After(50 * time.Millisecond):
		return State{}, false
	}
}

func TestWait(t *testing.T) {
	s, _ := openStore(t)
	create(t, s, "a1", "web")
	ctx := context.Background()
	wait := func(c ct.WaitCondition) <-chan State {
		t.Helper()
		ch, err := s.Wait(ctx, "a1", c)
		if err != nil {
			t.Fatal(err)
		}
		return ch
	}
	if _, ok := received(wait(ct.WaitConditionNotRunning)); !ok {
		t.Error("a created container does not run")
	}
	next, gone := wait(ct.WaitConditionNextExit), wait(ct.WaitConditionRemoved)
	s.Keep("a1", func(c *Container) error { c.State = c.State.Begin(1, time.Now(), nil); return nil })
	notRunning := wait("")
	if _, ok := received(next); ok {
		t.Error("told of an exit at the start")
	}
	s.Keep("a1", func(c *Container) error { c.State = c.State.End(7, false, time.Now(), true); return nil })
	for name, ch := range map[string]<-chan State{"next-exit": next, "not-running": notRunning} {
		if st, ok := received(ch); !ok || st.ExitCode != 7 {
			t.Errorf("%s: %v %v", name, st.ExitCode, ok)
		}
	}
	notRunning = wait(ct.WaitConditionNotRunning)
	if _, ok := received(notRunning); ok {
		t.Error("a restarting container counts as running")
	}
	s.Keep("a1", func(c *Container) error { c.State = c.State.With(ct.StateExited); return nil })
	if st, ok := received(notRunning); !ok || st.ExitCode != 7 {
		t.Errorf("stopped while waiting for the restart: %v %v", st.ExitCode, ok)
	}
	next = wait(ct.WaitConditionNextExit)
	s.Delete("a1")
	for name, ch := range map[string]<-chan State{"removed": gone, "next-exit": next} {
		if st, ok := received(ch); !ok || st.ExitCode != 7 {
			t.Errorf("%s at removal: %v %v", name, st.ExitCode, ok)
		}
	}
	if _, err := s.Wait(ctx, "a1", ""); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
}

func TestWaitIsGivenUp(t *testing.T) {
	s, _ := openStore(t)
	create(t, s, "a1", "web")
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := s.Wait(ctx, "a1", ct.WaitConditionRemoved); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Wait(ctx, "a1", "never"); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
	cancel()
	for range 100 {
		s.mu.Lock()
		left := len(s.entries["a1"].waiters.gone)
		s.mu.Unlock()
		if left == 0 {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("a waiter that left is still on the list")
}

func TestLock(t *testing.T) {
	s, _ := openStore(t)
	create(t, s, "a1", "web")
	release, err := s.Lock(context.Background(), "a1")
	if err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := s.Lock(short, "a1"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a second holder: %v", err)
	}
	waiting := make(chan error)
	go func() {
		_, err := s.Lock(context.Background(), "a1")
		waiting <- err
	}()
	s.Delete("a1")
	release()
	if err := <-waiting; !errdefs.IsNotFound(err) {
		t.Errorf("the lock of a removed container was given out: %v", err)
	}
}

func TestDescribe(t *testing.T) {
	now := time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
	st := State{StartedAt: now.Add(-5 * time.Minute), FinishedAt: now.Add(-2 * time.Hour), ExitCode: 3}
	for _, tt := range []struct {
		status ct.ContainerState
		health *ct.Health
		want   string
	}{
		{ct.StateCreated, nil, "Created"},
		{ct.StateRunning, nil, "Up 5 minutes"},
		{ct.StateRunning, &ct.Health{Status: ct.Starting}, "Up 5 minutes (health: starting)"},
		{ct.StateRunning, &ct.Health{Status: ct.Healthy}, "Up 5 minutes (healthy)"},
		{ct.StatePaused, nil, "Up 5 minutes (Paused)"},
		{ct.StateRestarting, nil, "Restarting (3) 2 hours ago"},
		{ct.StateExited, nil, "Exited (3) 2 hours ago"},
		{ct.StateRemoving, nil, "Removal In Progress"},
		{ct.StateDead, nil, "Dead"},
	} {
		st := st.With(tt.status)
		st.Health = tt.health
		if got := st.Describe(now); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.status, got, tt.want)
		}
	}
}

func TestStateMoves(t *testing.T) {
	now := time.Now()
	created := State{Status: ct.StateCreated}
	if s := created.Fail(127, "no"); s.Status != ct.StateCreated || s.ExitCode != 127 || s.Error != "no" {
		t.Errorf("a start that failed at first: %+v", s)
	}
	running := created.Begin(9, now, &ct.Health{Status: ct.Healthy})
	if !running.Alive() || running.Pid != 9 || running.ExitCode != 0 {
		t.Errorf("running: %+v", running)
	}
	ended := running.End(1, true, now, false)
	if ended.Status != ct.StateExited || ended.Pid != 0 || !ended.OOMKilled || ended.Health.Status != ct.Unhealthy {
		t.Errorf("ended: %+v", ended)
	}
	if running.Health.Status != ct.Healthy {
		t.Error("the earlier state changed")
	}
	if s := ended.Fail(126, "no"); s.Status != ct.StateExited {
		t.Errorf("a later start that failed: %+v", s)
	}
	if api := running.End(1, false, now, true).API(); !api.Running || !api.Restarting {
		t.Errorf("restarting counts as running: %+v", api)
	}
}
