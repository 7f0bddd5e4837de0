package logs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// fuzzReading gives a file of any content to every way of reading: none may fail or run on, and a writer must be able to
// continue the file.
func fuzzReading(f *testing.F, driver string) {
	f.Fuzz(func(t *testing.T, content []byte) {
		cfg := Config{Driver: driver, Path: filepath.Join(t.TempDir(), "log")}
		if err := os.WriteFile(cfg.Path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		before := len(lines(t, cfg, all()))
		for _, tail := range []int{1, 3} {
			q := all()
			q.Tail = tail
			ends := 0
			for _, l := range lines(t, cfg, q) {
				if !l.Partial {
					ends++
				}
			}
			if ends > tail {
				t.Errorf("tail %d gives %d lines", tail, ends)
			}
		}
		say(t, cfg, Stdout, "after\n")
		got := lines(t, cfg, all())
		if len(got) < min(before, 1) {
			t.Errorf("%d lines before, %d after one more", before, len(got))
		}
	})
}

func FuzzReadJSON(f *testing.F) {
	f.Add([]byte(`{"log":"a\n","stream":"stdout","time":"2024-01-02T03:04:05.6Z"}` + "\n"))
	f.Add([]byte(`{"log":"a","stream":"stderr","attrs":{"a":"b"},"time":"2024-01-02T03:04:05.6Z"}` + "\n{"))
	fuzzReading(f, JSONFile)
}

func FuzzReadLocal(f *testing.F) {
	f.Add(appendFrame(appendFrame(nil, markDetails, 0, []byte(`{"a":"b"}`)), markStderr|markPartial, 5, []byte("x")))
	f.Add(appendFrame(nil, 0, 1, []byte("y\n"))[:9])
	fuzzReading(f, Local)
}

// FuzzJSONRoundTrip: valid text comes back as it was, the rest with U+FFFD for each bad byte.
func FuzzJSONRoundTrip(f *testing.F) {
	f.Add([]byte("a\xff\u2028\\\"\r\t"), uint32(3))
	f.Fuzz(func(t *testing.T, data []byte, stamp uint32) {
		format := newJSONFormat(nil)
		in := Line{Source: Stderr, Data: append(bytes.Clone(data), '\n'), Time: time.Unix(int64(stamp), int64(stamp))}
		var out Line
		record := format.encode(nil, &in)
		size, err := format.decode(record, &out)
		if err != nil || size != len(record) {
			t.Fatalf("%q: %d of %d, %v", record, size, len(record), err)
		}
		var want strings.Builder
		for len(data) > 0 {
			r, n := utf8.DecodeRune(data)
			want.WriteRune(r)
			data = data[n:]
		}
		if string(out.Data) != want.String()+"\n" || !out.Time.Equal(in.Time) || out.Source != Stderr {
			t.Errorf("%q became %q", in.Data, out.Data)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	for _, driver := range both {
		for _, width := range []int{20, 100, 1000} {
			b.Run(fmt.Sprint(driver, "/", width), func(b *testing.B) {
				w := open(b, config(b, driver, "compress", "false", "max-size", "20m", "max-file", "2"))
				s := w.Stream(Stdout)
				chunk := []byte(strings.Repeat(strings.Repeat("x", width-1)+"\n", 32<<10/width))
				b.SetBytes(int64(len(chunk)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := s.Write(chunk); err != nil {
						b.Fatal(err)
					}
				}
				_ = first(s.Close(), w.Close())
			})
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, driver := range both {
		cfg := config(b, driver, "max-size", "-1")
		say(b, cfg, Stdout, strings.Repeat(strings.Repeat("x", 99)+"\n", 100000))
		b.Run(driver+"/all", func(b *testing.B) {
			b.SetBytes(100 * 100000)
			for b.Loop() {
				_ = Read(b.Context(), cfg, all(), nil, func(Line) error { return nil })
			}
		})
		b.Run(driver+"/tail", func(b *testing.B) {
			q := all()
			q.Tail = 10
			for b.Loop() {
				_ = Read(b.Context(), cfg, q, nil, func(Line) error { return nil })
			}
		})
	}
}
