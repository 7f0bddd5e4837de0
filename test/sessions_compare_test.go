package test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unsteady is what differs from run to run, and what stands for it.
var unsteady = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9a-f]{64}\b`), "<id64>"},
	{regexp.MustCompile(`\b[0-9a-f]{12}\b`), "<id>"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?( [+-]\d{4} UTC|Z|[+-]\d\d:\d\d)?`), "<time>"},
	{regexp.MustCompile(`\b(Mon|Tue|Wed|Thu|Fri|Sat|Sun) \w{3} [ \d]\d \d\d:\d\d:\d\d \d{4}\b`), "<time>"},
	{regexp.MustCompile(`\b(Less than a second|About an? \w+|\d+ (seconds?|minutes?|hours?|days?|weeks?|months?|years?))( ago)?\b`), "<duration>$3"},
	{regexp.MustCompile(`\b[0-9a-f]{2}(:[0-9a-f]{2}){5}\b`), "<mac>"},
	{regexp.MustCompile(`\b(10|172|192)\.\d+\.\d+\.\d+\b`), "<ip>"},
	{regexp.MustCompile(`\b\d+(\.\d+)? ?([kMG]i?)?B\b`), "<size>"},
	{regexp.MustCompile(`\b\d+(\.\d+)?%`), "<percent>"},
	{regexp.MustCompile(`\.Pid = \d+`), ".Pid = <pid>"},
	{regexp.MustCompile(`\.(time|timeNano) = \d+`), ".$1 = <time>"},
	{regexp.MustCompile(`(/proc/\d+/ns/net|/\w+/cvd\d+/exec/netns/<id>)`), "<namespace>"},
	{regexp.MustCompile(`"com.docker.network.bridge.name":"\w+"`), `"com.docker.network.bridge.name":"<bridge>"`},
	{regexp.MustCompile(`docker-import-\d+`), "docker-import-N"},
	// The client waits for two calls at once, and says which has told it first.
	{regexp.MustCompile(`failed to run Build function: `), "failed to solve: "},
	{regexp.MustCompile(`goroutine \d+`), "goroutine N"},
	{regexp.MustCompile(`(\S) {2,}`), "$1  "},
	{regexp.MustCompile(`-{4,}`), "----"},
}

func steady(text string) string {
	for _, u := range unsteady {
		text = u.pattern.ReplaceAllString(text, u.with)
	}
	return text
}

// linesOf gives an output's lines as they are compared. Documents are told as their members: who reads JSON does not ask for the
// order of its keys.
func linesOf(text string) []string {
	if strings.HasPrefix(text, "{") || strings.HasPrefix(text, "[") {
		var lines []string
		decoder := json.NewDecoder(strings.NewReader(text))
		for decoder.More() {
			var v any
			if decoder.Decode(&v) != nil {
				lines = nil
				break
			}
			lines = append(lines, members("", v)...)
		}
		if lines != nil {
			return lines
		}
	}
	text = steady(text)
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !strings.HasSuffix(text, "\n") {
		lines[len(lines)-1] += "⏎" // no end of line
	}
	for i := range lines { // of what is written over on a terminal only the last is seen
		line := strings.TrimRight(lines[i], "\r")
		lines[i] = strings.TrimRight(line[strings.LastIndex(line, "\r")+1:], " ")
	}
	return lines
}

// members lists what a document holds, by path.
func members(path string, v any) []string {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			return []string{path + " = {}"}
		}
		var lines []string
		for _, k := range slices.Sorted(maps.Keys(v)) {
			lines = append(lines, members(path+"."+steady(k), v[k])...)
		}
		return lines
	case []any:
		if len(v) == 0 {
			return []string{path + " = []"}
		}
		var lines []string
		for i, e := range v {
			lines = append(lines, members(path+"["+strconv.Itoa(i)+"]", e)...)
		}
		return lines
	}
	text, _ := json.Marshal(v)
	return []string{steady(path + " = " + string(text))}
}

// difference is what two parties have answered differently: lines as "out- text", "err+ text", "status 1 -> 2".
type difference struct {
	session, line string
	lines         []string
}

func (d difference) key() string { return d.session + ": " + strings.ReplaceAll(d.line, "\n", "⏎") }

func compareAnswers(s, line string, a, b answer) (difference, bool) {
	d := difference{session: s, line: line}
	d.lines = append(diffLines("out", a.out, b.out), diffLines("err", a.err, b.err)...)
	if a.status != b.status {
		d.lines = append(d.lines, fmt.Sprintf("status %d -> %d", a.status, b.status))
	}
	return d, len(d.lines) > 0
}

// diffLines lists what has to be taken from a and added to make b of it.
func diffLines(what string, a, b []string) []string {
	common := make([][]int, len(a)+1)
	for i := range common {
		common[i] = make([]int, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				common[i][j] = common[i+1][j+1] + 1
			} else {
				common[i][j] = max(common[i+1][j], common[i][j+1])
			}
		}
	}
	var lines []string
	for i, j := 0, 0; i < len(a) || j < len(b); {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && common[i+1][j] >= common[i][j+1]:
			lines = append(lines, what+"- "+a[i])
			i++
		default:
			lines = append(lines, what+"+ "+b[j])
			j++
		}
	}
	return lines
}

// reasoned is a list of differences under their reasons.
type reasoned struct {
	reasons []string // in the file's order
	under   map[string][]difference
}

// readDifferences reads a list: "= REASON", under it "> SESSION: LINE" and indented what differs.
func readDifferences(t *testing.T, path string) *reasoned {
	t.Helper()
	r := &reasoned{under: map[string][]difference{}}
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	reason := ""
	for n, line := range strings.Split(string(text), "\n") {
		switch {
		case strings.HasPrefix(line, "= "):
			reason = line[2:]
			r.reasons = append(r.reasons, reason)
		case strings.HasPrefix(line, "> "):
			s, command, _ := strings.Cut(line[2:], ": ")
			r.under[reason] = append(r.under[reason], difference{session: s, line: strings.ReplaceAll(command, "⏎", "\n")})
		case strings.HasPrefix(line, "\t"):
			last := r.under[reason]
			last[len(last)-1].lines = append(last[len(last)-1].lines, line[1:])
		case line != "" && !strings.HasPrefix(line, "#"):
			t.Fatalf("%s:%d: what is %q?", path, n+1, line)
		}
	}
	return r
}

func (r *reasoned) write(path string) error {
	var b strings.Builder
	for _, reason := range r.reasons {
		if len(r.under[reason]) == 0 {
			continue
		}
		fmt.Fprintf(&b, "= %s\n", reason)
		for _, d := range r.under[reason] {
			fmt.Fprintf(&b, "> %s\n", d.key())
			for _, line := range d.lines {
				fmt.Fprintf(&b, "\t%s\n", line)
			}
		}
		b.WriteString("\n")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(b.String()), 0o644)
}

// compareSessions holds what two parties have answered against a list.
func compareSessions(t *testing.T, list string, sessions []dialogue, a, b *party) {
	path := filepath.Join("testdata/sessions/differences", list)
	listed := readDifferences(t, path)
	found := map[string]difference{}
	var order []string
	chosen := map[string]bool{}
	times := map[string]int{}
	for _, s := range sessions {
		if !s.with(a) || !s.with(b) {
			continue
		}
		chosen[s.name] = true
		for i, line := range s.lines {
			if times[s.name+line]++; times[s.name+line] > 1 { // the same line again
				line = fmt.Sprintf("%s #%d", line, times[s.name+line])
			}
			if d, differs := compareAnswers(s.name, line, a.answers[s.name][i], b.answers[s.name][i]); differs {
				order = append(order, d.key())
				found[d.key()] = d
			}
		}
	}
	update := &reasoned{reasons: append([]string{"?"}, slices.DeleteFunc(slices.Clone(listed.reasons), func(s string) bool { return s == "?" })...), under: map[string][]difference{}}
	known := map[string]bool{}
	for _, reason := range listed.reasons {
		for _, want := range listed.under[reason] {
			key := want.key()
			got, differs := found[key]
			switch {
			case !chosen[want.session]:
				update.under[reason] = append(update.under[reason], want)
				continue
			case reason == "?":
				t.Errorf("%s: a difference without a reason: %s\n\t%s", path, key, strings.Join(want.lines, "\n\t"))
				continue
			case !differs:
				t.Errorf("%s: listed, but the same: %s", path, key)
			case !slices.Equal(got.lines, want.lines):
				t.Errorf("%s: listed otherwise: %s\nis\n\t%s\nwas\n\t%s", path, key, strings.Join(got.lines, "\n\t"), strings.Join(want.lines, "\n\t"))
			default:
				update.under[reason] = append(update.under[reason], got)
			}
			known[key] = differs && slices.Equal(got.lines, want.lines)
		}
	}
	for _, key := range order {
		if _, listed := known[key]; !listed {
			t.Errorf("%s answers otherwise than %s: %s\n\t%s", b.name, a.name, key, strings.Join(found[key].lines, "\n\t"))
		}
		if !known[key] {
			update.under["?"] = append(update.under["?"], found[key])
		}
	}
	if os.Getenv("UPDATE_SESSIONS") != "" {
		if err := update.write(path); err != nil {
			t.Fatal(err)
		}
	}
}

// records is where it stands what dockerd has answered.
const records = "testdata/sessions/dockerd"

func (p *party) writeRecords(t *testing.T, sessions []dialogue) {
	t.Helper()
	if err := os.MkdirAll(records, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, s := range sessions {
		if !s.with(p) {
			continue
		}
		var b strings.Builder
		for i, a := range p.answers[s.name] {
			fmt.Fprintf(&b, "> %s\n", strings.ReplaceAll(s.lines[i], "\n", "⏎"))
			for _, line := range a.out {
				fmt.Fprintf(&b, "out %s\n", line)
			}
			for _, line := range a.err {
				fmt.Fprintf(&b, "err %s\n", line)
			}
			if a.status != 0 {
				fmt.Fprintf(&b, "status %d\n", a.status)
			}
		}
		if err := os.WriteFile(filepath.Join(records, s.name), []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// readRecords takes what was recorded of these sessions for what the party has answered.
func (p *party) readRecords(t *testing.T, sessions []dialogue) {
	t.Helper()
	p.answers = map[string][]answer{}
	for _, s := range sessions {
		if !s.with(p) {
			continue
		}
		text, err := os.ReadFile(filepath.Join(records, s.name))
		if err != nil {
			t.Fatal(err)
		}
		var lines []string
		var answers []answer
		for _, line := range strings.Split(strings.TrimSuffix(string(text), "\n"), "\n") {
			word, rest, _ := strings.Cut(line, " ")
			if word == ">" {
				lines, answers = append(lines, strings.ReplaceAll(rest, "⏎", "\n")), append(answers, answer{})
				continue
			}
			switch last := &answers[len(answers)-1]; word {
			case "out":
				last.out = append(last.out, steady(rest))
			case "err":
				last.err = append(last.err, steady(rest))
			case "status":
				last.status, _ = strconv.Atoi(rest)
			}
		}
		if !slices.Equal(lines, s.lines) {
			t.Fatalf("%s/%s is not of the session as it is now: record it with RECORD_SESSIONS=1", records, s.name)
		}
		p.answers[s.name] = answers
	}
}
