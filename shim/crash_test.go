package shim

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
)

// TestKilledDaemon: whatever a container does while no daemon is there, the next one learns of it.
func TestKilledDaemon(t *testing.T) {
	w := newWorld(t)
	ids := map[string]string{
		"talker": newID(), // prints all the time, and goes on
		"ender":  newID(), // ends while no daemon is there
		"half":   newID(), // was created, not started
	}
	scripts := map[string]string{
		ids["talker"]: `i=0; while [ $i -lt 200 ]; do echo line$i; i=$((i+1)); sleep .01; done; exit 9`,
		ids["ender"]:  `sleep .3; echo bye; exit 33`,
		ids["half"]:   `true`,
	}
	configs := map[string]Config{}
	for id, script := range scripts {
		configs[id] = w.config(id, script)
	}
	w.killedDaemon(played{Dir: w.Keeper.dir, Containers: configs, Half: ids["half"], Exec: `read x && exit 21; exit 22`})
	time.Sleep(600 * time.Millisecond)

	k := w.open()
	left, err := k.Leftovers()
	for late := time.Now().Add(30 * time.Second); len(left) > 2 && time.Now().Before(late); left, err = k.Leftovers() {
		time.Sleep(20 * time.Millisecond) // what was half made goes by itself, later where the machine has much to do
	}
	if err != nil || slices.Contains(left, ids["half"]) || len(left) != 2 {
		t.Errorf("left: %v %v", left, err)
	}
	if _, err := k.Reconnect(t.Context(), ids["half"]); !errdefs.IsNotFound(err) {
		t.Errorf("half made: %v", err)
	}
	ender, err := k.Reconnect(t.Context(), ids["ender"])
	if err != nil {
		t.Fatal(err)
	}
	if exit := w.wait(ender); exit.Code != 33 || w.logged(configs[ids["ender"]]) != "bye\n" {
		t.Errorf("ended alone: %+v", exit)
	}
	if execs, err := ender.Execs(t.Context()); err != nil || len(execs) != 1 || execs[0].Exit == nil || execs[0].Exit.Code != 137 {
		t.Errorf("execs of the ended one: %+v %v", execs, err)
	}
	if err := ender.Delete(t.Context()); err != nil {
		t.Error(err)
	}

	talker, err := k.Reconnect(t.Context(), ids["talker"])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = talker.Delete(background) })
	if !talker.Started() || talker.Pid() == 0 {
		t.Errorf("reconnected: started %v, pid %d", talker.Started(), talker.Pid())
	}
	execs, err := talker.Execs(t.Context())
	if err != nil || len(execs) != 1 || execs[0].Exit != nil || string(execs[0].Note) != `{"who":"test"}` {
		t.Fatalf("execs %+v %v", execs, err)
	}
	probe := w.attach(talker, "probe", AttachOptions{Stdin: true, Stdout: true})
	fmt.Fprintln(probe, "go on")
	if exit, err := talker.ExecWait(t.Context(), "probe"); exit.Code != 21 || err != nil {
		t.Errorf("exec %+v %v", exit, err)
	}
	if exit := w.wait(talker); exit.Code != 9 {
		t.Errorf("exit %+v", exit)
	}
	var want strings.Builder
	for i := range 200 {
		fmt.Fprintf(&want, "line%d\n", i)
	}
	if got := w.logged(configs[ids["talker"]]); got != want.String() {
		t.Errorf("log has %d bytes, want %d", len(got), want.Len())
	}
}

// TestKilledSupervisor: a container cannot go on without its supervisor; it is ended, and that is told.
func TestKilledSupervisor(t *testing.T) {
	w := newWorld(t)
	s, cfg := w.launch(`echo on; sleep 60`, nil)
	out := w.attach(s, "", outputs)
	w.run(s, cfg)
	if _, err := io.ReadFull(out, make([]byte, 8+len("on\n"))); err != nil {
		t.Fatal(err)
	}
	if err := s.process.Kill(); err != nil {
		t.Fatal(err)
	}
	if exit := w.wait(s); exit.Code != 137 || exit.Error == "" {
		t.Errorf("exit %+v", exit)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d/root/bin", s.Pid())); err == nil {
		t.Error("the container lives on")
	}
	if _, _, err := split(out); err != nil {
		t.Error(err)
	}
	again, err := w.Reconnect(t.Context(), s.id)
	if err != nil {
		t.Fatal(err)
	}
	if exit := w.wait(again); exit.Code != 137 {
		t.Errorf("again: %+v", exit)
	}
	if err := s.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := w.Reconnect(t.Context(), s.id); !errdefs.IsNotFound(err) {
		t.Errorf("after delete: %v", err)
	}
}

// TestSpareEnds: a spare does not outlive its daemon, however that ends.
func TestSpareEnds(t *testing.T) {
	w := newWorld(t)
	w.killedDaemon(played{Dir: w.Keeper.dir})
	deadline := time.Now().Add(30 * time.Second)
	for len(w.spares()) > 1 { // our own Keeper has one
		if time.Now().After(deadline) {
			t.Fatalf("spares %v", w.spares())
		}
		time.Sleep(10 * time.Millisecond)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if left := w.spares(); len(left) != 0 {
		t.Errorf("spares %v", left)
	}
}

// spares lists the supervisors without a container that write into our folder's log.
func (w *world) spares() []string {
	var found []string
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		words, err := os.Readlink(p + "/fd/2")
		if err == nil && words == filepath.Join(w.Keeper.dir, logName) {
			found = append(found, p)
		}
	}
	return found
}

// TestNothingLeaks: after many runs there are as many files, processes and cgroups as before.
func TestNothingLeaks(t *testing.T) {
	w := newWorld(t)
	once := func(i int) {
		s, cfg := w.launch(`cat; echo x; [ "$$" = 1 ]`, func(cfg *Config) {
			cfg.Stdin, cfg.StdinOnce = true, true
			switch i % 4 {
			case 1:
				cfg.Terminal, cfg.Spec.Process.Terminal = true, true
				cfg.Spec.Process.Args = []string{"true"}
			case 2:
				cfg.Spec.Process.Args = []string{"nosuch"}
			case 3:
				cfg.Spec.Process.Args = []string{"sleep", "70"}
			}
		})
		stream, err := s.Attach(t.Context(), "", AttachOptions{Stdin: true, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Create(t.Context(), cfg)
		if err == nil {
			err = s.Start(t.Context())
		}
		if err == nil {
			_, _ = stream.Write([]byte("hello"))
			_ = stream.CloseWrite()
		}
		if err == nil && i%4 != 3 {
			_, _ = io.Copy(io.Discard, stream)
		}
		_ = stream.Close()
		if err := s.Delete(t.Context()); err != nil {
			t.Error(err)
		}
		if _, err := runtime.OpenCgroup(cfg.Spec.Linux.CgroupsPath); err == nil {
			t.Errorf("cgroup of run %d is left", i)
		}
	}
	once(0)
	files, processes := count("/proc/self/fd"), len(w.spares())
	for i := range 40 {
		once(i)
	}
	time.Sleep(10 * refillAfterStart)
	// With the race detector a program takes a second to end.
	for late := time.Now().Add(30 * time.Second); len(w.spares()) > max(processes, 1) && time.Now().Before(late); {
		time.Sleep(refillAfterStart)
	}
	if now := count("/proc/self/fd"); now > files+2 {
		t.Errorf("%d open files, %d before", now, files)
	}
	if now := len(w.spares()); now > max(processes, 1) {
		t.Errorf("%d supervisors, %d before", now, processes)
	}
	if left, _ := w.Leftovers(); len(left) != 0 {
		t.Errorf("left %v", left)
	}
	if text, _ := os.ReadFile(filepath.Join(w.Keeper.dir, logName)); len(text) != 0 {
		t.Errorf("supervisors say: %s", text)
	}
}

func count(folder string) int {
	entries, _ := os.ReadDir(folder)
	return len(entries)
}
