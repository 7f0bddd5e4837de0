// Package forward sends what containers print to receivers elsewhere: syslog, journald, GELF and fluentd servers.
//
// It reads the container's log, which the supervisor writes whatever becomes of the receiver, so a receiver that is slow or
// away never blocks a container and costs no line: what it has not taken waits in the log, as long as that keeps it. How
// far each log was sent is in the database; a daemon that was killed goes on from there, and may send the last lines twice.
//
//	cove.db
//	    forwarded          bucket: container → whose log it is, where it goes, how far it was sent, as JSON
//	<data-root>/forward/
//	    <id>/              the log of a container that was removed before everything of it was sent
package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/state"
)

// record is a target and how far its log was sent.
type record struct {
	logs.Target
	// Sent is the time of the last line that the receiver has; no two lines of a log have the same.
	Sent time.Time
	// Moved tells that the container is gone and its log lies in this store's folder.
	Moved bool
}

// Store follows logs. It is safe for concurrent use.
type Store struct {
	root  string
	table *state.Table[record]
	log   *slog.Logger
	ctx   context.Context // of all followers, which outlive the calls that begin them
	stop  context.CancelFunc
	work  sync.WaitGroup

	mu        sync.Mutex
	followers map[string]*follower
	records   map[string]record
}

// Open goes on with the logs of containers that are gone. The others follow by Follow, then Sweep.
func Open(root string, db *state.DB, log *slog.Logger) (*Store, error) {
	table, err := state.NewTable[record](db, "forwarded")
	if err != nil {
		return nil, err
	}
	records, err := table.All()
	if err != nil {
		return nil, err
	}
	s := &Store{root: root, table: table, log: log, followers: map[string]*follower{}, records: records}
	s.ctx, s.stop = context.WithCancel(context.Background())
	if err := s.clear(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range maps.Clone(records) { // followers write to the other one
		if r.Moved {
			s.begin(id, r, ended())
		}
	}
	return s, nil
}

// clear removes the folders nobody sends from any more.
func (s *Store) clear() error {
	entries, err := os.ReadDir(s.root)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open logs to be sent: %w", err)
	}
	for _, e := range entries {
		if !s.records[e.Name()].Moved {
			err = errors.Join(err, os.RemoveAll(filepath.Join(s.root, e.Name())))
		}
	}
	return err
}

// Close ends all sending, and notes how far it came.
func (s *Store) Close() {
	s.stop()
	s.work.Wait()
}

// Follow sends what the container prints until ended is closed and everything has been sent. When the log is followed
// already it goes on, until this ended.
func (s *Store) Follow(t logs.Target, ended <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := t.Subject.ID
	if f := s.followers[id]; f != nil && f.goOn(ended) {
		return
	}
	r := record{Target: t, Sent: s.records[id].Sent}
	s.records[id] = r
	s.table.PutLater(id, r)
	s.begin(id, r, ended)
}

// begin starts a follower. The caller holds the lock.
func (s *Store) begin(id string, r record, ended <-chan struct{}) {
	f := &follower{id: id, record: r, path: r.Log.Path, ended: ended, note: func(sent time.Time) { s.note(id, sent) }, log: s.log}
	s.followers[id] = f
	s.work.Go(func() {
		f.run(s.ctx)
		s.over(f)
	})
}

// note writes down how far a log was sent.
func (s *Store) note(id string, sent time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r, ok := s.records[id]; ok {
		r.Sent = sent
		s.records[id] = r
		s.table.PutLater(id, r)
	}
}

// over forgets a follower that has come to its end, and the log it had to itself.
func (s *Store) over(f *follower) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.followers[f.id] == f {
		delete(s.followers, f.id)
	}
	if s.ctx.Err() == nil && s.records[f.id].Moved {
		s.forget(f.id)
	}
}

func (s *Store) forget(id string) {
	delete(s.records, id)
	s.table.DeleteLater(id)
	if err := os.RemoveAll(filepath.Join(s.root, id)); err != nil {
		s.log.Error("could not remove a log that was sent", "container", id, "error", err)
	}
}

// Release is told that the container's files are about to be removed: what was not sent yet is put aside first.
func (s *Store) Release(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, known := s.records[id]
	if !known || r.Moved {
		return nil
	}
	f := s.followers[id]
	if f == nil {
		s.forget(id)
		return nil
	}
	aside := filepath.Join(s.root, id)
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return fmt.Errorf("put the unsent log of %s aside: %w", id, err)
	}
	dir, name := filepath.Split(r.Log.Path)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("put the unsent log of %s aside: %w", id, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), name) {
			continue
		}
		if err := os.Rename(filepath.Join(dir, e.Name()), filepath.Join(aside, e.Name())); err != nil {
			return fmt.Errorf("put the unsent log of %s aside: %w", id, err)
		}
	}
	r.Log.Path, r.Moved = filepath.Join(aside, name), true
	s.records[id] = r
	f.moved(r.Log.Path)
	return s.table.Put(id, r)
}

// Sweep forgets the containers that are gone without Release, after a crash.
func (s *Store) Sweep(exists func(id string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, r := range s.records {
		if !r.Moved && !exists(id) {
			s.forget(id)
		}
	}
}

// Validate checks the values of a driver's options; the kind is errdefs.ErrInvalidArgument.
func (s *Store) Validate(driver string, options map[string]string) error {
	make := receivers[driver]
	if make == nil {
		return nil
	}
	_, err := make(logs.Target{Driver: driver, Options: options})
	return err
}

// receivers make what lines are sent to, by driver. Nothing is connected before the first line.
var receivers = map[string]func(logs.Target) (receiver, error){
	logs.Syslog: newSyslog, logs.Journald: newJournald, logs.GELF: newGELF, logs.Fluentd: newFluentd,
}

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// ended is the end of a container that does not run.
func ended() <-chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}
