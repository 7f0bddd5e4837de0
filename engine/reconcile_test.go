package engine

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/shim"
	"github.com/cove-containers/cove/state"
)

// TestDaemonRestarts: a new engine takes up what runs, records what ended, and follows the policies.
func TestDaemonRestarts(t *testing.T) {
	ctx := context.Background()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w, root := newWorld(), t.TempDir()
	first := engineOn(t, w, db, root)
	named := func(name string) func(*CreateOptions) { return func(o *CreateOptions) { o.Name = name } }
	ids := map[string]string{}
	for name, change := range map[string]func(*CreateOptions){
		"running": policy("no", 0), "ended": policy("no", 0), "always": policy("always", 0), "unless": policy("unless-stopped", 0),
		"vanished": policy("no", 0), "transient": func(o *CreateOptions) { o.HostConfig.AutoRemove = true }, "never": policy("always", 0),
	} {
		ids[name] = mustCreate(t, first, request(named(name), change, command_("/bin/obedient")))
		if name == "never" {
			continue
		}
		if err := first.ContainerStart(ctx, name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"always", "unless"} {
		if err := first.ContainerStop(ctx, name, "", nil); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "both stopped", func() bool { return w.shim(ids["always"]) == nil && w.shim(ids["unless"]) == nil })
	if err := first.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	w.shim(ids["ended"]).finish(9)
	w.shim(ids["transient"]).finish(0)
	w.mu.Lock()
	delete(w.shims, ids["vanished"])
	w.layers["orphan"], w.joined[ids["vanished"]] = true, false
	delete(w.joined, ids["vanished"])
	note, err := (&command{ID: "command", ContainerID: ids["running"], Request: ct.ExecCreateRequest{Cmd: []string{"true"}}}).note()
	if err != nil {
		t.Fatal(err)
	}
	w.shims[ids["running"]].running = []shim.ExecState{{ID: "command", Pid: 77, Note: note}}
	w.shims["half"] = &fakeShim{world: w, id: "half", exited: make(chan struct{}), deleted: make(chan struct{})}
	w.mu.Unlock()

	second := engineOn(t, w, db, root)
	if err := second.reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]ct.ContainerState{
		"running": ct.StateRunning, "ended": ct.StateExited, "always": ct.StateRunning, "unless": ct.StateExited,
		"vanished": ct.StateExited, "transient": "", "never": ct.StateCreated,
	} {
		eventually(t, name+" is "+string(want), func() bool { return status(second, ids[name]) == want })
	}
	eventually(t, "a command taken up has ended", func() bool {
		x, err := second.ExecInspect(ctx, "command")
		return err == nil && x.ExitCode != nil && *x.ExitCode == 5
	})
	for name, code := range map[string]int{"ended": 9, "vanished": 255, "unless": 143} {
		if c, _ := second.containers.Get(name); c.State.ExitCode != code {
			t.Errorf("%s: exit code %d, want %d", name, c.State.ExitCode, code)
		}
	}
	for _, address := range w.remembered[ids["vanished"]] {
		if address != netip.MustParseAddr("10.0.0.2") {
			t.Errorf("the address of what ran when the power went: %s", address)
		}
	}
	if len(w.remembered[ids["vanished"]]) != 1 || len(w.remembered[ids["never"]]) != 0 {
		t.Errorf("addresses remembered: %v", w.remembered)
	}
	if w.shim("half") != nil || w.layers["orphan"] {
		t.Error("leftovers of nobody are still there")
	}
	if err := second.ContainerStop(ctx, "running", "", nil); err != nil {
		t.Errorf("a container taken up does not stop: %v", err)
	}
	if err := second.ContainerRemove(ctx, "always", RemoveOptions{Force: true}); err != nil {
		t.Error(err)
	}
}

// TestHalfMadeContainer: a crash between the volumes and the record leaves nothing.
func TestHalfMadeContainer(t *testing.T) {
	w := newWorld()
	e := testEngine(t, w)
	folder := filepath.Join(e.parts.Config.Root, "containers", "half")
	if err := os.MkdirAll(folder, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := storage.Doom(folder, []string{"mine", "used", "named"}); err != nil {
		t.Fatal(err)
	}
	for name, anonymous := range map[string]bool{"mine": true, "used": true, "named": false, "other": true} {
		w.volumes[name], w.nameless[name] = true, anonymous
	}
	w.users["used"] = []string{"somebody"}
	if err := e.reconcile(context.Background()); err != nil {
		t.Fatal(err)
	}
	if w.volumes["mine"] || !w.volumes["used"] || !w.volumes["named"] || !w.volumes["other"] {
		t.Errorf("volumes %v", w.volumes)
	}
	if _, err := os.Stat(folder); !os.IsNotExist(err) {
		t.Error("the folder is still there")
	}
}

// TestEndsWhileTakenUp: containers that ended without a daemon are started again by their policies once, and removed
// once, however their ends and the other work of a starting daemon fall together.
func TestEndsWhileTakenUp(t *testing.T) {
	ctx := context.Background()
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	w, root := newWorld(), t.TempDir()
	first := engineOn(t, w, db, root)
	var again, gone []string
	for n := range 32 {
		change := policy("always", 0)
		if n%2 == 1 {
			change = func(o *CreateOptions) { o.HostConfig.AutoRemove = true }
		}
		id := mustCreate(t, first, request(change, command_("/bin/obedient"), func(o *CreateOptions) { o.Name = "" }))
		if err := first.ContainerStart(ctx, id); err != nil {
			t.Fatal(err)
		}
		if n%2 == 1 {
			gone = append(gone, id)
		} else {
			again = append(again, id)
		}
	}
	if err := first.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	ended := map[string]*fakeShim{}
	for _, id := range slices.Concat(again, gone) {
		ended[id] = w.shim(id)
		ended[id].finish(1)
	}
	second := engineOn(t, w, db, root)
	if err := second.reconcile(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range again {
		eventually(t, "runs again", func() bool { return status(second, id) == ct.StateRunning && w.shim(id) != ended[id] })
	}
	for _, id := range gone {
		eventually(t, "is gone", func() bool { return status(second, id) == "" && w.shim(id) == nil })
	}
	time.Sleep(300 * time.Millisecond) // a second start would come after the policy's pause
	for _, id := range again {
		if c, _ := second.containers.Get(id); c.RestartCount != 1 || c.State.Status != ct.StateRunning {
			t.Errorf("%d restarts, %s %s", c.RestartCount, c.State.Status, c.State.Error)
		}
		if err := second.ContainerStop(ctx, id, "", nil); err != nil {
			t.Error(err)
		}
	}
}
