// Package contract is what every repository.Storage is tested with.
package contract

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/repository"
)

// Test runs the suite. open returns an empty storage; each part asks for one of its own.
func Test(t *testing.T, open func(t *testing.T) repository.Storage) {
	for _, part := range []struct {
		name string
		test func(*testing.T, repository.Storage)
	}{
		{"objects", objects}, {"absent", absent}, {"offsets", offsets}, {"sizes", sizes}, {"broken source", broken},
		{"replace", replace}, {"list", list}, {"order", order}, {"delete", deletes}, {"assemble", assemble}, {"one key, many writers", writers},
		{"cancelled", cancelled},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, open(t)) })
	}
}

// Bytes are n bytes that a seed decides.
func Bytes(seed uint64, n int) []byte {
	out := make([]byte, n)
	source := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16)})
	source.Read(out)
	return out
}

// Put stores data or ends the test.
func Put(t *testing.T, s repository.Storage, key string, data []byte) {
	t.Helper()
	if err := s.Put(t.Context(), key, bytes.NewReader(data), int64(len(data))); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

// Get reads a whole object.
func Get(ctx context.Context, s repository.Storage, key string) ([]byte, error) {
	r, o, err := s.Open(ctx, key, 0)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := io.ReadAll(r)
	if err == nil && int64(len(data)) != o.Size {
		err = fmt.Errorf("%s ended after %d of %d bytes", key, len(data), o.Size)
	}
	return data, err
}

// Holds demands that an object has exactly these bytes, by Open and by Stat.
func Holds(t *testing.T, s repository.Storage, key string, want []byte) {
	t.Helper()
	got, err := Get(t.Context(), s, key)
	if err != nil {
		t.Errorf("read %s: %v", key, err)
		return
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s has %d bytes (sha256 %.8x), put were %d (%.8x)", key, len(got), sha256.Sum256(got), len(want), sha256.Sum256(want))
	}
	o, err := s.Stat(t.Context(), key)
	if err != nil || o.Size != int64(len(want)) || o.Key != key {
		t.Errorf("stat %s: %+v, %v; want %d bytes", key, o, err, len(want))
	}
}

// Missing demands that there is no such object.
func Missing(t *testing.T, s repository.Storage, key string) {
	t.Helper()
	if o, err := s.Stat(t.Context(), key); !errdefs.IsNotFound(err) {
		t.Errorf("stat %s: %+v, %v; want not found", key, o, err)
	}
	r, _, err := s.Open(t.Context(), key, 0)
	if !errdefs.IsNotFound(err) {
		t.Errorf("open %s: %v; want not found", key, err)
	}
	if err == nil {
		r.Close()
	}
}

func objects(t *testing.T, s repository.Storage) {
	before := time.Now()
	for i, n := range []int{0, 1, 1000, 64 << 10, 5<<20 - 1, 5 << 20, 8 << 20, 8<<20 + 1, 20 << 20} {
		key := fmt.Sprintf("blobs/sha256/%d", n)
		data := Bytes(uint64(i), n)
		size := int64(n)
		if i%2 == 1 {
			size = -1
		}
		if err := s.Put(t.Context(), key, io.MultiReader(bytes.NewReader(data)), size); err != nil {
			t.Fatalf("put %s, told %d: %v", key, size, err)
		}
		Holds(t, s, key, data)
		o, _ := s.Stat(t.Context(), key)
		if d := o.Modified.Sub(before); d < -2*time.Second || d > time.Minute {
			t.Errorf("%s was written at %v, it is %v", key, o.Modified, before)
		}
	}
	odd := "a_b-c+d=e:f@g.h/UPPER/0"
	Put(t, s, odd, []byte("odd"))
	Holds(t, s, odd, []byte("odd"))
}

func absent(t *testing.T, s repository.Storage) {
	Missing(t, s, "a/b")
	Put(t, s, "a/b/c", []byte("x"))
	Missing(t, s, "a/b/d")
	Missing(t, s, "a/b")
	Missing(t, s, "a/b/cc")
	Missing(t, s, "a/b/c/d")
}

func offsets(t *testing.T, s repository.Storage) {
	for _, n := range []int{10, 9 << 20} {
		data := Bytes(7, n)
		Put(t, s, "x/y", data)
		for _, at := range []int{0, 1, n / 2, n - 1, n} {
			r, o, err := s.Open(t.Context(), "x/y", int64(at))
			if err != nil {
				t.Errorf("open %d bytes at %d: %v", n, at, err)
				continue
			}
			got, err := io.ReadAll(r)
			if err != nil || !bytes.Equal(got, data[at:]) || o.Size != int64(n) {
				t.Errorf("%d bytes from %d on: got %d, size %d, %v", n, at, len(got), o.Size, err)
			}
			if err := r.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
		}
		if r, _, err := s.Open(t.Context(), "x/y", int64(n)+1); !errdefs.IsOutOfRange(err) {
			t.Errorf("open %d bytes at %d: %v; want out of range", n, n+1, err)
			if err == nil {
				r.Close()
			}
		}
	}
	// A reader that is closed early leaves nothing broken.
	r, _, err := s.Open(t.Context(), "x/y", 0)
	if err != nil {
		t.Fatal(err)
	}
	io.CopyN(io.Discard, r, 100)
	r.Close()
	Holds(t, s, "x/y", Bytes(7, 9<<20))
}

func sizes(t *testing.T, s repository.Storage) {
	for _, n := range []int{0, 10, 8 << 20, 17 << 20} {
		for _, told := range []int{n - 1, n + 1, n + 9<<20} {
			if told < 0 {
				continue
			}
			err := s.Put(t.Context(), "k/v", bytes.NewReader(Bytes(1, n)), int64(told))
			if !errdefs.IsFailedPrecondition(err) {
				t.Errorf("put of %d bytes, told %d: %v; want failed precondition", n, told, err)
			}
			Missing(t, s, "k/v")
		}
	}
}

var errBroken = errors.New("the source is broken")

func broken(t *testing.T, s repository.Storage) {
	Put(t, s, "k/old", []byte("old"))
	for _, n := range []int{0, 10, 8 << 20, 17 << 20} {
		for _, size := range []int64{-1, 18 << 20} {
			for _, key := range []string{"k/new", "k/old"} {
				r := io.MultiReader(bytes.NewReader(Bytes(1, n)), iotestErr{})
				if err := s.Put(t.Context(), key, r, size); !errors.Is(err, errBroken) {
					t.Errorf("put of a source that breaks after %d bytes: %v", n, err)
				}
			}
		}
	}
	Missing(t, s, "k/new")
	Holds(t, s, "k/old", []byte("old"))
	if got, err := s.List(t.Context(), "", "", 0); err != nil || len(got) != 1 {
		t.Errorf("after broken puts there are %v, %v", got, err)
	}
}

type iotestErr struct{}

func (iotestErr) Read([]byte) (int, error) { return 0, errBroken }

func replace(t *testing.T, s repository.Storage) {
	for i, n := range []int{10, 3, 9 << 20, 0, 20} {
		Put(t, s, "k", Bytes(uint64(i), n))
		Holds(t, s, "k", Bytes(uint64(i), n))
	}
	// Whoever reads while it is replaced gets one or the other, or an error; never a mixture.
	one, two := Bytes(1, 9<<20), Bytes(2, 9<<20)
	Put(t, s, "k", one)
	r, _, err := s.Open(t.Context(), "k", 0)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head := make([]byte, 1000)
	if _, err := io.ReadFull(r, head); err != nil {
		t.Fatal(err)
	}
	Put(t, s, "k", two)
	rest, err := io.ReadAll(r)
	if err == nil && !bytes.Equal(append(head, rest...), one) {
		t.Errorf("a read across a replacement gave %d bytes that are neither", len(head)+len(rest))
	}
	Holds(t, s, "k", two)
}

func list(t *testing.T, s repository.Storage) {
	var keys []string
	for i := range 25 {
		keys = append(keys, fmt.Sprintf("r/a/%02d", i), fmt.Sprintf("r/ab/%02d", i))
	}
	keys = append(keys, "q/z", "s/z")
	for _, k := range keys {
		Put(t, s, k, []byte(k))
	}
	slices.Sort(keys)
	for _, c := range []struct {
		prefix, after string
		n             int
	}{
		{"", "", 0}, {"", "", -1}, {"", "", 7}, {"r/a/", "", 0}, {"r/a", "", 0}, {"r/a/0", "", 0}, {"r/a/", "r/a/07", 5}, {"r/a/", "r/a/24", 5}, {"r/", "r/a/24", 3},
		{"r/a/", "r/a/07x", 5}, {"none/", "", 0}, {"r/a/", "a", 2}, {"r/a/", "z", 2}, {"r/ab/", "r/a/24", 1000}, {"r/a/00", "", 10},
	} {
		var want []string
		for _, k := range keys {
			if strings.HasPrefix(k, c.prefix) && k > c.after && (c.n <= 0 || len(want) < c.n) {
				want = append(want, k)
			}
		}
		got, err := s.List(t.Context(), c.prefix, c.after, c.n)
		if err != nil {
			t.Errorf("list %+v: %v", c, err)
			continue
		}
		var names []string
		for _, o := range got {
			names = append(names, o.Key)
			if o.Size != int64(len(o.Key)) || time.Since(o.Modified).Abs() > time.Minute {
				t.Errorf("list tells %+v", o)
			}
		}
		if !slices.Equal(names, want) {
			t.Errorf("list %+v:\n got %v\nwant %v", c, names, want)
		}
	}
}

// order: bytes decide, also where a folder's name begins another's and the next letter sorts before the slash.
func order(t *testing.T, s repository.Storage) {
	want := []string{"a+b/x", "a-b/x", "a.b/x", "a/b/x", "a/b:c", "a/bb/x", "a0/x", "a=b/x", "aB/x", "a_b/x", "ab/x", "b"}
	if !slices.IsSorted(want) {
		t.Fatal("the test's own list is not sorted")
	}
	for _, k := range want {
		Put(t, s, k, nil)
	}
	var paged []string
	for after := ""; ; after = paged[len(paged)-1] {
		got, err := s.List(t.Context(), "", after, 2)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range got {
			paged = append(paged, o.Key)
		}
		if len(got) < 2 || len(paged) > len(want) {
			break
		}
	}
	if !slices.Equal(paged, want) {
		t.Errorf("in pages of two:\n got %v\nwant %v", paged, want)
	}
}

func deletes(t *testing.T, s repository.Storage) {
	if err := s.Delete(t.Context()); err != nil {
		t.Errorf("delete nothing: %v", err)
	}
	if err := s.Delete(t.Context(), "no/such"); err != nil {
		t.Errorf("delete what is not there: %v", err)
	}
	var keys []string
	for i := range 1100 {
		keys = append(keys, fmt.Sprintf("many/%04d", i))
	}
	var wait sync.WaitGroup
	for part := range slices.Chunk(keys, 100) {
		wait.Go(func() {
			for _, k := range part {
				if err := s.Put(t.Context(), k, strings.NewReader("x"), 1); err != nil {
					t.Errorf("put %s: %v", k, err)
				}
			}
		})
	}
	wait.Wait()
	if got, err := s.List(t.Context(), "many/", "", 0); err != nil || len(got) != len(keys) {
		t.Fatalf("%d objects put, %d listed, %v", len(keys), len(got), err)
	}
	stays := keys[len(keys)-1]
	if err := s.Delete(t.Context(), append([]string{"no/such"}, keys[:len(keys)-1]...)...); err != nil {
		t.Fatal(err)
	}
	got, err := s.List(t.Context(), "", "", 0)
	if err != nil || len(got) != 1 || got[0].Key != stays {
		t.Errorf("left are %v, %v", got, err)
	}
	Missing(t, s, keys[0])
}

func assemble(t *testing.T, s repository.Storage) {
	const mib = 1 << 20
	for i, c := range [][]int{
		{10}, {0}, {3, 4}, {0, 5, 0}, {9 * mib}, {5 * mib, 5 * mib}, {6 * mib, 1, 6 * mib}, {1, 6 * mib}, {6 * mib, 1}, {2 * mib, 2 * mib, 2 * mib, 2 * mib},
		{5*mib - 1, 5*mib + 1}, {4 * mib, 1 * mib, 4 * mib}, {1, 12 * mib, 3, 4, 5 * mib},
	} {
		var from []string
		var want []byte
		for k, n := range c {
			key := fmt.Sprintf("up/%d/%02d", i, k)
			data := Bytes(uint64(100*i+k), n)
			Put(t, s, key, data)
			from, want = append(from, key), append(want, data...)
		}
		to := fmt.Sprintf("blob/%d", i)
		if err := s.Assemble(t.Context(), from, to); err != nil {
			t.Errorf("assemble %v: %v", c, err)
			continue
		}
		Holds(t, s, to, want)
		for k, n := range c {
			Holds(t, s, from[k], Bytes(uint64(100*i+k), n))
		}
	}
	if err := s.Assemble(t.Context(), []string{"up/0/00", "up/none"}, "blob/none"); !errdefs.IsNotFound(err) {
		t.Errorf("assemble of what is not there: %v; want not found", err)
	}
	Missing(t, s, "blob/none")
	// A source may be used twice, and what is there is replaced.
	if err := s.Assemble(t.Context(), []string{"up/2/00", "up/2/00"}, "blob/2"); err != nil {
		t.Error(err)
	}
	Holds(t, s, "blob/2", append(Bytes(200, 3), Bytes(200, 3)...))
	if err := s.Assemble(t.Context(), nil, "blob/empty"); err != nil {
		t.Errorf("assemble of nothing: %v", err)
	}
	Holds(t, s, "blob/empty", nil)
}

// writers: many write one key at once; it always holds one of theirs, whole.
func writers(t *testing.T, s repository.Storage) {
	Put(t, s, "tag", Bytes(0, 100))
	sums := map[[32]byte]bool{}
	for i := range 8 {
		sums[sha256.Sum256(Bytes(uint64(i), 100+i*1000))] = true
	}
	var write, read sync.WaitGroup
	done := make(chan struct{})
	read.Go(func() {
		for {
			data, err := Get(t.Context(), s, "tag")
			// A storage may say that it was replaced; what it gives must be whole.
			if err == nil && !sums[sha256.Sum256(data)] {
				t.Errorf("read %d bytes that nobody wrote", len(data))
			}
			if errdefs.IsNotFound(err) {
				t.Error("while it was replaced it was not there")
			}
			select {
			case <-done:
				return
			default:
			}
		}
	})
	for i := range 8 {
		write.Go(func() {
			data := Bytes(uint64(i), 100+i*1000)
			for range 10 {
				if err := s.Put(t.Context(), "tag", bytes.NewReader(data), int64(len(data))); err != nil {
					t.Errorf("put: %v", err)
				}
			}
		})
	}
	write.Wait()
	close(done)
	read.Wait()
	data, err := Get(t.Context(), s, "tag")
	if err != nil || !sums[sha256.Sum256(data)] {
		t.Errorf("in the end: %d bytes, %v", len(data), err)
	}
}

func cancelled(t *testing.T, s repository.Storage) {
	Put(t, s, "k", Bytes(3, 1000))
	ctx, stop := context.WithCancel(t.Context())
	stop()
	for name, err := range map[string]error{
		"put":      s.Put(ctx, "new", bytes.NewReader(Bytes(1, 9<<20)), -1),
		"assemble": s.Assemble(ctx, []string{"k", "k"}, "new"),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s, cancelled: %v", name, err)
		}
	}
	Missing(t, s, "new")
	Holds(t, s, "k", Bytes(3, 1000))
}
