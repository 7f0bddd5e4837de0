package logs

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// both are the drivers that keep files.
var both = []string{JSONFile, Local}

func config(t testing.TB, driver string, options ...string) Config {
	t.Helper()
	cfg := Config{Driver: driver, Path: filepath.Join(t.TempDir(), "c-json.log"), Options: map[string]string{}}
	for i := 0; i < len(options); i += 2 {
		cfg.Options[options[i]] = options[i+1]
	}
	return cfg
}

func open(t testing.TB, cfg Config) *Writer {
	t.Helper()
	w, err := NewWriter(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// say writes pieces to one stream of a new writer and closes it, as one run of a container does.
func say(t testing.TB, cfg Config, source string, pieces ...string) {
	t.Helper()
	w := open(t, cfg)
	s := w.Stream(source)
	for _, piece := range pieces {
		if _, err := s.Write([]byte(piece)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func all() Query { return Query{Tail: -1, Stdout: true, Stderr: true} }

func lines(t testing.TB, cfg Config, q Query) []Line {
	t.Helper()
	var got []Line
	err := Read(t.Context(), cfg, q, nil, func(l Line) error {
		l.Data = bytes.Clone(l.Data)
		got = append(got, l)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func text(got []Line) string {
	var out strings.Builder
	for _, l := range got {
		out.Write(l.Data)
	}
	return out.String()
}

func TestRoundTrip(t *testing.T) {
	for _, driver := range both {
		cfg := config(t, driver)
		cfg.Attrs = map[string]string{"app": "shop", "<k>": "\"v\""}
		say(t, cfg, Stdout, "one\ntw", "o\n", "", "three")
		say(t, cfg, Stderr, "<&>\u2028\t\x7f\r\n")
		got := lines(t, cfg, all())
		if text(got) != "one\ntwo\nthree<&>\u2028\t\x7f\r\n" {
			t.Errorf("%s: read %q", driver, text(got))
		}
		for i, l := range got {
			if l.Partial != (i == 2) || l.Continued || l.Attrs["app"] != "shop" || l.Attrs["<k>"] != `"v"` {
				t.Errorf("%s: line %+v", driver, l)
			}
			if i > 0 && !l.Time.After(got[i-1].Time) {
				t.Errorf("%s: time %s is not after %s", driver, l.Time, got[i-1].Time)
			}
		}
		if got[3].Source != Stderr || got[0].Source != Stdout {
			t.Errorf("%s: sources %v", driver, got)
		}
	}
}

func TestJSONFileIsDockersFormat(t *testing.T) {
	cfg := config(t, "")
	cfg.Attrs = map[string]string{"a": "b"}
	say(t, cfg, Stdout, "<x> \"q\" \\ \t\x00\n")
	raw, err := os.ReadFile(cfg.Path)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"log":"\u003cx\u003e \"q\" \\ \u0009\u0000\n","stream":"stdout","attrs":{"a":"b"},"time":"`
	if !strings.HasPrefix(string(raw), want) || !strings.HasSuffix(string(raw), "Z\"}\n") {
		t.Errorf("record is %s", raw)
	}
}

func TestBytesThatAreNotText(t *testing.T) {
	const odd = "\xff\x00\r\n\xe2\x82"
	for driver, want := range map[string]string{JSONFile: "\ufffd\x00\r\n\ufffd\ufffd", Local: odd} {
		cfg := config(t, driver)
		say(t, cfg, Stdout, odd)
		if got := text(lines(t, cfg, all())); got != want {
			t.Errorf("%s: read %q", driver, got)
		}
	}
	cfg := config(t, JSONFile)
	say(t, cfg, Stdout, odd)
	raw, _ := os.ReadFile(cfg.Path)
	for line := range bytes.Lines(raw) {
		if !json.Valid(line) {
			t.Errorf("not JSON: %q", line)
		}
	}
}

func TestLongLines(t *testing.T) {
	for _, driver := range both {
		long := strings.Repeat("a", 40000)
		cfg := config(t, driver)
		say(t, cfg, Stdout, long[:16384], long[16384:], "\nend")
		for tail, want := range map[int]string{-1: long + "\nend", 2: long + "\nend", 1: "end", 0: ""} {
			q := all()
			q.Tail = tail
			if got := text(lines(t, cfg, q)); got != want {
				t.Errorf("%s: tail %d gives %d bytes, want %d", driver, tail, len(got), len(want))
			}
		}
	}
}

// TestEndlessLine: what is longer than memory should hold is kept in pieces that together are one line.
func TestEndlessLine(t *testing.T) {
	for _, driver := range both {
		cfg := config(t, driver)
		long := strings.Repeat("xyé", maxLine) // a character at each border
		w := open(t, cfg)
		out, err := w.Stream(Stdout), w.Stream(Stderr)
		fmt.Fprint(out, "before\n")
		fmt.Fprint(err, "old\n")
		for i := 0; i < len(long); i += 50000 {
			fmt.Fprint(out, long[i:min(i+50000, len(long))])
			if i == 500000 {
				fmt.Fprint(err, "between\n")
			}
		}
		fmt.Fprint(out, "\nlast\n")
		_ = first(out.Close(), err.Close(), w.Close())

		q := all()
		q.Tail = 3
		got := lines(t, cfg, q)
		var stdout, stderr string
		starts := 0
		for _, l := range got {
			if l.Source == Stderr {
				stderr += string(l.Data)
				continue
			}
			stdout += string(l.Data)
			if !l.Continued {
				starts++
			}
		}
		if stdout != long+"\nlast\n" || starts != 2 {
			t.Errorf("%s: %d bytes in %d lines on stdout, want %d in 2", driver, len(stdout), starts, len(long)+6)
		}
		if stderr != "between\n" {
			t.Errorf("%s: stderr %q", driver, stderr)
		}
	}
}

func TestSinceUntil(t *testing.T) {
	for _, driver := range both {
		cfg := config(t, driver)
		say(t, cfg, Stdout, "a\nb\nc\nd\n")
		stamps := lines(t, cfg, all())
		b, c := stamps[1].Time, stamps[2].Time
		for _, test := range []struct {
			since, until time.Time
			tail         int
			want         string
		}{
			{b, time.Time{}, -1, "b\nc\nd\n"}, {time.Time{}, c, -1, "a\nb\nc\n"}, {b, c, -1, "b\nc\n"},
			{b, c, 1, "c\n"}, {b, c, 2, "b\nc\n"}, {b, c, 9, "b\nc\n"}, {time.Time{}, b.Add(-1), 5, "a\n"},
			{stamps[3].Time.Add(1), time.Time{}, -1, ""},
		} {
			q := all()
			q.Since, q.Until, q.Tail = test.since, test.until, test.tail
			if got := text(lines(t, cfg, q)); got != test.want {
				t.Errorf("%s: since %v until %v tail %d: %q, want %q", driver, test.since, test.until, test.tail, got, test.want)
			}
		}
	}
}

func TestStreams(t *testing.T) {
	for _, driver := range both {
		cfg := config(t, driver)
		w := open(t, cfg)
		out, err := w.Stream(Stdout), w.Stream(Stderr)
		for i := range 10 {
			fmt.Fprintf(out, "o%d\n", i)
			fmt.Fprintf(err, "e%d\n", i)
		}
		_ = first(out.Close(), err.Close(), w.Close())
		q := Query{Stderr: true, Tail: 2}
		if got := text(lines(t, cfg, q)); got != "e8\ne9\n" {
			t.Errorf("%s: stderr %q", driver, got)
		}
	}
}

func TestNone(t *testing.T) {
	cfg := Config{Driver: None}
	say(t, cfg, Stdout, "gone\n")
	err := Read(t.Context(), cfg, all(), nil, func(Line) error { return nil })
	if err == nil || err.Error() != "configured logging driver does not support reading" {
		t.Errorf("reading none: %v", err)
	}
}

// TestTorn: a crash leaves half a record; it is neither shown nor in the way of what comes after it.
func TestTorn(t *testing.T) {
	for _, driver := range both {
		cfg := config(t, driver)
		say(t, cfg, Stdout, "one\ntwo\nthree\n")
		whole, err := os.ReadFile(cfg.Path)
		if err != nil {
			t.Fatal(err)
		}
		for cut := 1; cut < 20; cut++ {
			if err := os.WriteFile(cfg.Path, whole[:len(whole)-cut], 0o600); err != nil {
				t.Fatal(err)
			}
			for _, tail := range []int{-1, 2} {
				q := all()
				q.Tail = tail
				if got := text(lines(t, cfg, q)); got != "one\ntwo\n" {
					t.Errorf("%s: cut %d tail %d: %q", driver, cut, tail, got)
				}
			}
			say(t, cfg, Stdout, "four\n")
			if got := text(lines(t, cfg, all())); got != "one\ntwo\nfour\n" {
				t.Errorf("%s: cut %d, continued: %q", driver, cut, got)
			}
		}
	}
}

// TestForeignJSON: files that dockerd or an editor left are read as far as they make sense.
func TestForeignJSON(t *testing.T) {
	cfg := config(t, JSONFile)
	text1 := `{"log":"sur\ud83d\ude00\n","stream":"stdout","time":"2024-01-02T03:04:05.6Z"}` + "\n" +
		"garbage\n\n" + `{"log":"no stream\n"}` + "\n" +
		`{"time":"2024-01-02T03:04:06Z","stream":"stderr","log":"order\/\b\n","attrs":{"k":"v"}}` + "\n"
	if err := os.WriteFile(cfg.Path, []byte(text1), 0o600); err != nil {
		t.Fatal(err)
	}
	got := lines(t, cfg, all())
	if text(got) != "sur😀\norder/\b\n" || got[1].Attrs["k"] != "v" || got[1].Source != Stderr {
		t.Errorf("read %q %+v", text(got), got)
	}
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		driver, name, value, want string
	}{
		{"json-file", "x", "1", "unknown log opt 'x' for json-file log driver"},
		{"", "x", "1", "unknown log opt 'x' for json-file log driver"},
		{"local", "x", "1", "unknown log opt 'x' for log driver local"},
		{"nosuch", "x", "1", "logger: no log driver named 'nosuch' is registered"},
		{"json-file", "mode", "x", "logger: logging mode not supported: x"},
		{"json-file", "max-buffer-size", "1m", "logger: max-buffer-size option is only supported with 'mode=non-blocking'"},
		{"json-file", "max-size", "10m", ""}, {"none", "x", "1", ""}, {"local", "tag", "x", ""},
	} {
		err := ValidateOptions(test.driver, map[string]string{test.name: test.value})
		if got := fmt.Sprint(err); got != test.want && (err != nil || test.want != "") {
			t.Errorf("%s %s=%s: %q", test.driver, test.name, test.value, got)
		}
	}
	for _, test := range []struct{ name, value, want string }{
		{"max-size", "x", "invalid size: 'x'"}, {"max-size", "0", "max-size must be a positive number"},
		{"max-size", "-5", "max-size must be a positive number"}, {"max-size", "NaN", "invalid size: 'NaN'"},
		{"max-file", "0", "max-file cannot be less than 1"},
	} {
		cfg := config(t, JSONFile, test.name, test.value)
		if _, err := NewWriter(cfg); err == nil || err.Error() != test.want {
			t.Errorf("%s=%s: %v", test.name, test.value, err)
		}
	}
	cfg := config(t, JSONFile, "max-size", "1m", "compress", "true")
	if _, err := NewWriter(cfg); err == nil || !strings.Contains(err.Error(), "compress cannot be true") {
		t.Errorf("compress alone: %v", err)
	}
}

func TestDetails(t *testing.T) {
	s := Subject{
		ID: strings.Repeat("ab", 32), Name: "web", ImageName: "busybox",
		Labels: map[string]string{"tier": "front", "other": "x"}, Env: []string{"STAGE=prod", "NO"},
	}
	match := func(pattern, text string) (bool, error) { return strings.HasPrefix(text, pattern), nil }
	options := map[string]string{"labels": "tier, nosuch", "env-regex": "ST", "tag": "{{.Name}}/{{ .ID }}/{{.ImageName}}"}
	got, err := Details(options, s, match)
	want := map[string]string{"tier": "front", "STAGE": "prod", "tag": "web/abababababab/busybox"}
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("details %v, %v", got, err)
	}
	if _, err := Details(map[string]string{"tag": "{{.Nope}}"}, s, match); err == nil {
		t.Error("an unknown field of a tag is taken")
	}
}

func TestEmitStops(t *testing.T) {
	cfg := config(t, Local)
	say(t, cfg, Stdout, "a\nb\n")
	stop := fmt.Errorf("enough")
	n := 0
	err := Read(context.Background(), cfg, all(), nil, func(Line) error { n++; return stop })
	if err != stop || n != 1 {
		t.Errorf("%v after %d lines", err, n)
	}
}
