package runtime

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// An arena is memory that a child keeps in common with this process: by it a program goes on after the clone, and the
// child's results come back. The kernel gives it pages only as they are used.
type arena struct {
	memory []byte
	used   int
	tape   *tape
	full   bool
}

// tape is the rest of a program, for the child to read when it has been told that it is there.
type tape struct {
	calls unsafe.Pointer
	count uintptr
}

// arenaSize has room for the longest list of arguments and variables a kernel takes, 6 MiB, and more.
const arenaSize = 16 << 20

// arenaAlign suits every object.
const arenaAlign = 16

func newArena() (*arena, error) {
	m, err := unix.Mmap(-1, 0, arenaSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("make shared memory: %w", err)
	}
	a := &arena{memory: m}
	a.tape = (*tape)(a.take(int(unsafe.Sizeof(tape{}))))
	return a, nil
}

// take gives so many bytes, zeroed. When the arena is full it gives some that are in use: see publish.
func (a *arena) take(n int) unsafe.Pointer {
	from := (a.used + arenaAlign - 1) &^ (arenaAlign - 1)
	if n > len(a.memory)-from {
		a.full = true
		from = 0
		if n > len(a.memory) {
			return unsafe.Pointer(unsafe.SliceData(make([]byte, n)))
		}
		return unsafe.Pointer(&a.memory[0])
	}
	a.used = from + n
	return unsafe.Pointer(&a.memory[from])
}

// slot is a place for a descriptor that the child opens in the table both use; 0 while there is none.
func (a *arena) slot() *uintptr { return (*uintptr)(a.take(int(unsafe.Sizeof(uintptr(0))))) }

// close lets go of this process's mapping; the child's is its own.
func (a *arena) close() {
	if a.memory != nil {
		discard(unix.Munmap(a.memory))
		a.memory, a.tape = nil, nil
	}
}

// share has everything that is added to the program from now on lie in a.
func (p *program) share(a *arena) { p.shared, p.done = a, len(p.calls) }

// publish hands the child what was added since share. It reads that once the wait it is in is over.
func (p *program) publish() error {
	rest := p.calls[p.done:]
	if len(rest) == 0 {
		return nil
	}
	at := p.shared.take(len(rest) * int(unsafe.Sizeof(rest[0])))
	if p.shared.full {
		return fmt.Errorf("start the program: %w", unix.E2BIG)
	}
	copy(unsafe.Slice((*call)(at), len(rest)), rest)
	p.shared.tape.calls, p.shared.tape.count = at, uintptr(len(rest))
	return nil
}
