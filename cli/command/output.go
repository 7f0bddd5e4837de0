package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cove-containers/cove/cli/format"
)

// CheckOutput refuses a file that a deed ("save image") could not be written to, before anything is asked for. The empty
// path is standard output.
func CheckOutput(deed, path string) error {
	if path == "" {
		return nil
	}
	dir := filepath.Dir(path)
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return fmt.Errorf("failed to %s: invalid output path: stat %s: no such file or directory", deed, dir)
	}
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() && info.Mode()&os.ModeDevice == 0 {
		return fmt.Errorf("failed to %s: cannot write to a %s", deed, kindOf(info))
	}
	return nil
}

func kindOf(info os.FileInfo) string {
	if info.IsDir() {
		return "directory"
	}
	return "special file"
}

// WriteOutput puts all of r into path, or leaves path as it was.
func WriteOutput(path string, r io.Reader) error {
	if info, err := os.Stat(path); err == nil && info.Mode()&os.ModeDevice != 0 {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(f, r)
		return err
	}
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = io.Copy(temp, r)
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(temp.Name(), path)
}

// Each does the same with every name in turn, prints those it worked for, and joins the errors of the others.
func (a *App) Each(names []string, do func(name string) error) error {
	var errs []error
	for _, name := range names {
		if err := do(name); err != nil {
			errs = append(errs, err)
			continue
		}
		fmt.Fprintln(a.Out, name)
	}
	return errors.Join(errs...)
}

// List shows rows as layout asks; where it says nothing, their keys alone (quiet), or as the user's configuration asks.
func List[R any](a *App, layout, configured string, quiet bool, key string, t format.Table, rows []R) error {
	if layout == "" {
		if quiet {
			return format.Lines(a.Out, key, rows)
		}
		layout = configured
	}
	return format.Write(a.Out, layout, t, rows)
}
