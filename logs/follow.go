package logs

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/cove-containers/cove/sys"
)

// pollEvery is how often a log is looked at when the kernel does not tell of changes, and patience how long a follower
// relies on being told.
const (
	pollEvery = 50 * time.Millisecond
	patience  = 2 * time.Second
)

// follow reads from begin and goes on as the log grows.
func (r *reader) follow(ctx context.Context, ended <-chan struct{}, begin place) error {
	changed, every := (<-chan struct{})(nil), pollEvery
	if watch, err := sys.WatchFolder(filepath.Dir(r.cfg.Path)); err == nil {
		defer watch.Close()
		changed, every = watch.Changed(), patience
	}
	var until <-chan time.Time
	if !r.query.Until.IsZero() {
		timer := time.NewTimer(time.Until(r.query.Until))
		defer timer.Stop()
		until = timer.C
	}
	poll := time.NewTicker(every)
	defer poll.Stop()

	r.index = begin.file
	if len(r.files) > 0 {
		if err := r.open(begin.at); err != nil {
			return err
		}
	}
	last := false
	for {
		if err := r.catchUp(ctx); err != nil || last || r.done || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ended: // what was written before is read in one more round
			last = true
		case <-until:
			last = true
		case <-changed:
		case <-poll.C:
		}
	}
}

// catchUp emits everything there is, through all files.
func (r *reader) catchUp(ctx context.Context) error {
	for !r.done && ctx.Err() == nil {
		if r.index < len(r.files) {
			if err := r.drain(ctx, math.MaxInt64); err != nil {
				return err
			}
		}
		if r.index < len(r.files)-1 {
			r.index++
			if err := r.open(0); err != nil {
				return err
			}
			continue
		}
		more, err := r.afterRotation(ctx)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// afterRotation looks whether a new file took the log's name; if so it finishes the old one and goes to the file that
// came next, which may itself have been rotated since.
func (r *reader) afterRotation(ctx context.Context) (bool, error) {
	info, err := os.Stat(r.cfg.Path)
	if err != nil {
		return false, nil // not made yet, or removed: whoever follows is told by ended
	}
	var current os.FileInfo
	if len(r.files) > 0 {
		current = r.files[r.index].info
		if s, ok := current.(sized); ok {
			current = s.FileInfo
		}
		if os.SameFile(current, info) {
			return false, nil
		}
		if err := r.drain(ctx, math.MaxInt64); err != nil { // written before the change of names
			return false, err
		}
	}
	files, err := openFiles(r.cfg.Path)
	if err != nil {
		return false, err
	}
	next := 0
	for i, f := range files {
		if current != nil && os.SameFile(f.info, current) {
			next = i + 1
		}
	}
	if next == 0 && current != nil { // ours is gone: what it held is told apart by time
		r.fence = r.newest
		for next < len(files)-1 && files[next].olderThan(r.newest) {
			next++
		}
	}
	if next == len(files) { // removed in this very moment
		closeFiles(files)
		return false, nil
	}
	closeFiles(r.files)
	closeFiles(files[:next])
	r.files, r.index, r.wanted = files[next:], 0, [2]place{}
	return true, r.open(0)
}
