package opts

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

const blanks = " \t"

// Env checks a value of -e: a name alone takes its value from the caller's environment, if it has one there.
func Env(s string) (string, error) {
	name, _, given := strings.Cut(s, "=")
	if name == "" {
		return "", errors.New("invalid environment variable: " + s)
	}
	if !given {
		if val, ok := os.LookupEnv(name); ok {
			return name + "=" + val, nil
		}
	}
	return s, nil
}

// Label checks a value of -l.
func Label(s string) (string, error) {
	key, _, _ := strings.Cut(s, "=")
	key = strings.TrimLeft(key, blanks)
	if key == "" {
		return "", fmt.Errorf("invalid label '%s': empty name", s)
	}
	if strings.ContainsAny(key, blanks) {
		return "", fmt.Errorf("label '%s' contains whitespaces", key)
	}
	return s, nil
}

// EnvFiles reads files of "NAME=value" lines and puts more after them. A line with a name alone takes the
// value from the caller's environment and is dropped when it has none.
func EnvFiles(files, more []string) ([]string, error) { return readFiles(files, more, os.LookupEnv) }

// LabelFiles is EnvFiles for labels: a line with a key alone is dropped.
func LabelFiles(files, more []string) ([]string, error) { return readFiles(files, more, nil) }

func readFiles(files, more []string, lookup func(string) (string, bool)) ([]string, error) {
	var all []string
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return nil, err
		}
		lines, err := parseLines(f, lookup)
		f.Close()
		if err != nil {
			return nil, fmt.Errorf("invalid env file (%s): %w", name, err)
		}
		all = append(all, lines...)
	}
	return append(all, more...), nil
}

// maxLine is the longest line of such a file, more than the kernel lets a variable be.
const maxLine = 1 << 20

// parseLines reads "NAME=value" lines. Values are taken as they are: no quotes, no trimming at the end.
func parseLines(r io.Reader, lookup func(string) (string, bool)) ([]string, error) {
	var out []string
	scanner := bufio.NewScanner(r)
	scanner.Buffer(nil, maxLine)
	for number := 1; scanner.Scan(); number++ {
		raw := scanner.Bytes()
		if !utf8.Valid(raw) {
			return nil, fmt.Errorf("invalid utf8 bytes at line %d: %v", number, raw)
		}
		if number == 1 {
			raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
		}
		line := strings.TrimLeftFunc(string(raw), unicode.IsSpace)
		if line == "" || line[0] == '#' {
			continue
		}
		name, _, given := strings.Cut(line, "=")
		switch {
		case name == "":
			return nil, fmt.Errorf("no variable name on line '%s'", line)
		case strings.ContainsAny(name, blanks):
			return nil, fmt.Errorf("variable '%s' contains whitespaces", name)
		case given:
			out = append(out, line)
		case lookup != nil:
			if val, ok := lookup(name); ok {
				out = append(out, name+"="+val)
			}
		}
	}
	return out, scanner.Err()
}
