package cache

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
)

// Mounts keeps the folders that RUN --mount=type=cache shows to steps, from one build to the next. They are no layers: what
// is in them changes, belongs to no image, and decides no key.
//
//	<root>/
//	    <id>/     one folder's content
//	    gone/     what is being removed; emptied at the start
//
// In the database:
//
//	build.mounts      id → mountRecord
//
// A folder without a record is one that was never finished: it is removed at the start.
type Mounts struct {
	root  string
	table *state.Table[mountRecord]

	mu      sync.Mutex
	folders map[string]*folder
	changed chan struct{} // closed, and made anew, when a folder comes free
	gone    int
}

// mountRecord is what a folder does not tell itself.
type mountRecord struct {
	// Key is what steps ask for: the ID they name, and what the folder began as.
	Key         string
	Description string
	Created     time.Time
	LastUsed    time.Time
	Uses        int
}

// folder is one of a key's folders. There are several where steps wanted one each at the same time.
type folder struct {
	mountRecord
	id        string
	users     int
	alone     bool   // its user shares it with nobody
	doomed    bool   // goes when its last user leaves
	fresh     string // the build for which it was begun anew
	size      int64
	measured  bool
	unwritten bool // it is being filled
}

// Sharing says who may use a folder at the same time.
type Sharing int

// Shared is everybody at once; Private gives everybody one of his own, and keeps it for the next who comes alone; Locked
// lets one after the other.
const (
	Shared Sharing = iota
	Private
	Locked
)

// MountRequest asks for a folder.
type MountRequest struct {
	Key         string
	Sharing     Sharing
	Description string
	// Fresh, when it is not empty, is a build that wants it to begin anew, once however often it asks.
	Fresh string
	// Fill gives a new folder what it begins with; nil: nothing.
	Fill func(dir *os.File) error
}

// Mount is a use of a folder.
type Mount struct {
	// Dir is the folder.
	Dir     string
	release func()
}

// Release ends the use. Doing it again does nothing.
func (m *Mount) Release() { m.release() }

// OpenMounts opens the folders in root, made if absent.
func OpenMounts(root string, db *state.DB) (*Mounts, error) {
	m := &Mounts{root: root, folders: map[string]*folder{}, changed: make(chan struct{})}
	if err := m.open(db); err != nil {
		return nil, fmt.Errorf("open cache mounts: %w", err)
	}
	return m, nil
}

func (m *Mounts) open(db *state.DB) (err error) {
	if err := os.MkdirAll(filepath.Join(m.root, goneName), 0o700); err != nil {
		return err
	}
	if m.table, err = state.NewTable[mountRecord](db, "build.mounts"); err != nil {
		return err
	}
	known, err := m.table.All()
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(m.root)
	if err != nil {
		return err
	}
	for _, e := range entries {
		record, ok := known[e.Name()]
		delete(known, e.Name())
		if ok {
			m.folders[e.Name()] = &folder{mountRecord: record, id: e.Name()}
			continue
		}
		if err := removeAll(m.root, e.Name()); err != nil {
			return err
		}
	}
	for id := range known {
		m.table.DeleteLater(id)
	}
	return os.MkdirAll(filepath.Join(m.root, goneName), 0o700)
}

const goneName = "gone"

func removeAll(root, name string) error {
	dir, err := os.Open(root)
	if err != nil {
		return err
	}
	defer dir.Close()
	return sys.RemoveTreeAt(sys.Borrow(dir), name)
}

// Take gives a step a folder; a Locked one waits for who has it.
func (m *Mounts) Take(ctx context.Context, r MountRequest) (*Mount, error) {
	for {
		m.mu.Lock()
		m.renew(r)
		f, wait := m.pick(r)
		changed := m.changed
		if f == nil && !wait {
			f = &folder{id: newID(), unwritten: true, fresh: r.Fresh}
			f.mountRecord = mountRecord{Key: r.Key, Description: r.Description, Created: time.Now().UTC()}
			m.folders[f.id] = f
		}
		if f != nil {
			f.users++
			f.alone = r.Sharing != Shared
		}
		m.mu.Unlock()
		if f != nil {
			return m.give(f, r)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for the cache mount: %w", context.Cause(ctx))
		}
	}
}

// renew dooms the folders of a key that shall begin anew. The lock is held.
func (m *Mounts) renew(r MountRequest) {
	if r.Fresh == "" {
		return
	}
	for _, f := range m.folders {
		if f.Key == r.Key && f.fresh != r.Fresh && !f.doomed {
			f.doomed = true
			m.bury(f)
		}
	}
}

// pick finds a folder that may be used now; wait tells that one has to come free first. The lock is held.
func (m *Mounts) pick(r MountRequest) (f *folder, wait bool) {
	for _, id := range slices.Sorted(maps.Keys(m.folders)) {
		f := m.folders[id]
		if f.Key != r.Key || f.doomed {
			continue
		}
		switch {
		case f.unwritten:
			wait = wait || r.Sharing != Private
		case f.users == 0, r.Sharing == Shared && !f.alone:
			return f, false
		default:
			wait = wait || r.Sharing == Locked
		}
	}
	return nil, wait
}

// give makes the folder where it is new.
func (m *Mounts) give(f *folder, r MountRequest) (*Mount, error) {
	path := filepath.Join(m.root, f.id)
	if f.unwritten {
		err := fill(path, r.Fill)
		m.mu.Lock()
		f.unwritten = false
		f.doomed = f.doomed || err != nil
		m.mu.Unlock()
		if err != nil {
			m.leave(f)
			return nil, fmt.Errorf("make cache mount: %w", err)
		}
		m.mu.Lock()
		m.wake()
		m.mu.Unlock()
	}
	m.mu.Lock()
	f.Uses++
	f.LastUsed = time.Now().UTC()
	f.measured = false
	if !f.doomed {
		m.table.PutLater(f.id, f.mountRecord)
	}
	m.mu.Unlock()
	return &Mount{Dir: path, release: sync.OnceFunc(func() { m.leave(f) })}, nil
}

func fill(path string, with func(dir *os.File) error) error {
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	if with == nil {
		return nil
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	defer dir.Close()
	return with(dir)
}

// wake has those look again who wait. The lock is held.
func (m *Mounts) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func (m *Mounts) leave(f *folder) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.users--
	f.alone = false
	m.bury(f)
	m.wake()
}

// bury removes a folder that is doomed and has no user: at once for all who look, its files a little later. The lock is
// held.
func (m *Mounts) bury(f *folder) {
	if !f.doomed || f.users > 0 {
		return
	}
	delete(m.folders, f.id)
	m.table.DeleteLater(f.id)
	m.gone++
	name := fmt.Sprint(m.gone)
	gone := filepath.Join(m.root, goneName)
	err := os.Rename(filepath.Join(m.root, f.id), filepath.Join(gone, name))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		go func() {
			if err := removeAll(gone, name); err != nil {
				slog.Warn("what was removed of a cache mount is left until the next start", "error", err)
			}
		}()
		return
	}
	slog.Warn("a cache mount is left until the next start", "id", f.id, "error", err)
}

// List gives the folders as records of the cache, measured, of kind ExecMount. InUse tells which have users.
func (m *Mounts) List(ctx context.Context) (records []Record, inUse map[string]bool, err error) {
	m.mu.Lock()
	all := slices.Collect(maps.Values(m.folders))
	m.mu.Unlock()
	inUse = map[string]bool{}
	for _, f := range all {
		m.mu.Lock()
		r := Record{
			ID: f.id, Kind: ExecMount, Description: f.Description, Size: f.size,
			Created: f.Created, LastUsed: f.LastUsed, Uses: f.Uses,
		}
		known := f.measured
		skip := f.doomed || f.unwritten
		inUse[f.id] = f.users > 0
		m.mu.Unlock()
		if skip {
			delete(inUse, r.ID)
			continue
		}
		if !known {
			if r.Size, err = m.measure(ctx, f); err != nil {
				return nil, nil, err
			}
		}
		records = append(records, r)
	}
	slices.SortFunc(records, func(a, b Record) int { return a.Created.Compare(b.Created) })
	return records, inUse, nil
}

func (m *Mounts) measure(ctx context.Context, f *folder) (int64, error) {
	dir, err := os.Open(filepath.Join(m.root, f.id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // removed meanwhile
	}
	if err != nil {
		return 0, fmt.Errorf("measure cache mount: %w", err)
	}
	defer dir.Close()
	size, err := archive.Space(ctx, dir)
	if err != nil {
		return 0, fmt.Errorf("measure cache mount: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	f.size, f.measured = size, f.users == 0
	return size, nil
}

// Remove removes folders that nobody uses. One in use is errdefs.ErrFailedPrecondition, the others are removed.
func (m *Mounts) Remove(ids ...string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	var err error
	for _, id := range ids {
		f := m.folders[id]
		switch {
		case f == nil:
		case f.users > 0:
			err = errors.Join(err, fmt.Errorf("cache mount %s is in use: %w", id, errdefs.ErrFailedPrecondition))
		default:
			f.doomed = true
			m.bury(f)
		}
	}
	return err
}
