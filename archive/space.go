package archive

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/cove-containers/cove/sys"
)

// Space is how many bytes of the disk are taken by what is below dir, as du counts them: whole blocks, directories too, a
// file of several names once. dir itself is left out, and what is removed meanwhile.
func Space(ctx context.Context, dir *os.File) (int64, error) {
	s := space{seen: map[[2]uint64]bool{}}
	// A description of its own: reading a directory moves the place where reading goes on.
	own, err := sys.OpenListAt(sys.Borrow(dir), ".")
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir.Name(), err)
	}
	defer own.Close()
	if err := s.add(ctx, own); err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir.Name(), err)
	}
	return s.bytes, nil
}

type space struct {
	bytes int64
	seen  map[[2]uint64]bool // device and inode of files with several names
}

func (s *space) add(ctx context.Context, dir sys.FD) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	entries, err := sys.ReadDirectory(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := s.entry(ctx, dir, e.Name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (s *space) entry(ctx context.Context, dir sys.FD, name string) error {
	st, err := sys.StatAt(dir, name)
	if err != nil {
		return err
	}
	if st.Kind() != sys.KindDir && st.Links > 1 {
		id := [2]uint64{st.Dev, st.Ino}
		if s.seen[id] {
			return nil
		}
		s.seen[id] = true
	}
	s.bytes += 512 * st.Blocks
	if st.Kind() != sys.KindDir {
		return nil
	}
	below, err := sys.OpenListAt(dir, name)
	if err != nil {
		return err
	}
	defer below.Close()
	return s.add(ctx, below)
}
