// Package volume keeps named and anonymous volumes and knows which containers use them.
//
// A volume's folder is made before its record and renamed away before its record goes, so that Open can tell what a
// crash left: see repair.
//
//	cove.db
//	    volumes            bucket: name → record as JSON, format 1
//	<data-root>/volumes/
//	    <name>/
//	        _data/         what containers see
//	        .filling/      only while an image's content is copied in
//	    .gone-<name>/      only while a volume is being removed
package volume

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/state"
)

const (
	dataDir    = "_data"
	fillingDir = ".filling"
	gonePrefix = ".gone-"
	// anonymousLabel marks volumes made without a name, as Docker does.
	anonymousLabel = "com.docker.volume.anonymous"
)

// Store owns the volumes under one folder. It is safe for concurrent use.
type Store struct {
	root  string
	table *state.Table[record]

	tell func(action, name string, attributes map[string]string)

	mu      sync.Mutex
	records map[string]record
	users   map[string]map[string]bool // volume → containers
	leaving map[string]int             // volumes whose files are being deleted
	rooms   map[string]*shared         // volumes that are mounted
}

// record is what is remembered of a volume.
type record struct {
	Created time.Time
	Labels  map[string]string
	Options map[string]string
}

// Open reads the volumes under root, puts right what a crash left, and says in the log what it put right.
func Open(root string, db *state.DB) (*Store, error) {
	table, err := state.NewTable[record](db, "volumes")
	if err != nil {
		return nil, err
	}
	records, err := table.All()
	if err != nil {
		return nil, err
	}
	s := &Store{
		root: root, table: table, records: records, users: map[string]map[string]bool{}, leaving: map[string]int{},
		rooms: map[string]*shared{},
		tell:  func(string, string, map[string]string) {},
	}
	// Set-user-id programs of containers must be out of reach of the host's users.
	if err := errors.Join(makeFolder(root, 0o700), os.Chmod(root, 0o700)); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	if err := s.repair(); err != nil {
		return nil, fmt.Errorf("open volumes: %w", err)
	}
	return s, nil
}

// Tell has tell called after a volume was made ("create") or removed ("destroy"), and after volumes were pruned. To be
// called before anything else.
func (s *Store) Tell(tell func(action, name string, attributes map[string]string)) { s.tell = tell }

// makeFolder makes a folder with exactly these permissions, whatever the process's mask. One that is there stays.
func makeFolder(path string, perm os.FileMode) error {
	err := os.Mkdir(path, perm)
	if os.IsExist(err) {
		return nil
	}
	if os.IsNotExist(err) {
		if err := os.MkdirAll(filepath.Dir(path), 0o711); err != nil {
			return err
		}
		err = os.Mkdir(path, perm)
	}
	if err != nil {
		return err
	}
	return os.Chmod(path, perm)
}

// Path is the folder of the volume's content on the host.
func (s *Store) Path(name string) string { return filepath.Join(s.root, name, dataDir) }

// Create makes a volume, or returns the one that has the name already. Without a name it gets one of 64 digits and
// is anonymous.
func (s *Store) Create(ctx context.Context, req vt.CreateRequest) (vt.Volume, error) {
	name, labels := req.Name, maps.Clone(req.Labels)
	if name == "" {
		name = newName()
		if labels == nil {
			labels = map[string]string{}
		}
		labels[anonymousLabel] = ""
	}
	if err := validDriver(req.Driver); err != nil {
		return vt.Volume{}, createError(name, err)
	}
	if err := ValidName(name); err != nil {
		return vt.Volume{}, createError(name, err)
	}
	if err := validOptions(req.DriverOpts); err != nil {
		return vt.Volume{}, createError(name, err)
	}
	volume, made, err := s.make(name, record{Created: time.Now().UTC(), Labels: labels, Options: maps.Clone(req.DriverOpts)})
	if err != nil {
		return vt.Volume{}, createError(name, err)
	}
	if made {
		s.tell("create", name, map[string]string{"driver": volume.Driver})
	}
	return volume, nil
}

// make makes the volume's folder, then its record; one that is there already is returned as it is.
func (s *Store) make(name string, r record) (volume vt.Volume, made bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, exists := s.records[name]; exists {
		return s.show(name), false, nil
	}
	if err := makeFolder(filepath.Join(s.root, name), 0o701); err != nil {
		return vt.Volume{}, false, err
	}
	if err := makeFolder(s.Path(name), 0o755); err != nil {
		return vt.Volume{}, false, err
	}
	if err := s.table.Put(name, r); err != nil {
		return vt.Volume{}, false, err
	}
	s.records[name] = r
	return s.show(name), true, nil
}

// createError puts Docker's words before what went wrong; the kind stays.
func createError(name string, err error) error { return fmt.Errorf("create %s: %w", name, err) }

func validDriver(driver string) error {
	if driver == "" || driver == "local" {
		return nil
	}
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("error looking up volume plugin %s: plugin %q not found", driver, driver))
}

// ValidName checks a name in Docker's words and by its rule, but that one letter is enough.
func ValidName(name string) error {
	for i, r := range name {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !word && (i == 0 || !strings.ContainsRune("_.-", r)) {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q includes invalid characters for a local volume name, only %q are allowed. "+
				"If you intended to pass a host directory, use absolute path", name, "[a-zA-Z0-9][a-zA-Z0-9_.-]"))
		}
	}
	if len(name) > 255-len(gonePrefix) {
		return errdefs.ErrInvalidArgument.WithMessage("volume name is too long, names should be at most 249 characters")
	}
	return nil
}

func newName() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// show is a volume as the API shows it; s.mu is held.
func (s *Store) show(name string) vt.Volume {
	r := s.records[name]
	return vt.Volume{
		Name: name, Driver: "local", Scope: "local", Mountpoint: s.Path(name),
		CreatedAt: r.Created.Format(time.RFC3339), Labels: maps.Clone(r.Labels), Options: maps.Clone(r.Options),
	}
}

// Get returns the volume called name, or errdefs.ErrNotFound.
func (s *Store) Get(name string) (vt.Volume, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[name]; !ok {
		return vt.Volume{}, noSuch(name)
	}
	return s.show(name), nil
}

func noSuch(name string) error {
	return errdefs.ErrNotFound.WithMessage("get " + name + ": no such volume")
}

// List returns the volumes that the filters (dangling, driver, label, name) let through, by name.
func (s *Store) List(filters api.Filters) ([]vt.Volume, error) {
	if err := filters.Check("dangling", "driver", "label", "name"); err != nil {
		return nil, err
	}
	dangling, err := filters.Bool("dangling", false)
	if err != nil {
		return nil, err
	}
	named := filters.Matcher("name")
	s.mu.Lock()
	defer s.mu.Unlock()
	all := []vt.Volume{}
	for _, name := range slices.Sorted(maps.Keys(s.records)) {
		if filters.Has("dangling") && dangling != (len(s.users[name]) == 0) {
			continue
		}
		if filters.Exact("driver", "local") && named(name) && filters.Labels("label", s.records[name].Labels) {
			all = append(all, s.show(name))
		}
	}
	return all, nil
}

// Use notes that the container uses the volume, so that it cannot be removed. The volume must exist.
func (s *Store) Use(name, containerID string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.records[name]; !ok {
		return noSuch(name)
	}
	if s.users[name] == nil {
		s.users[name] = map[string]bool{}
	}
	s.users[name][containerID] = true
	return nil
}

// Release ends every use of the volume by the container.
func (s *Store) Release(name, containerID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.users[name], containerID)
	if len(s.users[name]) == 0 {
		delete(s.users, name)
	}
}

// Users returns the containers that use the volume.
func (s *Store) Users(name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.users[name]))
}

// Anonymous tells whether the volume was made without a name.
func (s *Store) Anonymous(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, anonymous := s.records[name].Labels[anonymousLabel]
	return anonymous
}

// repair brings folders and records in step.
func (s *Store) repair() error {
	entries, err := os.ReadDir(s.root)
	if err != nil {
		return err
	}
	folders := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if gone, ok := strings.CutPrefix(name, gonePrefix); ok {
			if err := s.finishRemoval(gone); err != nil {
				return err
			}
			continue
		}
		if !e.IsDir() || ValidName(name) != nil {
			continue
		}
		if folders[name], err = s.repairFolder(name); err != nil {
			return err
		}
	}
	for name := range s.records {
		if folders[name] {
			continue
		}
		slog.Warn("the folder of a volume was missing and was made anew, empty", "volume", name)
		if err := makeFolder(filepath.Join(s.root, name), 0o701); err != nil {
			return err
		}
		if err := makeFolder(s.Path(name), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// repairFolder looks at a volume's folder and tells whether it stands.
func (s *Store) repairFolder(name string) (bool, error) {
	if err := s.removeTree(filepath.Join(name, fillingDir)); err != nil {
		return false, err
	}
	if _, known := s.records[name]; known {
		return isFolder(s.Path(name)), nil
	}
	content, err := os.ReadDir(s.Path(name))
	if err != nil || len(content) == 0 {
		slog.Warn("a volume that was only half made is removed", "volume", name)
		return false, s.removeTree(name)
	}
	// Nobody's data is thrown away: a folder with content is a volume, though it is not known of when.
	info, err := os.Stat(s.Path(name))
	if err != nil {
		return false, err
	}
	r := record{Created: info.ModTime().UTC()}
	slog.Warn("a folder with content that no record told of is a volume now", "volume", name)
	if err := s.table.Put(name, r); err != nil {
		return false, err
	}
	s.records[name] = r
	return true, nil
}

// finishRemoval ends a removal that a crash broke off after the folder was renamed away. Where there is a folder of this
// name again, the record is that of a volume made since.
func (s *Store) finishRemoval(name string) error {
	slog.Warn("the removal of a volume is finished", "volume", name)
	if _, err := os.Lstat(filepath.Join(s.root, name)); errors.Is(err, fs.ErrNotExist) {
		if err := s.table.Delete(name); err != nil {
			return err
		}
		delete(s.records, name)
	}
	return s.removeTree(gonePrefix + name)
}

func isFolder(path string) bool {
	info, err := os.Lstat(path)
	return err == nil && info.IsDir()
}
