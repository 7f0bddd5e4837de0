package test

import (
	"io"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// TestRemoveBusy removes a container while others are at it: with it end all who were at it, by themselves, and its volume is
// free at once (VG-9).
func TestRemoveBusy(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	for _, client := range clients() {
		e.Run("cove", "run", "-d", "--name", "c", "-v", "vol:/v", "busybox", "sh", "-c",
			"head -c 80000000 /dev/urandom >/big; ln -s /big /l; echo ready; while :; do echo x; sleep .1; done")
		for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
			if out, _, _ := e.Try("cove", "logs", "c"); strings.HasPrefix(out, "ready") {
				break
			}
		}
		type user struct {
			cmd  *exec.Cmd
			done chan struct{}
		}
		users := map[string]user{}
		var gone atomic.Bool
		for _, args := range [][]string{{"exec", "c", "sleep", "60"}, {"logs", "-f", "c"}, {"attach", "c"}, {"stats", "c"}, {"cp", "c:/big", "-"}, {"export", "c"}} {
			cmd := e.Command(append([]string{client}, args...)...)
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			u := user{cmd, make(chan struct{})}
			users[args[0]] = u
			go func() {
				defer close(u.done)
				// Who copies is read from slowly, so that it is still at it when the container goes. Then what it has got is
				// taken at once: it can end only after that.
				for buf := make([]byte, 64<<10); !gone.Load(); time.Sleep(5 * time.Millisecond) {
					if _, err := out.Read(buf); err != nil {
						break
					}
				}
				io.Copy(io.Discard, out)
				cmd.Wait()
			}()
		}
		for deadline := time.Now().Add(30 * time.Second); !strings.Contains(e.Run("cove", "top", "c"), "sleep 60") && time.Now().Before(deadline); {
		}
		time.Sleep(time.Second)
		for name, u := range users {
			select {
			case <-u.done:
				t.Errorf("%s %s has ended before the container goes: %s", client, name, u.cmd.ProcessState)
			default:
			}
		}
		begun := time.Now()
		e.Run(client, "rm", "-f", "c")
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s rm took %v", client, took)
		}
		e.Run(client, "volume", "rm", "vol")
		gone.Store(true)
		limit := time.Now().Add(30 * time.Second)
		for name, u := range users {
			// The stock client's stats stay, with dashes for what is gone, whatever the daemon says.
			if client == "docker" && name == "stats" {
				u.cmd.Process.Kill()
			}
			select {
			case <-u.done:
			case <-time.After(max(time.Second, time.Until(limit))):
				t.Errorf("%s %s goes on without its container", client, name)
				u.cmd.Process.Kill()
				<-u.done
			}
		}
		if code := users["exec"].cmd.ProcessState.ExitCode(); code != 137 {
			t.Errorf("%s exec: status %d", client, code)
		}
	}
}
