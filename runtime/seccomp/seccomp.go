// Package seccomp compiles seccomp profiles of runtime documents to the filter programs the kernel runs, in pure Go.
//
// A program first finds the architecture, then searches the system call's number in a balanced tree of ranges:
// seven comparisons for a profile of four hundred calls, where a chain would take hundreds. The kernel also tries
// every number once when a filter is installed, so a short path makes containers start faster, too.
//
// Where several rules name one call, the first whose conditions hold decides; rules without conditions come last.
// Calls newer than every call a profile knows fail with ENOSYS instead of the profile's error: C libraries then fall
// back to older calls, as they would on an older kernel.
package seccomp

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"os"
	"path/filepath"
	"runtime"

	"github.com/opencontainers/runtime-spec/specs-go"
)

// Instruction is one instruction of a filter program, laid out as the kernel's struct sock_filter.
type Instruction struct {
	Op     uint16
	Jt, Jf uint8
	K      uint32
}

// Program is a compiled profile.
type Program struct {
	Code []Instruction
	// Flags are those of seccomp(2).
	Flags uint
	// Notify tells that some call is decided by a listener.
	Notify bool
}

// formatVersion is part of each cache key; it changes with what Compile makes of a profile.
const formatVersion = "cove seccomp 1"

// Load gives the program for a profile, from the folder cache where it was compiled before; an empty cache means
// none. A cache that cannot be written is no error: the program was compiled all the same.
func Load(profile *specs.LinuxSeccomp, cache string) (Program, error) {
	if cache == "" {
		return Compile(profile)
	}
	file := filepath.Join(cache, key(profile)+".bpf")
	if p, err := readProgram(file); err == nil {
		return p, nil
	}
	p, err := Compile(profile)
	if err != nil {
		return Program{}, err
	}
	// Without a cache the next container compiles again.
	_ = writeProgram(file, p)
	return p, nil
}

// key names a profile by what it says.
func key(p *specs.LinuxSeccomp) string {
	h := sha256.New()
	add(h, formatVersion, runtime.GOARCH, string(p.DefaultAction), number(p.DefaultErrnoRet))
	for _, a := range p.Architectures {
		add(h, "arch", string(a))
	}
	for _, f := range p.Flags {
		add(h, "flag", string(f))
	}
	for _, s := range p.Syscalls {
		add(h, "rule", string(s.Action), number(s.ErrnoRet))
		add(h, s.Names...)
		for _, a := range s.Args {
			add(h, "arg", string(a.Op), fmt.Sprint(a.Index, a.Value, a.ValueTwo))
		}
	}
	return fmt.Sprintf("%x", h.Sum(nil))
}

// add feeds strings with their lengths, so that no two lists look alike.
func add(h hash.Hash, list ...string) {
	var b []byte
	for _, s := range list {
		b = binary.AppendUvarint(b[:0], uint64(len(s)))
		h.Write(append(b, s...))
	}
}

func number(n *uint) string {
	if n == nil {
		return ""
	}
	return fmt.Sprint(*n)
}

// A cached program is its checksum, its flags, whether it notifies, and its instructions of eight bytes each.
const (
	headerSize      = sha256.Size + 8
	instructionSize = 8
	maxInstructions = 4096
)

var errBadCache = errors.New("damaged program")

func readProgram(file string) (Program, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return Program{}, err
	}
	return decode(b)
}

func decode(b []byte) (Program, error) {
	if len(b) <= headerSize || (len(b)-headerSize)%instructionSize != 0 || len(b)-headerSize > maxInstructions*instructionSize {
		return Program{}, errBadCache
	}
	if sha256.Sum256(b[sha256.Size:]) != [sha256.Size]byte(b[:sha256.Size]) {
		return Program{}, errBadCache
	}
	b = b[sha256.Size:]
	p := Program{Flags: uint(binary.LittleEndian.Uint32(b)), Notify: b[4] != 0}
	for b = b[8:]; len(b) > 0; b = b[instructionSize:] {
		p.Code = append(p.Code, Instruction{
			Op: binary.LittleEndian.Uint16(b), Jt: b[2], Jf: b[3], K: binary.LittleEndian.Uint32(b[4:]),
		})
	}
	return p, nil
}

func encode(p Program) []byte {
	body := binary.LittleEndian.AppendUint32(nil, uint32(p.Flags))
	notify := byte(0)
	if p.Notify {
		notify = 1
	}
	body = append(body, notify, 0, 0, 0)
	for _, i := range p.Code {
		body = binary.LittleEndian.AppendUint16(body, i.Op)
		body = append(body, i.Jt, i.Jf)
		body = binary.LittleEndian.AppendUint32(body, i.K)
	}
	sum := sha256.Sum256(body)
	return append(sum[:], body...)
}

// writeProgram writes a whole file or none, and makes the folder.
func writeProgram(file string, p Program) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".bpf-")
	if err != nil {
		return err
	}
	_, err = f.Write(encode(p))
	err = errors.Join(err, f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return nil
}
