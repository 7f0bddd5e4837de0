// Package terminal is a user's end of a process in a container: it carries the streams both ways, hands signals on, and
// puts the user's terminal into the state the process needs and back again: raw mode, size, keys that detach.
package terminal

import (
	"errors"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// Is tells whether f is a terminal; nil is none.
func Is(f *os.File) bool { return f != nil && term.IsTerminal(int(f.Fd())) }

// Size gives the height and width of terminal f, zero when it is none.
func Size(f *os.File) (height, width uint) {
	if f == nil {
		return 0, 0
	}
	w, h, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0, 0
	}
	return uint(h), uint(w)
}

// ReadPassword reads a line from f without showing it.
func ReadPassword(f *os.File) (string, error) {
	raw, err := term.ReadPassword(int(f.Fd()))
	return string(raw), err
}

// Raw has terminals in and out pass every key and byte as it is. The function it gives puts both back; calling it
// more than once is harmless. Files that are no terminals are left alone.
func Raw(in, out *os.File) (restore func(), err error) {
	var undo []func()
	back := sync.OnceFunc(func() {
		for i := len(undo) - 1; i >= 0; i-- {
			undo[i]()
		}
	})
	for _, set := range []func() (func(), error){
		func() (func(), error) { return rawInput(in) },
		func() (func(), error) { return rawOutput(out) },
	} {
		one, err := set()
		if err != nil {
			back()
			return func() {}, err
		}
		undo = append(undo, one)
	}
	return back, nil
}

func rawInput(f *os.File) (func(), error) {
	if !Is(f) {
		return func() {}, nil
	}
	state, err := term.MakeRaw(int(f.Fd()))
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(int(f.Fd()), state) }, nil
}

// ErrDetached is the error of a read in which the user typed the keys that detach.
var ErrDetached = errors.New("read escape sequence")

// DefaultDetachKeys are ctrl-p ctrl-q.
const DefaultDetachKeys = "ctrl-p,ctrl-q"

// Detach gives a reader of in that ends with ErrDetached when the keys of sequence come in a row. Keys that only begin
// the sequence are passed on once it is clear that it does not follow.
func Detach(in io.Reader, sequence []byte) io.Reader { return &detacher{in: in, keys: sequence} }

type detacher struct {
	in      io.Reader
	keys    []byte
	matched int    // how many keys of the sequence were typed last
	pending []byte // what is to be given before the next read
	err     error
}

func (d *detacher) Read(p []byte) (int, error) {
	if len(d.keys) == 0 {
		return d.in.Read(p)
	}
	for len(d.pending) == 0 {
		if d.err != nil {
			return 0, d.err
		}
		buffer := make([]byte, max(1, len(p)))
		n, err := d.in.Read(buffer)
		d.take(buffer[:n])
		if err != nil && d.err == nil {
			d.pending = append(d.pending, d.keys[:d.matched]...)
			d.matched, d.err = 0, err
		}
	}
	n := copy(p, d.pending)
	d.pending = d.pending[n:]
	return n, nil
}

// take sorts typed bytes into those to pass on and those that may be the sequence.
func (d *detacher) take(typed []byte) {
	for _, b := range typed {
		if b != d.keys[d.matched] {
			d.pending = append(d.pending, d.keys[:d.matched]...)
			d.matched = 0
		}
		if b != d.keys[d.matched] {
			d.pending = append(d.pending, b)
			continue
		}
		if d.matched++; d.matched == len(d.keys) {
			d.err = ErrDetached
			return
		}
	}
}
