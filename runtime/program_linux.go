package runtime

import (
	"encoding/binary"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A program is the list of system calls a cloned child makes before it becomes its own program. The child is a
// copy of a threaded process with one thread left, so it may run no Go code that allocates, locks or grows a
// stack: everything it needs, down to the bytes of every string, lies ready before the clone. Where not everything is
// known by then, the program goes on in memory that both share: what is added after the clone lies there, and counts
// when it is published.
type program struct {
	calls []call
	// shared is where what is added from now on lies; nil: on the heap. done is how many calls do not.
	shared *arena
	done   int
	// keep holds what calls point to, on the heap, where the collector leaves it in place.
	keep []any
	// names tells what each call was for, for the parent's error message.
	names []string
	// report is the pipe a failing child writes to.
	report int
}

// call is one system call. Arguments in refs (a bit per argument) are numbers of registers holding earlier results.
type call struct {
	nr    uintptr
	args  [6]uintptr
	refs  uint8
	into  int8
	check check
	// out is where the result goes as well, for the parent to see; it lies in shared memory. Nil: nowhere.
	out *uintptr
	// tolerate is an error that does not end the program.
	tolerate syscall.Errno
}

// check says which results end the program.
type check uint8

const (
	// failOnError ends the program where the call fails.
	failOnError check = iota
	// exactlyOne reads or writes one byte; an end of file means that the parent is gone.
	exactlyOne
	// ignoreError goes on in any case.
	ignoreError
	// onlyZero ends a process to which a clone gave the number of another, which goes on.
	onlyZero
)

// registers is how many results a program may keep.
const registers = 4

// A record is what the child writes: the number of the call that failed and its error, or a mark that it has come
// so far.
const recordSize = 8

// Marks a child leaves on its way, in place of a call's number.
const (
	markPrepared = 0xffff_0001
	markWaiting  = 0xffff_0002
)

// add appends a call and returns it for changes.
func (p *program) add(name string, nr uintptr, args ...uintptr) *call {
	c := call{nr: nr, into: -1}
	copy(c.args[:], args)
	p.calls, p.names = append(p.calls, c), append(p.names, name)
	return &p.calls[len(p.calls)-1]
}

// text gives the address of s as a C string.
func (p *program) text(s string) uintptr { return p.bytes(append([]byte(s), 0)) }

// bytes gives the address of b, which must not be empty.
func (p *program) bytes(b []byte) uintptr {
	if p.shared != nil {
		at := p.shared.take(len(b))
		copy(unsafe.Slice((*byte)(at), len(b)), b)
		return uintptr(at)
	}
	p.keep = append(p.keep, b)
	return uintptr(unsafe.Pointer(&b[0]))
}

// object gives the address of *v, which must be on the heap, or that of a copy.
func object[T any](p *program, v *T) uintptr {
	if p.shared != nil {
		at := (*T)(p.shared.take(int(unsafe.Sizeof(*v))))
		*at = *v
		return uintptr(unsafe.Pointer(at))
	}
	return onHeap(p, v)
}

// onHeap gives the address of *v itself.
func onHeap[T any](p *program, v *T) uintptr {
	p.keep = append(p.keep, v)
	return uintptr(unsafe.Pointer(v))
}

// vector gives the address of a NULL-terminated list of C strings, as argv and envp are.
func (p *program) vector(list []string) uintptr {
	pointers := make([]uintptr, len(list)+1)
	for i, s := range list {
		pointers[i] = p.text(s)
	}
	return p.words(pointers)
}

// words gives the address of a list that must not be empty.
func (p *program) words(list []uintptr) uintptr {
	if p.shared != nil {
		at := p.shared.take(len(list) * int(unsafe.Sizeof(list[0])))
		copy(unsafe.Slice((*uintptr)(at), len(list)), list)
		return uintptr(at)
	}
	p.keep = append(p.keep, list)
	return uintptr(unsafe.Pointer(&list[0]))
}

// mark makes the child tell its parent how far it is.
func (p *program) mark(m uint32) {
	p.add("tell the runtime", unix.SYS_WRITE, uintptr(p.report), p.bytes(record(m, 0)), recordSize)
}

// wait makes the child wait for one byte.
func (p *program) wait(fd int) {
	c := p.add("wait for the runtime", unix.SYS_READ, uintptr(fd), p.bytes(make([]byte, 1)), 1)
	c.check = exactlyOne
}

// keepOnly closes every descriptor but those given, among them what other containers' setups hold at this moment.
func (p *program) keepOnly(sorted []int) {
	next := 0
	for _, fd := range sorted {
		if fd > next {
			p.add("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(next), uintptr(fd-1), 0)
		}
		next = max(next, fd+1)
	}
	p.add("close descriptors", unix.SYS_CLOSE_RANGE, uintptr(next), uintptr(^uint32(0)), 0)
}

func record(what, errno uint32) []byte {
	b := make([]byte, recordSize)
	binary.NativeEndian.PutUint32(b, what)
	binary.NativeEndian.PutUint32(b[4:], errno)
	return b
}

// stepError is a system call that failed in the child.
type stepError struct {
	step  string
	errno syscall.Errno
}

func (e *stepError) Error() string { return fmt.Sprintf("%s: %s", e.step, e.errno) }
func (e *stepError) Unwrap() error { return e.errno }

// failure explains a record.
func (p *program) failure(b []byte) error {
	what, errno := binary.NativeEndian.Uint32(b), syscall.Errno(binary.NativeEndian.Uint32(b[4:]))
	if int(what) >= len(p.names) {
		return fmt.Errorf("unexpected message %#x from the container's process", what)
	}
	return &stepError{step: p.names[what], errno: errno}
}
