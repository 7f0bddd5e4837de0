//go:build !linux

package local

import (
	"archive/tar"
	"errors"
	"io/fs"
	"os"
	"runtime"
)

// portableMode gives files of a system without execute bits the right to be run.
func portableMode(mode int64) int64 {
	if runtime.GOOS == "windows" {
		return mode | 0o111
	}
	return mode
}

func identify(fs.FileInfo) (fileID, bool) { return fileID{}, false }

func addAttributes(*tar.Header, string) {}

func setAttributes(*os.File, *tar.Header) {}

func makeSpecial(_ *os.File, _ string, h *tar.Header) error {
	if h.Typeflag == tar.TypeSymlink {
		return nil
	}
	return errors.New("devices and fifos cannot be made on this system")
}
