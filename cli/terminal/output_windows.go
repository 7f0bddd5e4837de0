package terminal

import (
	"os"

	"golang.org/x/sys/windows"
)

// rawOutput has the console understand the control sequences that containers send.
func rawOutput(f *os.File) (func(), error) {
	if f == nil {
		return func() {}, nil
	}
	handle := windows.Handle(f.Fd())
	var mode uint32
	if windows.GetConsoleMode(handle, &mode) != nil {
		return func() {}, nil
	}
	wanted := mode | windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING | windows.DISABLE_NEWLINE_AUTO_RETURN
	if err := windows.SetConsoleMode(handle, wanted); err != nil {
		return func() {}, nil
	}
	return func() { _ = windows.SetConsoleMode(handle, mode) }, nil
}
