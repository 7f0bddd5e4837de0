package test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestLookupsOutliveTheDaemon: no question for a name is lost, or answered wrongly, while the daemon is killed and started.
func TestLookupsOutliveTheDaemon(t *testing.T) {
	t.Parallel()
	needRoot(t)
	images(t)
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "network", "create", "n")
	for i := range 4 {
		e.Run("cove", "run", "-d", "--name", fmt.Sprint("web", i), "--network", "n", "busybox", "sleep", "1000")
	}
	e.Run("cove", "run", "-d", "--name", "asker", "--network", "n", "busybox", "sh", "-c",
		`i=0; while true; do for n in 0 1 2 3; do nslookup -type=a web$n >/dev/null 2>&1 && echo good || echo lost; done; sleep .02; done`)
	count := func(word string) int { return strings.Count(e.Run("cove", "logs", "asker"), word) }
	for range 5 {
		e.Kill()
		time.Sleep(200 * time.Millisecond)
		e.Start()
		before := count("good")
		for deadline := time.Now().Add(20 * time.Second); count("good") < before+8; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("no more answers: %s", e.Run("cove", "logs", "--tail", "5", "asker"))
			}
		}
	}
	// What the daemon had taken in and not answered when it was killed is asked again by the client, which waits for that.
	if n := count("lost"); n > 0 {
		t.Errorf("%d of %d lookups were lost", n, n+count("good"))
	}
}

// TestManyOnOneNetwork: more containers than a bridge has ports find and reach one another, and each costs as much as the first.
func TestManyOnOneNetwork(t *testing.T) {
	needRoot(t)
	images(t)
	if testing.Short() {
		t.Skip("1,200 containers take a minute or two")
	}
	const clients = 4
	all := 1200
	if raced() {
		all = 120 // supervisors with the detector take 20 MB each
	}
	e := newEngine(t)
	e.Start()
	e.Load("busybox")
	e.Run("cove", "network", "create", "--subnet", fmt.Sprintf("10.%d.0.0/16", 32+os.Getpid()%32), "n")
	begin, last := time.Now(), time.Now()
	made := 0
	for _, upTo := range []int{all / 12, all / 2, all} {
		var group sync.WaitGroup
		for c := range clients {
			group.Go(func() {
				for i := made + c; i < upTo; i += clients {
					if _, errOut, code := e.Try("cove", "run", "-d", "--name", fmt.Sprint("c", i), "--network", "n", "busybox", "sleep", "10000"); code != 0 {
						t.Errorf("container %d: %s", i, errOut)
						return
					}
				}
			})
		}
		group.Wait()
		if t.Failed() {
			t.FailNow()
		}
		t.Logf("containers %d to %d: %s each", made, upTo, (time.Since(last) / time.Duration(upTo-made)).Round(time.Millisecond/10))
		made, last = upTo, time.Now()
	}
	t.Logf("all in %s", time.Since(begin).Round(time.Second))
	out := e.Run("cove", "exec", "c"+strconv.Itoa(all-1), "sh", "-c",
		fmt.Sprintf(`i=0; while [ $i -lt %d ]; do said=$(ping -c 1 -W 3 c$i 2>&1) || echo "c$i is not reached: $said"; i=$((i+1)); done`, all))
	if out != "" {
		t.Error(out)
	}
}
