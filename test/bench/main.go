// Command bench measures Cove beside Debian's docker.io, podman and bare crun, on one machine in one run, and prints medians and
// ratios. It must be root; `make bench` builds what it needs first and runs it in a network and mount namespace of its own,
// so that no peer touches a bridge or table of this host. Measurements of the peers alternate, so that a machine that slows down slows all of them.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cove-containers/cove/testkit"
)

func goarch() string { return runtime.GOARCH }

func main() {
	rounds := flag.Int("n", 15, "measurements of each peer")
	debian := flag.String("debian", "", "archive of a Debian image for the pull (made by scripts/debian-image); empty leaves the pull out")
	registries := flag.Int("registries", 3, "rounds of the comparison of registries; 0 leaves it out")
	builds := flag.Int("builds", 5, "rounds of the comparison of builds; 0 leaves it out")
	networks := flag.Int("networks", 9, "rounds of the comparison of networks; 0 leaves it out")
	lines := flag.Int("clients", 15, "rounds of the comparison of command lines; 0 leaves it out")
	only := flag.String("only", "", `"registries", "builds", "networks" or "client": leave out everything else`)
	at := flag.String("serve", "", "be the server that is asked, at this address")
	flag.Parse()
	if *at != "" {
		fmt.Fprintln(os.Stderr, "bench:", serve(*at))
		os.Exit(1)
	}
	if err := measure(*rounds, *registries, *builds, *networks, *lines, *only, *debian); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func measure(rounds, registries, builds, networks, lines int, only, debian string) error {
	images, err := testkit.Images(".")
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cb") // short: podman takes no longer folder for its state
	if err != nil {
		return err
	}
	b := &bench{dir: dir, alpine: filepath.Join(dir, "alpine.tar")}
	b.undo = append(b.undo, func() { os.RemoveAll(dir) })
	defer b.close()
	if err := writeAlpine(filepath.Join(images, "alpine.tar"), b.alpine); err != nil {
		return err
	}
	if only == "networks" {
		return b.traffic(networks)
	}
	openers := []func() (*peer, error){b.cove, b.docker, b.podman, b.crun}
	if only != "" {
		openers = openers[:2]
	}
	if err := b.open(openers...); err != nil {
		return err
	}
	switch only {
	case "registries":
		return b.registries(registries)
	case "builds":
		return b.builds(builds)
	case "client":
		return b.clients(lines, 500)
	}
	fmt.Printf("%d rounds; median ms (least, most); the ratio is the peer's median over cove's\n\n", rounds)
	b.table("run --rm alpine true, default network", rounds, func(p *peer) *exec.Cmd { return p.run("") })
	b.table("run --rm --network none alpine true", rounds, func(p *peer) *exec.Cmd { return p.run("none") })
	b.execs(rounds)
	b.parallel(max(3, rounds/5), 20)
	b.memory(20)
	if debian != "" {
		if err := b.pulls(max(3, rounds/5), debian); err != nil {
			return err
		}
	}
	if networks > 0 {
		if err := b.traffic(networks); err != nil {
			return err
		}
	}
	if builds > 0 {
		if err := b.builds(builds); err != nil {
			return err
		}
	}
	if registries > 0 {
		if err := b.registries(registries); err != nil {
			return err
		}
	}
	if lines > 0 {
		return b.clients(lines, 500)
	}
	return nil
}

// open starts peers; those that cannot be started are left out, but not cove itself.
func (b *bench) open(openers ...func() (*peer, error)) error {
	for _, open := range openers {
		p, err := open()
		if err != nil {
			fmt.Println("left out:", err)
			continue
		}
		b.peers = append(b.peers, p)
	}
	if len(b.peers) == 0 || b.peers[0].name != "cove" {
		return fmt.Errorf("cove itself could not be started")
	}
	return nil
}

// samples are one peer's measurements.
type samples struct {
	name       string
	times      []time.Duration
	complained bool // the first failure was shown
}

func (s samples) median() time.Duration {
	t := slices.Sorted(slices.Values(s.times))
	if len(t) == 0 {
		return 0
	}
	return t[len(t)/2]
}

// print writes a table whose ratios are against the first row.
func print(title string, rows []samples) {
	fmt.Println(title)
	for _, r := range rows {
		if len(r.times) == 0 {
			fmt.Printf("  %-15s failed\n", r.name)
			continue
		}
		fmt.Printf("  %-15s %8.1f  (%.1f, %.1f)  %5.2fx\n", r.name, ms(r.median()), ms(slices.Min(r.times)), ms(slices.Max(r.times)),
			float64(r.median())/float64(rows[0].median()))
	}
	fmt.Println()
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// timed runs a command to its end and adds how long it took.
func (s *samples) timed(cmd *exec.Cmd) {
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		if !s.complained {
			fmt.Fprintf(os.Stderr, "%s: %v: %s\n", strings.Join(cmd.Args, " "), err, out)
		}
		s.complained = true
		return
	}
	s.times = append(s.times, time.Since(start))
}

// table measures one deed of every peer that has it, in turns, after one round that does not count.
func (b *bench) table(title string, rounds int, deed func(*peer) *exec.Cmd) {
	rows := make([]samples, len(b.peers))
	for round := -1; round < rounds; round++ {
		for i, p := range b.peers {
			rows[i].name = p.name
			rows[i].timed(deed(p))
			if round < 0 {
				rows[i].times = nil
			}
		}
	}
	print(title, rows)
}

// engines are the peers that keep containers.
func (b *bench) engines() []*peer {
	return slices.DeleteFunc(slices.Clone(b.peers), func(p *peer) bool { return p.bare })
}

func (b *bench) execs(rounds int) {
	kept := b.peers
	defer func() { b.peers = kept }()
	b.peers = b.engines()
	for _, p := range b.peers {
		if err := must(p.start("execs")); err != nil {
			fmt.Println(err)
		}
		defer func() { must(p.remove("execs")) }()
	}
	b.table("exec true in a running container", rounds, func(p *peer) *exec.Cmd { return p.exec("execs") })
}

// parallel starts n containers at once.
func (b *bench) parallel(rounds, n int) {
	peers := b.engines()
	rows := make([]samples, len(peers))
	for range rounds {
		for i, p := range peers {
			rows[i].name = p.name
			var names []string
			var wait sync.WaitGroup
			var failed atomic.Int32
			start := time.Now()
			for k := range n {
				name := fmt.Sprintf("many%d", k)
				names = append(names, name)
				wait.Go(func() {
					if must(p.start(name)) != nil {
						failed.Add(1)
					}
				})
			}
			wait.Wait()
			if failed.Load() == 0 {
				rows[i].times = append(rows[i].times, time.Since(start))
			}
			must(p.remove(names...))
		}
	}
	print(fmt.Sprintf("%d containers started at once (run -d)", n), rows)
}

// memory is what an idle container costs: the processes beside it and the growth of the daemon, by PSS.
func (b *bench) memory(n int) {
	fmt.Printf("memory of an idle container, of %d (PSS of the engine's processes, KiB each)\n", n)
	for _, p := range b.engines() {
		if p.idlePIDs == nil {
			continue
		}
		before := pss(p.daemon) + pss(p.idlePIDs()...)
		var names []string
		for k := range n {
			names = append(names, fmt.Sprintf("idle%d", k))
			if err := must(p.start(names[k])); err != nil {
				fmt.Println(err)
			}
		}
		time.Sleep(3 * time.Second)
		after := pss(p.daemon) + pss(p.idlePIDs()...)
		fmt.Printf("  %-10s %8d\n", p.name, (after-before)/n)
		must(p.remove(names...))
	}
	fmt.Println()
}

// pss sums the proportional set sizes of processes, in KiB.
func pss(pids ...int) int {
	sum := 0
	for _, pid := range pids {
		raw, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
		for _, line := range strings.Split(string(raw), "\n") {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
				n, _ := strconv.Atoi(f[1])
				sum += n
			}
		}
	}
	return sum
}
