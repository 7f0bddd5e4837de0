package test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

var record = flag.Bool("record", false, "write what is answered into testdata/replay instead of comparing with it")

// exchange is one request of a recording and what came back. In a file it is
//
//	# words about it
//	> POST /v1.24/containers/create?name=x      the request, as the client writes it
//	> Content-Type: application/json
//	{"Image":"busybox"}                         its body, one line
//	- .HostConfig                               a part of the answer that is not looked at: it is the host's
//	$ id = .Id                                  keeps a string of the answer for later requests
//	< 201                                       the status, then the headers, * where the value is the day's
//	< Content-Type: application/json
//	.Id string                                  every place in the answer and its kind, or
//	= "OK"                                      the text of an answer that is no JSON
type exchange struct {
	words, request, omit, keep, answer []string
	body                               string
}

func readExchanges(t *testing.T, file string) []*exchange {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []*exchange
	x := &exchange{}
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSuffix(line, "\n")
		kind, rest, _ := strings.Cut(line, " ")
		switch {
		case line == "":
			if len(x.request) > 0 {
				all = append(all, x)
				x = &exchange{}
			}
		case kind == "#":
			x.words = append(x.words, line)
		case kind == ">":
			x.request = append(x.request, rest)
		case kind == "-":
			x.omit = append(x.omit, rest)
		case kind == "$":
			x.keep = append(x.keep, rest)
		case kind == "<" || kind == "=" || line[0] == '.':
			x.answer = append(x.answer, line)
		default:
			x.body = line
		}
	}
	if len(x.request) > 0 {
		all = append(all, x)
	}
	return all
}

func (x *exchange) String() string {
	var b strings.Builder
	put := func(prefix string, lines []string) {
		for _, l := range lines {
			b.WriteString(prefix + l + "\n")
		}
	}
	put("", x.words)
	put("> ", x.request)
	if x.body != "" {
		b.WriteString(x.body + "\n")
	}
	put("- ", x.omit)
	put("$ ", x.keep)
	put("", x.answer)
	return b.String()
}

// send writes the request byte for byte, with the host and the length, and nothing else, put in.
func (x *exchange) send(s *speaker, saved map[string]string) reply {
	s.t.Helper()
	saved["now"], saved["past"] = strconv.FormatInt(time.Now().Unix()+1, 10), strconv.FormatInt(time.Now().Unix()-3600, 10)
	fill := func(text string) string {
		for _, name := range slices.Backward(slices.Sorted(maps.Keys(saved))) {
			text = strings.ReplaceAll(text, "$"+name, saved[name])
		}
		return text
	}
	method, _, _ := strings.Cut(x.request[0], " ")
	body := fill(x.body)
	head := fill(x.request[0]) + " HTTP/1.1\r\nHost: docker\r\n"
	for _, h := range x.request[1:] {
		head += fill(h) + "\r\n"
	}
	if body != "" || method == "POST" {
		head += fmt.Sprintf("Content-Length: %d\r\n", len(body))
	}
	conn := s.dial()
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Minute))
	if _, err := io.WriteString(conn, head+"\r\n"+body); err != nil {
		s.t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	answer, err := http.ReadResponse(reader, &http.Request{Method: method})
	if err != nil {
		s.t.Fatalf("%s: %v", x.request[0], err)
	}
	defer answer.Body.Close()
	content, err := io.ReadAll(answer.Body)
	if answer.StatusCode == http.StatusSwitchingProtocols {
		content, err = io.ReadAll(reader)
	}
	if err != nil {
		s.t.Fatalf("%s: %v", x.request[0], err)
	}
	return reply{answer.StatusCode, answer.Header, content}
}

// lines describe an answer as a recording does.
func (x *exchange) lines(r reply) []string {
	out := []string{fmt.Sprintf("< %d", r.status)}
	for _, name := range slices.Sorted(maps.Keys(r.header)) {
		value := r.header.Get(name)
		switch name {
		case "Date", "Server", "Content-Length", "X-Docker-Container-Path-Stat":
			value = "*"
		}
		out = append(out, "< "+name+": "+value)
	}
	var values []any
	decoder := json.NewDecoder(bytes.NewReader(r.body))
	for {
		var v any
		if err := decoder.Decode(&v); err != nil {
			break
		}
		values = append(values, v)
	}
	switch {
	case len(r.body) == 0:
		return out
	case len(values) == 0:
		return append(out, fmt.Sprintf("= %q", r.body[:min(len(r.body), 200)]))
	}
	if text := r.message(); text != "" && r.status != http.StatusInternalServerError { // those tell of the host
		return append(out, fmt.Sprintf(".message %q", anonymous(text)))
	}
	kinds := map[string]map[string]bool{}
	for _, v := range values {
		at := ""
		if len(values) > 1 {
			at = ".[]"
		}
		x.walk(at, v, kinds)
	}
	for _, at := range slices.Sorted(maps.Keys(kinds)) {
		out = append(out, at+" "+strings.Join(slices.Sorted(maps.Keys(kinds[at])), "|"))
	}
	return out
}

func (x *exchange) walk(at string, value any, kinds map[string]map[string]bool) {
	if slices.Contains(x.omit, at) {
		return
	}
	note := func(kind string) {
		if at == "" {
			at = "."
		}
		if kinds[at] == nil {
			kinds[at] = map[string]bool{}
		}
		kinds[at][kind] = true
	}
	switch value := value.(type) {
	case map[string]any:
		if len(value) == 0 {
			note("object")
		}
		for key, v := range value {
			x.walk(at+"."+anonymous(key), v, kinds)
		}
	case []any:
		if len(value) == 0 {
			note("array")
		}
		for _, v := range value {
			if at == "" {
				at = "."
			}
			x.walk(at+"[]", v, kinds)
		}
	case float64:
		note("number")
	default:
		note(kindOf(value))
	}
}

// TestReplay sends what old clients send and compares what they get with what they got: status, headers, every field and its
// kind. The files of testdata/replay are written by hand but for the answers, which -record writes anew.
func TestReplay(t *testing.T) {
	needRoot(t)
	images(t)
	files, err := filepath.Glob("testdata/replay/*.txt")
	if err != nil || len(files) < 5 {
		t.Fatal(err, files)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			e := newEngine(t)
			e.Start()
			s := newSpeaker(t, e.Socket())
			s.loadImage("busybox")
			saved := map[string]string{"subnet": e.Subnet}
			all := readExchanges(t, file)
			for _, x := range all {
				r := x.send(s, saved)
				for _, k := range x.keep {
					name, path, _ := strings.Cut(k, " = .")
					if saved[name] = r.field(path); saved[name] == "" {
						t.Fatalf("%s: no %s: %d %s", x.request[0], path, r.status, r.body)
					}
				}
				got := x.lines(r)
				if *record {
					x.answer = got
					continue
				}
				for _, line := range x.answer {
					if !slices.Contains(got, line) {
						t.Errorf("%s: missing: %s", x.request[0], line)
					}
				}
				for _, line := range got {
					if !slices.Contains(x.answer, line) {
						t.Errorf("%s: not in the recording: %s", x.request[0], line)
					}
				}
			}
			if *record {
				var b strings.Builder
				for _, x := range all {
					b.WriteString(x.String() + "\n")
				}
				if err := os.WriteFile(file, []byte(strings.TrimSuffix(b.String(), "\n")), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
