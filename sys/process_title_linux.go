package sys

import (
	"os"
	"unsafe"
)

// SetProcessTitle changes what ps shows of this process: words, separated by spaces in its output, in place of the
// arguments, and the first word as the command's name. What does not fit into the room of the old arguments is cut.
func SetProcessTitle(words ...string) {
	room := 0
	for i, arg := range os.Args {
		if i > 0 && unsafe.StringData(arg) != unsafe.StringData(os.Args[0]) {
			start := uintptr(unsafe.Pointer(unsafe.StringData(os.Args[0])))
			if uintptr(unsafe.Pointer(unsafe.StringData(arg))) != start+uintptr(room) {
				break // not one after another: not the kernel's own
			}
		}
		room += len(arg) + 1
	}
	if len(os.Args) == 0 || len(os.Args[0]) == 0 || len(words) == 0 {
		return
	}
	memory := unsafe.Slice(unsafe.StringData(os.Args[0]), room)
	clear(memory)
	left := memory[:room-1]
	for i, word := range words {
		if i > 0 && len(left) > 0 {
			left = left[1:]
		}
		left = left[copy(left, word):]
	}
	_ = os.WriteFile("/proc/self/comm", []byte(words[0]), 0)
}
