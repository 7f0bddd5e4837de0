package logs

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// logFile is one file of a log, open for reading; renames and removals no longer matter to it.
type logFile struct {
	file   *os.File
	info   fs.FileInfo // when it was opened
	packed bool
}

func (f *logFile) close() { _ = f.file.Close() }

// olderThan tells that no line in the file is as new as t. File times are a little coarser than clocks.
func (f *logFile) olderThan(t time.Time) bool {
	return !t.IsZero() && f.info.ModTime().Before(t.Add(-time.Second))
}

// plain unpacks a compressed file into a nameless one.
func (f *logFile) plain() error {
	if !f.packed {
		return nil
	}
	zip, err := gzip.NewReader(f.file)
	if err != nil {
		return err
	}
	out, err := os.CreateTemp(filepath.Dir(f.file.Name()), ".unpacked-")
	if err != nil {
		return err
	}
	err = os.Remove(out.Name())
	if err == nil {
		_, err = io.Copy(out, zip)
	}
	if err != nil {
		_ = out.Close()
		return err
	}
	f.close()
	f.file, f.packed = out, false
	return nil
}

// openFiles opens all files of a log, oldest first. They are opened newest first, while a rotation moves the oldest
// first: a file may be met twice, and is then left out, but none is missed.
func openFiles(path string) ([]*logFile, error) {
	var files []*logFile
	missing := 0
	for n := 0; missing < 2; n++ {
		name := path
		if n > 0 {
			name = rotated(path, n)
		}
		f, err := openFile(name, n > 0)
		if errors.Is(err, fs.ErrNotExist) {
			if n > 0 {
				missing++ // one may be on its way to its next name
			}
			continue
		}
		if err != nil {
			closeFiles(files)
			return nil, err
		}
		missing = 0
		if len(files) > 0 && os.SameFile(files[0].info, f.info) {
			f.close()
			continue
		}
		files = append([]*logFile{f}, files...)
	}
	return files, nil
}

func openFile(name string, mayBePacked bool) (*logFile, error) {
	file, err := os.Open(name)
	zipped := false
	if mayBePacked && errors.Is(err, fs.ErrNotExist) {
		file, err = os.Open(name + packed)
		zipped = true
	}
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	return &logFile{file: file, info: info, packed: zipped}, nil
}

func closeFiles(files []*logFile) {
	for _, f := range files {
		f.close()
	}
}
