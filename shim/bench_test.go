package shim

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// BenchmarkLaunch compares a supervisor that was kept ready with one that boots.
func BenchmarkLaunch(b *testing.B) {
	for _, spare := range []bool{true, false} {
		b.Run(fmt.Sprintf("spare=%v", spare), func(b *testing.B) {
			w := newWorld(b)
			var sum time.Duration
			for b.Loop() {
				w.refill.Stop()
				if spare {
					w.bootSpare()
					time.Sleep(20 * time.Millisecond)
				} else if w.spare != nil {
					w.spare.end()
					w.spare = nil
				}
				begin := time.Now()
				s, err := w.Launch(b.Context(), newID())
				sum += time.Since(begin)
				if err != nil {
					b.Fatal(err)
				}
				if err := s.Delete(b.Context()); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(sum.Microseconds())/float64(b.N), "launch-µs")
		})
	}
}

// BenchmarkRun is a container's whole life without engine and network.
func BenchmarkRun(b *testing.B) {
	w := newWorld(b)
	var phases [5]time.Duration
	before := used(b)
	for b.Loop() {
		time.Sleep(5 * refillAfterStart) // people are not that fast: there is a spare
		cfg := w.config(newID(), "")
		cfg.Spec.Process.Args = []string{"true"}
		at := time.Now()
		lap := func(i int) { phases[i] += time.Since(at); at = time.Now() }
		s, err := w.Launch(b.Context(), cfg.Spec.Linux.CgroupsPath[len("/cove-test-"):])
		if err != nil {
			b.Fatal(err)
		}
		lap(0)
		if _, err := s.Create(b.Context(), cfg); err != nil {
			b.Fatal(err)
		}
		lap(1)
		if err := s.Start(b.Context()); err != nil {
			b.Fatal(err)
		}
		lap(2)
		if exit, err := s.Wait(b.Context()); exit.Code != 0 || err != nil {
			b.Fatal(exit, err)
		}
		lap(3)
		if err := s.Delete(b.Context()); err != nil {
			b.Fatal(err)
		}
		lap(4)
	}
	b.ReportMetric(float64((used(b)-before).Microseconds())/float64(b.N), "children-cpu-µs")
	for i, name := range []string{"launch", "create", "start", "wait", "delete"} {
		b.ReportMetric(float64(phases[i].Microseconds())/float64(b.N), name+"-µs")
	}
}

// used is the processor time of all supervisors and containers that have ended.
func used(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_CHILDREN, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkExec(b *testing.B) {
	w := newWorld(b)
	s, cfg := w.launch("sleep 600", nil)
	w.run(s, cfg)
	c := execConfig("")
	c.Process.Args = []string{"true"}
	for i := 0; b.Loop(); i++ {
		id := strconv.Itoa(i)
		if err := s.Exec(b.Context(), id, c); err != nil {
			b.Fatal(err)
		}
		if _, err := s.ExecStart(b.Context(), id); err != nil {
			b.Fatal(err)
		}
		if exit, err := s.ExecWait(b.Context(), id); exit.Code != 0 || err != nil {
			b.Fatal(exit, err)
		}
		if err := s.ExecDelete(b.Context(), id); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkAttach moves bytes from a container to an attached client, with and without a log.
func BenchmarkAttach(b *testing.B) {
	for _, driver := range []string{"none", "local", "json-file"} {
		b.Run(driver, func(b *testing.B) {
			w := newWorld(b)
			const size = 100_000_000
			s, cfg := w.launch("i=0; while [ $i -lt 100 ]; do cat /data; i=$((i+1)); done", func(cfg *Config) {
				cfg.Log.Driver = driver
				data := strings.Repeat("0123456789012345678901234567890123456789012345678\n", size/100/50)
				if err := os.WriteFile(filepath.Join(cfg.Overlay.Upper, "data"), []byte(data), 0o644); err != nil {
					b.Fatal(err)
				}
			})
			stream := w.attach(s, "", outputs)
			b.SetBytes(size)
			w.run(s, cfg)
			b.ResetTimer()
			n, err := io.Copy(io.Discard, stream)
			if n < size || err != nil {
				b.Fatal(n, err)
			}
			b.StopTimer()
		})
	}
}

// BenchmarkIdle tells what an idle container's supervisor keeps in memory, shared pages counted by their share.
func BenchmarkIdle(b *testing.B) {
	w := newWorld(b)
	const n = 10
	var all []*Shim
	for range n {
		s, cfg := w.launch("echo hello; sleep 600", nil)
		w.run(s, cfg)
		all = append(all, s)
	}
	time.Sleep(tidyAfter + 500*time.Millisecond)
	var sum [3]int
	for _, s := range all {
		for i, name := range []string{"Pss:", "Pss_Anon:", "Pss_File:"} {
			sum[i] += memory(b, s.process.Pid, name)
		}
	}
	for i, name := range []string{"pss-kB", "anon-kB", "file-kB"} {
		b.ReportMetric(float64(sum[i])/n, name)
	}
}

func memory(b *testing.B, pid int, name string) int {
	text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "smaps_rollup"))
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), name)
	n, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		b.Fatal(err)
	}
	return n
}
