package terminal

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

func TestDetach(t *testing.T) {
	for _, c := range []struct {
		typed, passed string
		detached      bool
	}{
		{"hello", "hello", false},
		{"a\x10\x11b", "a", true},
		{"a\x10b\x11", "a\x10b\x11", false},
		{"\x10\x10\x11", "\x10", true},
		{"\x10", "\x10", false},
		{"x\x10\x10", "x\x10\x10", false},
	} {
		for name, in := range map[string]io.Reader{
			"whole": bytes.NewReader([]byte(c.typed)), "byte by byte": iotest.OneByteReader(bytes.NewReader([]byte(c.typed))),
		} {
			got, err := io.ReadAll(Detach(in, []byte{16, 17}))
			if string(got) != c.passed || errors.Is(err, ErrDetached) != c.detached {
				t.Errorf("%q %s: got %q, %v", c.typed, name, got, err)
			}
		}
	}
}

func TestKeys(t *testing.T) {
	for names, want := range map[string]string{"ctrl-p,ctrl-q": "\x10\x11", "a": "a", "ctrl-@,ctrl-[,ctrl-_": "\x00\x1b\x1f", "DEL": "\x7f", "ctrl-A": "\x01"} {
		if got, err := Keys(names); err != nil || string(got) != want {
			t.Errorf("%s: got %q, %v", names, got, err)
		}
	}
	for _, names := range []string{"foo", "ctrl-", "ctrl-1", ""} {
		if got, err := Keys(names); err == nil {
			t.Errorf("%s: got %q", names, got)
		}
	}
}

func TestNoTerminal(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	restore, err := Raw(f, f)
	if err != nil {
		t.Fatal(err)
	}
	restore()
	if h, w := Size(f); Is(f) || h != 0 || w != 0 {
		t.Errorf("terminal %v, size %d %d", Is(f), h, w)
	}
}

func FuzzDetach(f *testing.F) {
	f.Add([]byte("a\x10\x11"), []byte("\x10\x11"))
	f.Add([]byte("aab"), []byte("aab"))
	f.Fuzz(func(t *testing.T, typed, keys []byte) {
		passed, err := io.ReadAll(Detach(iotest.HalfReader(bytes.NewReader(typed)), keys))
		if err == nil && !bytes.Equal(passed, typed) {
			t.Errorf("typed %q, keys %q: passed %q", typed, keys, passed)
		}
		if err != nil && !bytes.HasPrefix(typed, passed) {
			t.Errorf("typed %q, keys %q: passed %q, %v", typed, keys, passed, err)
		}
	})
}
