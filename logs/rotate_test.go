package logs

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

func numbers(t *testing.T, s string) []int {
	t.Helper()
	var got []int
	for line := range strings.Lines(s) {
		var n int
		if _, err := fmt.Sscanf(line, "line%d\n", &n); err != nil {
			t.Fatalf("line %q", line)
		}
		got = append(got, n)
	}
	return got
}

// TestFollowAcrossRotation: with enough files a follower sees every line once; with one it may lose some when it is
// slow, but never repeats or reorders.
func TestFollowAcrossRotation(t *testing.T) {
	for _, driver := range both {
		for _, options := range [][]string{
			{"max-size", "1k", "max-file", "1"}, {"max-size", "1k", "max-file", "50", "compress", "false"},
			{"max-size", "2k", "max-file", "50", "compress", "true"},
		} {
			cfg := config(t, driver, options...)
			ended := make(chan struct{})
			var got strings.Builder
			var follower sync.WaitGroup
			follower.Go(func() {
				q := all()
				q.Follow = true
				if err := Read(t.Context(), cfg, q, ended, func(l Line) error {
					got.Write(l.Data)
					return nil
				}); err != nil {
					t.Error(err)
				}
			})
			w := open(t, cfg)
			s := w.Stream(Stdout)
			for i := range 300 {
				fmt.Fprintf(s, "line%d\n", i)
				time.Sleep(time.Millisecond)
			}
			_ = first(s.Close(), w.Close())
			close(ended)
			follower.Wait()
			seen := numbers(t, got.String())
			if !slices.IsSorted(seen) || len(slices.Compact(slices.Clone(seen))) != len(seen) || seen[len(seen)-1] != 299 {
				t.Errorf("%s %v: followed %v", driver, options, seen)
			}
			if options[3] != "1" && len(seen) != 300 {
				t.Errorf("%s %v: followed %d lines of 300", driver, options, len(seen))
			}
		}
	}
}

// TestBurst: a writer far faster than its follower, with files enough to hold everything.
func TestBurst(t *testing.T) {
	for _, driver := range both {
		cfg := config(t, driver, "max-size", "20k", "max-file", "1000", "compress", "false")
		ended := make(chan struct{})
		var got strings.Builder
		var follower sync.WaitGroup
		follower.Go(func() {
			q := all()
			q.Follow = true
			if err := Read(t.Context(), cfg, q, ended, func(l Line) error { got.Write(l.Data); return nil }); err != nil {
				t.Error(err)
			}
		})
		w := open(t, cfg)
		s := w.Stream(Stdout)
		for i := range 20000 {
			fmt.Fprintf(s, "line%d\n", i)
		}
		_ = first(s.Close(), w.Close())
		close(ended)
		follower.Wait()
		seen := numbers(t, got.String())
		if len(seen) != 20000 || !slices.IsSorted(seen) {
			t.Errorf("%s: followed %d lines of 20000", driver, len(seen))
		}
	}
}

func TestFilesAreBounded(t *testing.T) {
	for _, driver := range both {
		for _, compress := range []string{"false", "true"} {
			cfg := config(t, driver, "max-size", "1k", "max-file", "3", "compress", compress)
			w := open(t, cfg)
			s := w.Stream(Stdout)
			for i := range 300 {
				fmt.Fprintf(s, "line%d\n", i)
			}
			_ = first(s.Close(), w.Close())
			entries, _ := os.ReadDir(filepath.Dir(cfg.Path))
			if len(entries) != 3 {
				t.Errorf("%s: files %v", driver, entries)
			}
			for _, e := range entries {
				if info, _ := e.Info(); info.Size() > 1000 {
					t.Errorf("%s: %s has %d bytes", driver, e.Name(), info.Size())
				}
			}
			kept := numbers(t, text(lines(t, cfg, all())))
			for i, n := range kept {
				if n != kept[0]+i {
					t.Fatalf("%s: a gap in %v", driver, kept)
				}
			}
			if kept[len(kept)-1] != 299 {
				t.Errorf("%s: ends with %d", driver, kept[len(kept)-1])
			}
			q := all()
			q.Tail = len(kept) - 2 // across all files
			if got := numbers(t, text(lines(t, cfg, q))); !slices.Equal(got, kept[2:]) {
				t.Errorf("%s compress=%s: tail %d gives %v, want %v", driver, compress, q.Tail, got, kept[2:])
			}
		}
	}
}

// TestTailEqualsEnd compares the tail with the end of everything, for logs of all shapes.
func TestTailEqualsEnd(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 40 {
		for _, driver := range both {
			cfg := config(t, driver, "max-size", "200k", "max-file", "9", "compress", fmt.Sprint(round%2 == 0))
			w := open(t, cfg)
			streams := []interface{ Write([]byte) (int, error) }{w.Stream(Stdout), w.Stream(Stderr)}
			for range random.IntN(60) {
				n := random.IntN(100)
				if random.IntN(12) == 0 {
					n = random.IntN(maxLine + maxLine/2)
				}
				fmt.Fprintf(streams[random.IntN(2)], "%s\n", strings.Repeat("z", n))
			}
			_ = w.Close()
			every := lines(t, cfg, all())
			total := 0
			for _, l := range every {
				if !l.Partial {
					total++
				}
			}
			for _, tail := range []int{1, 2, total - 1, total, total + 5} {
				if tail < 1 {
					continue
				}
				q := all()
				q.Tail = tail
				got := lines(t, cfg, q)
				ends := 0
				for _, l := range got {
					if !l.Partial {
						ends++
					}
				}
				if ends != min(tail, total) || len(got) > len(every) {
					t.Fatalf("%s round %d: tail %d of %d gives %d", driver, round, tail, total, ends)
				}
				if len(got) > 0 && got[0].Continued && !every[0].Continued {
					t.Fatalf("%s round %d: tail %d begins inside a line", driver, round, tail)
				}
			}
		}
	}
}

func TestFollowUntilAndSince(t *testing.T) {
	cfg := config(t, JSONFile)
	w := open(t, cfg)
	s := w.Stream(Stdout)
	fmt.Fprint(s, "early\n")
	begin := time.Now()
	q := all()
	q.Follow, q.Until = true, begin.Add(300*time.Millisecond)
	if got := text(lines(t, cfg, q)); got != "early\n" {
		t.Errorf("until: %q", got)
	}
	if took := time.Since(begin); took < 250*time.Millisecond || took > 20*time.Second {
		t.Errorf("follow until returned after %s", took)
	}
	ended := make(chan struct{})
	q = all()
	since := time.Now().Add(time.Second)
	q.Follow, q.Since = true, since
	go func() {
		fmt.Fprint(s, "too early\n")
		time.Sleep(time.Until(since) + 50*time.Millisecond)
		fmt.Fprint(s, "now\n")
		close(ended)
	}()
	var got string
	if err := Read(t.Context(), cfg, q, ended, func(l Line) error { got += string(l.Data); return nil }); err != nil {
		t.Fatal(err)
	}
	if got != "now\n" {
		t.Errorf("since: %q", got)
	}
}

// TestFollowBeforeTheFirstLine: a log that does not exist yet is waited for.
func TestFollowBeforeTheFirstLine(t *testing.T) {
	cfg := config(t, Local)
	ended := make(chan struct{})
	go func() {
		time.Sleep(50 * time.Millisecond)
		w, err := NewWriter(cfg)
		if err == nil {
			s := w.Stream(Stdout)
			fmt.Fprint(s, "hello\n")
			_ = first(s.Close(), w.Close())
		}
		close(ended)
	}()
	q := all()
	q.Follow, q.Tail = true, 0
	var got string
	if err := Read(t.Context(), cfg, q, ended, func(l Line) error { got += string(l.Data); return nil }); err != nil {
		t.Fatal(err)
	}
	if got != "hello\n" {
		t.Errorf("followed %q", got)
	}
}
