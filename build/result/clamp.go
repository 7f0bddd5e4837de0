package result

import (
	"archive/tar"
	"errors"
	"io"
	"time"
)

// clamped writes the archive that fill gives with no time in it later than at.
func clamped(w io.Writer, at time.Time, fill func(io.Writer) error) error {
	read, write := io.Pipe()
	filled := make(chan error, 1)
	go func() {
		err := fill(write)
		write.CloseWithError(err) // without an error it is the end
		filled <- err
	}()
	err := clamp(w, at, read)
	read.CloseWithError(errors.Join(err, io.ErrClosedPipe))
	if failed := <-filled; failed != nil && (err == nil || errors.Is(err, failed)) {
		err = failed
	}
	return err
}

func clamp(w io.Writer, at time.Time, r io.Reader) error {
	in, out := tar.NewReader(r), tar.NewWriter(w)
	for {
		h, err := in.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		for _, t := range []*time.Time{&h.ModTime, &h.AccessTime, &h.ChangeTime} {
			if t.After(at) {
				*t = at
			}
		}
		if err := out.WriteHeader(h); err != nil {
			return err
		}
		if _, err := io.Copy(out, in); err != nil {
			return err
		}
	}
	if err := out.Close(); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, r)
	return err
}
