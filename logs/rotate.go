package logs

import (
	"compress/gzip"
	"errors"
	"io"
	"io/fs"
	"os"
	"strconv"
)

const packed = ".gz"

// rotated is the name of the n-th file before the current one.
func rotated(path string, n int) string { return path + "." + strconv.Itoa(n) }

// rotate puts the current file behind a new one and drops the oldest. A reader that holds any of the files loses
// nothing: names change, bytes do not. If no new file can be made, the log goes on in the old one.
func (w *Writer) rotate() error {
	w.packing.Wait()
	path := w.cfg.Path
	fresh := path + ".new"
	file, err := os.OpenFile(fresh, os.O_RDWR|os.O_CREATE|os.O_TRUNC|os.O_APPEND, 0o640)
	if err != nil {
		return err
	}
	if w.set.files > 1 {
		err = shift(path, w.set.files)
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = file.Close()
		_ = os.Remove(fresh)
		return err
	}
	_ = w.file.Close()
	w.file, w.size = file, 0
	w.pending = append(w.pending, w.format.preamble(w.cfg.Attrs)...)
	if w.set.compress {
		w.packing.Go(func() { _ = pack(rotated(path, 1)) })
	}
	return nil
}

// shift moves every file one name further. The current one keeps its name beside the new one until the new file takes
// it, so that the log exists at every moment.
func shift(path string, files int) error {
	for n := files - 1; n >= 1; n-- {
		for _, suffix := range []string{"", packed} {
			from, to := rotated(path, n)+suffix, rotated(path, n+1)+suffix
			var err error
			if n == files-1 {
				err = os.Remove(from)
			} else {
				err = os.Rename(from, to)
			}
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		}
	}
	return os.Link(path, rotated(path, 1))
}

// pack compresses a rotated file. Until the packed one is complete the plain one stays; both have the same time, which
// tells readers how new the lines in them are.
func pack(path string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	part := path + packed + ".part"
	out, err := os.OpenFile(part, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	zip, err := gzip.NewWriterLevel(out, gzip.BestSpeed)
	if err == nil {
		_, err = io.Copy(zip, in)
		err = first(err, zip.Close())
	}
	err = first(err, out.Close())
	if err == nil {
		err = os.Chtimes(part, info.ModTime(), info.ModTime())
	}
	if err == nil {
		err = os.Rename(part, path+packed)
	}
	if err != nil {
		_ = os.Remove(part)
		return err
	}
	return os.Remove(path)
}
