package plan

import (
	"fmt"
	"strings"
)

// DefaultDetachKeys is what leaves a terminal without ending what runs in it.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// DetachKeys reads Docker's notation: single characters and ctrl-X, separated by commas; empty is the default.
func DetachKeys(text string) ([]byte, error) {
	if text == "" {
		text = DefaultDetachKeys
	}
	var out []byte
	for key := range strings.SplitSeq(text, ",") {
		if len(key) == 1 {
			out = append(out, key[0])
			continue
		}
		c, ok := strings.CutPrefix(strings.ToLower(key), "ctrl-")
		if !ok || len(c) != 1 {
			return nil, fmt.Errorf("Unknown character: '%s'", key)
		}
		switch {
		case c[0] >= 'a' && c[0] <= 'z':
			out = append(out, c[0]-'a'+1)
		case c[0] == '@':
			out = append(out, 0)
		case c[0] >= '[' && c[0] <= '_':
			out = append(out, c[0]-'['+27)
		default:
			return nil, fmt.Errorf("Unknown character: '%s'", key)
		}
	}
	return out, nil
}

// DetachScanner watches a stream of keys for the detach sequence. Keys that might begin it are held back until
// the next one tells. The zero value with Keys set is ready; no Keys never detach.
type DetachScanner struct {
	Keys []byte
	held int
}

// Scan takes what was typed and returns what is to be passed on, and whether the sequence is complete.
func (d *DetachScanner) Scan(typed []byte) (pass []byte, detached bool) {
	if len(d.Keys) == 0 {
		return typed, false
	}
	for _, b := range typed {
		if b == d.Keys[d.held] {
			d.held++
			if d.held == len(d.Keys) {
				d.held = 0
				return pass, true
			}
			continue
		}
		pass = append(pass, d.Keys[:d.held]...)
		d.held = 0
		if b == d.Keys[0] {
			d.held = 1
			continue
		}
		pass = append(pass, b)
	}
	return pass, false
}

// Rest is what is still held back when the stream ends.
func (d *DetachScanner) Rest() []byte {
	rest := d.Keys[:d.held]
	d.held = 0
	return rest
}
