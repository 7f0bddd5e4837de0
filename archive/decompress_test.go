package archive

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/containerd/errdefs"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

func gzipped(t testing.TB, s string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	io.WriteString(w, s)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func zstandard(t testing.TB, s string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	return string(w.EncodeAll([]byte(s), nil))
}

func TestDecompress(t *testing.T) {
	text := strings.Repeat("some content ", 10000)
	var x bytes.Buffer
	w, err := xz.NewWriter(&x)
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, text)
	w.Close()
	skippable := "\x50\x2a\x4d\x18\x04\x00\x00\x00skip"
	bzip2 := "\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x1d\x5e\x59\xd5\x00\x00\x00\xc1\x00\x00\x10\x00\x60\x20\x00\x21\x98\x19\x84\x61\x77\x24\x53\x85\x09\x01\xd5\xe5\x9d\x50"
	tests := map[string][2]string{
		"plain": {text, text}, "empty": {"", ""}, "short": {"ab", "ab"},
		"gzip": {gzipped(t, text), text}, "gzip members": {gzipped(t, text) + gzipped(t, "") + gzipped(t, "more"), text + "more"},
		"gzip and zeros": {gzipped(t, text) + strings.Repeat("\x00", 5000), text},
		"zstd":           {zstandard(t, text), text}, "zstd frames": {skippable + zstandard(t, text) + skippable + zstandard(t, "more"), text + "more"},
		"xz": {x.String(), text}, "bzip2": {bzip2, "hi\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r, err := Decompress(iotest.HalfReader(strings.NewReader(tt[0])))
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			got, err := io.ReadAll(r)
			if err != nil || string(got) != tt[1] {
				t.Errorf("%d bytes, want %d: %v", len(got), len(tt[1]), err)
			}
		})
	}
}

func TestDecompressFaults(t *testing.T) {
	text := strings.Repeat("some content ", 10000)
	lost := errors.New("connection lost")
	kinds := map[string]func(error) bool{
		"cut":     func(err error) bool { return errors.Is(err, io.ErrUnexpectedEOF) },
		"garbage": errdefs.IsInvalidArgument,
		"lost":    func(err error) bool { return err == lost },
	}
	for name, whole := range map[string]string{"gzip": gzipped(t, text), "zstd": zstandard(t, text)} {
		broken := []byte(whole)
		broken[len(broken)-3] ^= 0xff
		for fault, r := range map[string]io.Reader{
			"cut":     strings.NewReader(whole[:len(whole)-5]),
			"garbage": bytes.NewReader(broken),
			"lost":    io.MultiReader(strings.NewReader(whole[:30]), iotest.ErrReader(lost)),
		} {
			d, err := Decompress(r)
			if err == nil {
				_, err = io.Copy(io.Discard, d)
				d.Close()
			}
			if !kinds[fault](err) {
				t.Errorf("%s %s: %v", name, fault, err)
			}
		}
	}
	for _, head := range []string{"\x1f\x8b", "\xfd7zXZ\x00", gzipped(t, "x") + "garbage"} {
		d, err := Decompress(strings.NewReader(head))
		if err == nil {
			_, err = io.Copy(io.Discard, d)
		}
		if err == nil {
			t.Errorf("%q was taken", head)
		}
	}
}

func TestReadAhead(t *testing.T) {
	text := strings.Repeat("0123456789", 1<<20)
	r := ReadAhead(iotest.DataErrReader(strings.NewReader(text)))
	if got, err := io.ReadAll(r); err != nil || string(got) != text {
		t.Errorf("%d bytes: %v", len(got), err)
	}
	if _, err := r.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("after the end: %v", err)
	}
	r.Close()
	r.Close()
	lost := errors.New("connection lost")
	r = ReadAhead(io.MultiReader(strings.NewReader("abc"), iotest.ErrReader(lost)))
	if got, err := io.ReadAll(r); string(got) != "abc" || err != lost {
		t.Errorf("%q %v", got, err)
	}
	r.Close()
	r = ReadAhead(strings.NewReader(text)) // closed before all is read
	if _, err := r.Read(make([]byte, 10)); err != nil {
		t.Error(err)
	}
	r.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("read after close")
	}
}

func FuzzDecompress(f *testing.F) {
	f.Add([]byte(gzipped(f, "text") + gzipped(f, "more")))
	f.Add([]byte(zstandard(f, "text")))
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := Decompress(bytes.NewReader(data)); err == nil {
			io.CopyN(io.Discard, r, 1<<20)
			r.Close()
		}
	})
}
