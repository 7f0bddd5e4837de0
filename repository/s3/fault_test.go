package s3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"

	"github.com/cove-containers/cove/repository"
	"github.com/cove-containers/cove/repository/contract"
	"github.com/cove-containers/cove/testkit"
)

// flaky is a store behind a proxy that spoils calls.
func flaky(t *testing.T, share float64, seed uint64) (*Store, *testkit.Flaky, Config) {
	t.Helper()
	direct := config(t)
	f, err := testkit.NewFlaky(direct.Endpoint, 0, seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	c := direct
	c.Endpoint = f.URL
	s := open(t, c)
	f.Spoil(share)
	return s, f, direct
}

// TestContractWithFaults: while a fifth of the calls fails, nothing of it is seen from outside.
func TestContractWithFaults(t *testing.T) {
	t.Parallel()
	contract.Test(t, func(t *testing.T) repository.Storage {
		s, f, _ := flaky(t, 0.2, 7)
		t.Cleanup(func() {
			if calls, faults := f.Faults(); calls > 20 && len(faults) == 0 {
				t.Errorf("of %d calls none was spoiled", calls)
			}
		})
		return s
	})
}

// TestHalfOfTheCallsFail: each deed ends well or with an error that has a kind, and afterwards, seen without the faults, every object is exactly
// one of those that somebody meant to write.
func TestHalfOfTheCallsFail(t *testing.T) {
	t.Parallel()
	s, f, direct := flaky(t, 0.5, 11)
	var wait sync.WaitGroup
	var well, failed atomic.Int32
	outcome := func(what string, err error) bool {
		if err == nil {
			well.Add(1)
			return true
		}
		failed.Add(1)
		if !errdefs.IsUnavailable(err) && !errdefs.IsInternal(err) {
			t.Errorf("%s: an error without a kind: %v", what, err)
		}
		return false
	}
	meant := func(key string, round int) []byte {
		n := []int{0, 100, 70 << 10, 9 << 20}[(len(key)+round)%4]
		return contract.Bytes(uint64(len(key)*100+round), n)
	}
	last := map[string]int{} // the round whose put was confirmed last; -1 none
	var mu sync.Mutex
	for worker := range 4 {
		wait.Go(func() {
			key := "k" + strings.Repeat("x", worker)
			confirmed := -1
			for round := range 8 {
				data := meant(key, round)
				if outcome("put", s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data)))) {
					confirmed = round
				} else {
					confirmed = -1 // this or the one before, nobody knows
				}
				got, err := contract.Get(t.Context(), s, key)
				if errdefs.IsNotFound(err) && confirmed == -1 {
					continue
				}
				if outcome("read", err) && confirmed == round && !bytes.Equal(got, data) {
					t.Errorf("%s round %d: put %d bytes, read %d others", key, round, len(data), len(got))
				}
			}
			to := key + "-all"
			outcome("assemble", s.Assemble(t.Context(), []string{key, key}, to))
			mu.Lock()
			last[key] = confirmed
			mu.Unlock()
		})
	}
	wait.Wait()
	calls, faults := f.Faults()
	t.Logf("%d deeds well, %d failed; %d calls, spoiled %v", well.Load(), failed.Load(), calls, faults)
	if len(faults) < 6 || well.Load() == 0 {
		t.Errorf("not every fault was played: %v", faults)
	}
	clean := open(t, direct)
	for key, confirmed := range last {
		got, err := contract.Get(t.Context(), clean, key)
		if err != nil {
			if confirmed >= 0 || !errdefs.IsNotFound(err) {
				t.Errorf("%s: %v", key, err)
			}
			continue
		}
		ok := false
		for round := range 8 {
			ok = ok || (confirmed < 0 || confirmed == round) && bytes.Equal(got, meant(key, round))
		}
		if !ok {
			t.Errorf("%s holds %d bytes (%.8x) that nobody meant, or not those confirmed last (round %d)", key, len(got), sha256.Sum256(got), confirmed)
		}
		all, err := contract.Get(t.Context(), clean, key+"-all")
		if err == nil && !bytes.Equal(all, append(bytes.Clone(got), got...)) || err != nil && !errdefs.IsNotFound(err) {
			t.Errorf("%s assembled has %d bytes, %v", key, len(all), err)
		}
	}
	// What answers that were lost have left behind is found and aborted.
	if _, err := clean.Expire(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if n := len(uploads(t, clean)); n != 0 {
		t.Errorf("%d multipart uploads are left", n)
	}
}

func uploads(t *testing.T, s *Store) []minio.ObjectMultipartInfo {
	t.Helper()
	page, err := s.core.ListMultipartUploads(t.Context(), s.bucket, s.prefix, "", "", "", 1000)
	if err != nil {
		t.Fatal(err)
	}
	return page.Uploads
}

// TestReadGoesOn: every answer is cut, and the reader still gives all of it, in order.
func TestReadGoesOn(t *testing.T) {
	c := config(t)
	data := contract.Bytes(5, 3<<20)
	contract.Put(t, open(t, c), "k", data)
	var gets atomic.Int32
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil && r.Method == http.MethodGet && resp.StatusCode < 300 {
			gets.Add(1)
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(resp.Body, 300<<10), broken{}), resp.Body}
		}
		return resp, err
	})
	s := open(t, c)
	got, err := contract.Get(t.Context(), s, "k")
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("read %d of %d bytes, %v", len(got), len(data), err)
	}
	if n := gets.Load(); n != 11 {
		t.Errorf("%d calls for ten cuts", n)
	}
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

// TestReplacedWhileRead: the reader whose connection breaks after the object was written anew ends with an error, not with the new bytes.
func TestReplacedWhileRead(t *testing.T) {
	c := config(t)
	one, two := contract.Bytes(1, 1<<20), contract.Bytes(2, 1<<20)
	contract.Put(t, open(t, c), "k", one)
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil && r.Method == http.MethodGet && resp.StatusCode < 300 {
			resp.Body = struct {
				io.Reader
				io.Closer
			}{io.MultiReader(io.LimitReader(resp.Body, 300<<10), broken{}), resp.Body}
		}
		return resp, err
	})
	s := open(t, c)
	r, _, err := s.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	contract.Put(t, s, "k", two)
	rest, err := io.ReadAll(r)
	if err == nil || !strings.Contains(err.Error(), "written anew") {
		t.Errorf("read on: %v", err)
	}
	if got := append(head, rest...); !bytes.Equal(got, one[:len(got)]) {
		t.Error("what came before the error is not of the old object")
	}
}

// TestCompletedButNotHeard: the answer to the completion is lost, and when asked again the store knows of no such upload. The object is
// there all the same, and the put says so.
func TestCompletedButNotHeard(t *testing.T) {
	c := config(t)
	var completions atomic.Int32
	c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
		if r.Method != http.MethodPost || !r.URL.Query().Has("uploadId") {
			return http.DefaultTransport.RoundTrip(r)
		}
		if completions.Add(1) > 1 {
			w := httptest.NewRecorder()
			w.WriteHeader(http.StatusNotFound)
			io.WriteString(w, "<Error><Code>NoSuchUpload</Code><Message>no such upload</Message></Error>")
			return w.Result(), nil
		}
		if resp, err := http.DefaultTransport.RoundTrip(r); err == nil {
			resp.Body.Close()
		}
		return nil, errors.New("connection reset")
	})
	s := open(t, c)
	data := contract.Bytes(1, 9<<20)
	contract.Put(t, s, "k", data)
	contract.Holds(t, s, "k", data)
	if n := completions.Load(); n != 2 {
		t.Errorf("completed %d times", n)
	}
	// The object that is there now is not taken for one that was never completed, though it has the same size.
	if err := s.Put(t.Context(), "k", bytes.NewReader(contract.Bytes(2, 9<<20)), 9<<20); err == nil {
		t.Error("an upload that nobody completed counts as complete")
	}
	contract.Holds(t, s, "k", data)
	if n := len(uploads(t, s)); n != 0 {
		t.Errorf("%d multipart uploads are left", n)
	}
}

// TestStoreThatCannotCopy: the bytes go through the registry then, also where the store only pretends.
func TestStoreThatCannotCopy(t *testing.T) {
	for name, spoil := range map[string]func() *http.Response{
		"refuses": func() *http.Response {
			w := httptest.NewRecorder()
			w.WriteHeader(http.StatusNotImplemented)
			io.WriteString(w, "<Error><Code>NotImplemented</Code><Message>no copies</Message></Error>")
			return w.Result()
		},
		"pretends": func() *http.Response {
			w := httptest.NewRecorder()
			io.WriteString(w, "<CopyPartResult><ETag>d41d8cd98f00b204e9800998ecf8427e</ETag></CopyPartResult>")
			return w.Result()
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(t)
			var copies atomic.Int32
			c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
				if r.Header.Get("X-Amz-Copy-Source") != "" {
					copies.Add(1)
					return spoil(), nil
				}
				return http.DefaultTransport.RoundTrip(r)
			})
			s := open(t, c)
			a, b := contract.Bytes(1, 6<<20), contract.Bytes(2, 7<<20)
			contract.Put(t, s, "one", a)
			if err := s.Assemble(t.Context(), []string{"one"}, "copy"); err != nil {
				t.Fatal(err)
			}
			contract.Holds(t, s, "copy", a)
			contract.Put(t, s, "a", a)
			contract.Put(t, s, "b", b)
			if err := s.Assemble(t.Context(), []string{"a", "b"}, "c"); err != nil {
				t.Fatal(err)
			}
			contract.Holds(t, s, "c", append(a, b...))
			if copies.Load() == 0 {
				t.Error("no copy was tried")
			}
			if n := len(uploads(t, s)); n != 0 {
				t.Errorf("%d multipart uploads are left", n)
			}
		})
	}
}

// TestClocksDiffer: objects are as old as they are, whatever the store's clock says.
func TestClocksDiffer(t *testing.T) {
	for _, by := range []time.Duration{time.Hour, -3 * time.Hour} {
		c := config(t)
		c.Transport = roundTrip(func(r *http.Request) (*http.Response, error) {
			resp, err := http.DefaultTransport.RoundTrip(r)
			if err != nil {
				return resp, err
			}
			for _, header := range []string{"Date", "Last-Modified"} {
				if at, err := http.ParseTime(resp.Header.Get(header)); err == nil {
					resp.Header.Set(header, at.Add(by).Format(http.TimeFormat))
				}
			}
			return resp, nil
		})
		s := open(t, c)
		contract.Put(t, s, "k", []byte("x"))
		o, err := s.Stat(t.Context(), "k")
		if age := time.Since(o.Modified); err != nil || age.Abs() > 3*time.Second {
			t.Errorf("by a clock that is %v ahead, what was just written is %v old, %v", by, age, err)
		}
		r, o, err := s.Open(t.Context(), "k", 0)
		if err != nil {
			t.Fatal(err)
		}
		r.Close()
		if age := time.Since(o.Modified); age.Abs() > 3*time.Second {
			t.Errorf("opened, it is %v old", age)
		}
	}
}

// TestExpire aborts what is old and leaves what is at work.
func TestExpire(t *testing.T) {
	c := config(t)
	c.Prefix = "p"
	s := open(t, c)
	for i := range 3 {
		if _, err := s.begin(t.Context(), fmt.Sprintf("k/%d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if n, err := s.Expire(t.Context(), time.Now().Add(-time.Hour)); n != 0 || err != nil {
		t.Errorf("before an hour ago: %d, %v", n, err)
	}
	c.Prefix = "other"
	if n, err := open(t, c).Expire(t.Context(), time.Now().Add(time.Hour)); n != 0 || err != nil {
		t.Errorf("of another prefix: %d, %v", n, err)
	}
	if n, err := s.Expire(t.Context(), time.Now().Add(time.Hour)); n != 3 || err != nil {
		t.Errorf("expired %d, %v; want 3", n, err)
	}
	if n := len(uploads(t, s)); n != 0 {
		t.Errorf("%d left", n)
	}
}

// TestBrokenPutLeavesNoUpload: neither does a caller who goes away.
func TestBrokenPutLeavesNoUpload(t *testing.T) {
	s := open(t, config(t))
	ctx, stop := context.WithCancel(t.Context())
	r := io.MultiReader(bytes.NewReader(contract.Bytes(1, 20<<20)), calls(stop), bytes.NewReader(contract.Bytes(1, 20<<20)))
	if err := s.Put(ctx, "k", r, -1); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if n := len(uploads(t, s)); n != 0 {
		t.Errorf("%d multipart uploads are left", n)
	}
	contract.Missing(t, s, "k")
}

// calls is an empty reader that does something.
type calls func()

func (c calls) Read([]byte) (int, error) { c(); return 0, io.EOF }

// TestMemory: an object of any size passes through a few parts, is copied in several, and comes back as it was.
func TestMemory(t *testing.T) {
	s := open(t, config(t))
	const size = 400 << 20
	peak := uint64(0)
	watch := func() {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		peak = max(peak, m.HeapAlloc)
	}
	runtime.GC()
	if err := s.Put(t.Context(), "k", &counting{size: size, every: watch}, -1); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d MiB stored, at most %d MiB in memory", size>>20, peak>>20)
	if peak > 128<<20 {
		t.Errorf("%d MiB in memory", peak>>20)
	}
	if err := s.Assemble(t.Context(), []string{"k"}, "copy"); err != nil {
		t.Fatal(err)
	}
	r, o, err := s.Open(t.Context(), "copy", 0)
	if err != nil || o.Size != size {
		t.Fatalf("%+v, %v", o, err)
	}
	defer r.Close()
	want, got := make([]byte, 1<<20), make([]byte, 1<<20)
	source := &counting{size: size, every: func() {}}
	for i := range size >> 20 {
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(source, want); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("the copy differs in MiB %d", i)
		}
	}
}

// counting is a source whose every eight bytes tell where they are.
type counting struct {
	at, size int64
	every    func() // every few megabytes
}

func (c *counting) Read(p []byte) (int, error) {
	if c.at == c.size {
		return 0, io.EOF
	}
	n := 0
	for ; n+8 <= len(p) && c.at < c.size; n += 8 {
		binary.LittleEndian.PutUint64(p[n:], uint64(c.at))
		if c.at += 8; c.at%(4<<20) == 0 {
			c.every()
		}
	}
	return n, nil
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	good := config(t)
	for name, c := range map[string]struct {
		change func(*Config)
		is     func(error) bool
		want   string
	}{
		"no bucket":       {func(c *Config) { c.Bucket = "" }, errdefs.IsInvalidArgument, "needs the name of a bucket"},
		"unknown bucket":  {func(c *Config) { c.Bucket = "nosuchbucket" }, errdefs.IsNotFound, `bucket "nosuchbucket"`},
		"wrong secret":    {func(c *Config) { c.SecretKey = "x" }, errdefs.IsInternal, "Access Denied"},
		"endpoint's form": {func(c *Config) { c.Endpoint = "ftp://x" }, errdefs.IsInvalidArgument, "https://HOST"},
		"nobody there":    {func(c *Config) { c.Endpoint = "http://127.0.0.1:1" }, errdefs.IsUnavailable, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			bad := good
			c.change(&bad)
			if _, err := Open(t.Context(), bad); !c.is(err) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("open: %v", err)
			}
		})
	}
}
