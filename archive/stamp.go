package archive

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/cove-containers/cove/sys"
)

// Stamp takes from a tree what tells when it was made: all in it whose time is not before since gets that of the newest among
// the rest, or floor when that is newer, and fractions of seconds go. It tells the time that was given. Compiled Python, which is
// good for its source only as long as that has the time that is written in it, is told the new time.
func Stamp(ctx context.Context, root *os.File, since, floor time.Time) (time.Time, error) {
	defer runtime.KeepAlive(root) // the descriptor is used without it
	s := stamper{since: since.Unix(), sinceNano: int64(since.Nanosecond()), newest: floor.Unix()}
	for _, do := range []visit{s.look, s.set} {
		dir, err := sys.OpenListAt(sys.Borrow(root), ".")
		if err == nil {
			err = s.directory(ctx, dir, "", do)
			dir.Close()
		}
		if err != nil {
			return time.Time{}, fmt.Errorf("set times: %w", err)
		}
	}
	return time.Unix(s.newest, 0).UTC(), nil
}

// visit does something with name, which lies in dir, or with dir itself when it is empty; within is what dir is called.
type visit func(dir sys.FD, within, name string, st *sys.Stat) error

type stamper struct {
	since, sinceNano int64
	newest           int64
}

// late tells that a time is not before since.
func (s *stamper) late(t sys.Timespec) bool {
	return t.Sec > s.since || t.Sec == s.since && t.Nsec >= s.sinceNano
}

// directory does something with all that is in an open directory, and with itself last.
func (s *stamper) directory(ctx context.Context, dir sys.FD, name string, do visit) error {
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	entries, err := sys.ReadDirectory(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		st, err := sys.StatAt(dir, e.Name)
		if err != nil {
			return err
		}
		if st.Kind() != sys.KindDir {
			if err := do(dir, name, e.Name, &st); err != nil {
				return fmt.Errorf("%s: %w", e.Name, err)
			}
			continue
		}
		kid, err := sys.OpenListAt(dir, e.Name)
		if err != nil {
			return err
		}
		err = s.directory(ctx, kid, e.Name, do)
		kid.Close()
		if err != nil {
			return fmt.Errorf("%s/%w", e.Name, err)
		}
	}
	st, err := sys.StatAt(dir, "")
	if err != nil {
		return err
	}
	return do(dir, name, "", &st)
}

func (s *stamper) look(_ sys.FD, _, _ string, st *sys.Stat) error {
	if !s.late(st.Mtim) {
		s.newest = max(s.newest, st.Mtim.Sec)
	}
	return nil
}

func (s *stamper) set(dir sys.FD, within, name string, st *sys.Stat) error {
	at := sys.Timespec{Sec: st.Mtim.Sec}
	if s.late(st.Mtim) {
		at.Sec = s.newest
		if within == "__pycache__" && st.Kind() == sys.KindFile && strings.HasSuffix(name, ".pyc") {
			if err := s.python(dir, name); err != nil {
				return err
			}
		}
	}
	if at == st.Mtim {
		return nil
	}
	return sys.TimesAt(dir, name, at, at)
}

// python writes the new time of the source into a compiled file, if it was compiled from one that gets it.
func (s *stamper) python(dir sys.FD, name string) error {
	f, err := sys.ChangeFileAt(dir, name)
	if err != nil {
		return err
	}
	defer f.Close()
	// Four bytes each: the version, flags (0: good by the source's time), that time.
	head := make([]byte, 12)
	for n := 0; n < len(head); {
		got, err := f.Read(head[n:])
		if err == io.EOF { // too short to be one
			return nil
		}
		if err != nil {
			return err
		}
		n += got
	}
	when := int64(binary.LittleEndian.Uint32(head[8:]))
	if binary.LittleEndian.Uint32(head[4:]) != 0 || when < s.since {
		return nil
	}
	binary.LittleEndian.PutUint32(head[8:], uint32(s.newest)) // as Python cuts it
	if _, err := f.Seek(8, io.SeekStart); err != nil {
		return err
	}
	_, err = f.Write(head[8:])
	return err
}
