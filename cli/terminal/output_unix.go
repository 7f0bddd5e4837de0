//go:build !windows

package terminal

import "os"

// rawOutput has nothing to do where input and output share one state.
func rawOutput(*os.File) (func(), error) { return func() {}, nil }
