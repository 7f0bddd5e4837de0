package archive

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math/rand"
	"testing"
)

// TestCompress reads back with the standard library what was compressed, whatever the pieces it was written in.
func TestCompress(t *testing.T) {
	random := rand.New(rand.NewSource(1))
	content := make([]byte, 3*compressBlock+12345)
	for i := range content {
		content[i] = byte(random.Intn(1 + i%7*30))
	}
	for _, size := range []int{0, 1, compressBlock - 1, compressBlock, compressBlock + 1, len(content)} {
		var first []byte
		for range 2 {
			var out bytes.Buffer
			w := Compress(&out)
			for left := content[:size]; len(left) > 0; {
				n := min(len(left), 1+random.Intn(400_000))
				if _, err := w.Write(left[:n]); err != nil {
					t.Fatal(err)
				}
				left = left[n:]
			}
			if err := errors.Join(w.Close(), w.Close()); err != nil {
				t.Fatal(err)
			}
			r, err := gzip.NewReader(bytes.NewReader(out.Bytes()))
			if err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, content[:size]) {
				t.Errorf("%d bytes became %d: %v", size, len(got), err)
			}
			if first != nil && !bytes.Equal(first, out.Bytes()) {
				t.Errorf("%d bytes: compressed twice, two results", size)
			}
			first = out.Bytes()
		}
	}
}

// full takes so many bytes and no more.
type full struct{ room int }

var errFull = errors.New("full")

func (f *full) Write(p []byte) (int, error) {
	if f.room -= len(p); f.room < 0 {
		return 0, errFull
	}
	return len(p), nil
}

func TestCompressToFullDisk(t *testing.T) {
	content := make([]byte, 100*compressBlock)
	rand.New(rand.NewSource(1)).Read(content[:compressBlock])
	w := Compress(&full{room: 1000})
	_, err := io.Copy(w, bytes.NewReader(content))
	if !errors.Is(err, errFull) {
		t.Errorf("written to a full disk: %v", err)
	}
	if err := w.Close(); !errors.Is(err, errFull) {
		t.Errorf("closed: %v", err)
	}
}

func BenchmarkCompress(b *testing.B) {
	content := make([]byte, 32<<20)
	random := rand.New(rand.NewSource(1))
	for i := range content {
		content[i] = byte(random.Intn(1 + i%7*30))
	}
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		w := Compress(io.Discard)
		w.Write(content)
		w.Close()
	}
}
