package layer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
)

// builtRecord tells what a build's layer is.
type builtRecord struct {
	Below Pile `json:",omitempty"`
	// Flat is the layer that holds in one what the first Flattened of those below add up to, where they are too many.
	Flat      string `json:",omitempty"`
	Flattened int    `json:",omitempty"`
	// Bare tells that it was made on nothing, without overlayfs; Void that it changes nothing at all.
	Bare, Void bool `json:",omitempty"`
	// Scrapped tells that only those who stand on it keep it.
	Scrapped bool `json:",omitempty"`

	// Newest is the time of the newest thing that went into it, in seconds since 1970.
	Newest int64 `json:",omitempty"`

	began   time.Time
	sealed  bool // nobody writes to it any more
	durable bool // the database has the record, so the disk has the tree
}

func noBuilt(name string) error { return fmt.Errorf("built layer %s: %w", name, errdefs.ErrNotFound) }

// builtTree is the folder of a built layer's files.
func (s *Store) builtTree(name string) string { return s.path("built", name, "upper") }

// Build makes a layer to write to on top of a pile, whose layers stay for as long as this one is there. Overlay, Root
// and Hold work on it as on a container's; on nothing, what Root shows is no overlay, and the layer fits on any pile. Until
// it is sealed, what is left of it when the process ends is removed by the next start.
func (s *Store) Build(ctx context.Context, name string, below Pile) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/:") {
		return fmt.Errorf("build layer %q: not a name: %w", name, errdefs.ErrInvalidArgument)
	}
	if err := s.claimBuilt(name, builtRecord{Below: slices.Clone(below), Bare: len(below) == 0, began: time.Now()}); err != nil {
		return fmt.Errorf("build layer %s: %w", name, err)
	}
	err := s.flatten(ctx, name, below)
	if err == nil {
		err = s.makeBuilt(name, below)
	}
	if err != nil {
		return fmt.Errorf("build layer %s: %w", name, errors.Join(err, s.Scrap(ctx, name)))
	}
	return nil
}

// claimBuilt takes the name, and with it the layers below.
func (s *Store) claimBuilt(name string, record builtRecord) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.directories(record.Below); err != nil {
		return err
	}
	_, taken := s.known.built[name]
	if _, other := s.known.writable[name]; taken || other || s.adopted(name) {
		return errdefs.ErrAlreadyExists
	}
	s.known.built[name] = record
	return nil
}

func (s *Store) makeBuilt(name string, below Pile) error {
	for _, dir := range []string{s.path("built", name), s.path("built", name, "work"), s.builtTree(name)} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
	}
	attrs, err := s.pileRoot(below)
	if err != nil {
		return err
	}
	to, err := os.Open(s.builtTree(name))
	if err != nil {
		return err
	}
	defer to.Close()
	return attrs.Apply(to, "")
}

// builtOverlay is overlay for a built layer.
func (s *Store) builtOverlay(name string, record builtRecord) (overlaid, error) {
	if record.sealed {
		return overlaid{}, fmt.Errorf("built layer %s is finished, nothing writes to it any more: %w", name, errdefs.ErrFailedPrecondition)
	}
	o := overlaid{upper: s.builtTree(name), work: s.path("built", name, "work"), built: true}
	var err error
	switch {
	case record.Flat != "":
		o.lower, err = s.stackOn([]string{s.builtTree(record.Flat)}, record.Below[record.Flattened:])
	case !record.Bare:
		o.lower, err = s.directories(record.Below)
	}
	return o, err
}

// Seal ends the writing: from now on the layer, which nobody has mounted any more, is one of piles. empty tells that there is
// nothing in it. It is on disk, to outlive the process, once Settle is through.
func (s *Store) Seal(ctx context.Context, name string) (empty bool, err error) {
	return s.seal(ctx, name, true)
}

// SealAsIs is Seal for what others have made and was only brought here: its times stay as they are.
func (s *Store) SealAsIs(ctx context.Context, name string) (empty bool, err error) {
	return s.seal(ctx, name, false)
}

func (s *Store) seal(ctx context.Context, name string, made bool) (empty bool, err error) {
	s.mu.Lock()
	record, ok := s.known.built[name]
	mounted := s.roots[name] != nil
	s.mu.Unlock()
	switch {
	case !ok:
		return false, fmt.Errorf("seal: %w", noBuilt(name))
	case mounted:
		return false, fmt.Errorf("seal built layer %s: it is still mounted: %w", name, errdefs.ErrFailedPrecondition)
	}
	if empty, err = isEmpty(s.builtTree(name)); err != nil {
		return false, fmt.Errorf("seal built layer %s: %w", name, err)
	}
	if empty && !record.Bare {
		if record.Void, err = s.sameRoot(name, record.Below); err != nil {
			return false, fmt.Errorf("seal built layer %s: %w", name, err)
		}
	}
	if made {
		err = s.stamp(ctx, name, &record)
	}
	if err == nil {
		err = removeTree(s.path("built", name, "work"))
	}
	if err != nil {
		return false, fmt.Errorf("seal built layer %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if now, ok := s.known.built[name]; ok {
		record.Scrapped, record.Bare, record.sealed = now.Scrapped, now.Bare, true
		s.known.built[name] = record
	}
	return empty, nil
}

func (s *Store) sameRoot(name string, below Pile) (bool, error) {
	now, err := readRoot(s.builtTree(name))
	if err != nil {
		return false, err
	}
	was, err := s.pileRoot(below)
	return err == nil && now.Same(was), err
}

// Settle has every layer sealed so far on disk, so that neither a crash nor a loss of power takes it: one sync and one
// write for as many as there are. Whoever records that a pile holds something does so afterwards.
func (s *Store) Settle(context.Context) error {
	s.mu.Lock()
	waiting := map[string]builtRecord{}
	for name, record := range s.known.built {
		if record.sealed && !record.durable {
			waiting[name] = record
		}
	}
	s.mu.Unlock()
	if len(waiting) == 0 {
		return nil
	}
	dir, err := os.Open(s.path("built"))
	if err != nil {
		return fmt.Errorf("settle built layers: %w", err)
	}
	defer dir.Close()
	if err = sys.SyncFileSystem(sys.Borrow(dir)); err != nil {
		return fmt.Errorf("settle built layers: %w", err)
	}
	err = s.db.Update(func(tx *state.Tx) error {
		for name, record := range waiting {
			if err := s.builts.PutIn(tx, name, record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("settle built layers: %w", err)
	}
	return s.settled(waiting)
}

// settled notes what the database has now. What was scrapped meanwhile goes from there again.
func (s *Store) settled(written map[string]builtRecord) error {
	s.mu.Lock()
	var gone []string
	for name := range written {
		record, ok := s.known.built[name]
		if !ok {
			gone = append(gone, name)
			continue
		}
		record.durable = true
		s.known.built[name] = record
	}
	s.mu.Unlock()
	if len(gone) == 0 {
		return nil
	}
	return s.forgetBuilt(gone, nil)
}

// Built lists the sealed layers that nobody has scrapped, sorted.
func (s *Store) Built() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var names []string
	for name, record := range s.known.built {
		if record.sealed && !record.Scrapped {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// BuiltSize is what a built layer takes on disk; adopted tells that it is a layer of an image too, so that removing it
// gives nothing back.
func (s *Store) BuiltSize(ctx context.Context, name string) (size int64, adopted bool, err error) {
	s.mu.Lock()
	record, ok := s.known.built[name]
	tree := s.builtTree(name)
	size, known := s.measured[tree]
	adopted = s.adopted(name)
	s.mu.Unlock()
	if !ok {
		return 0, false, noBuilt(name)
	}
	if known || record.Void {
		return size, adopted, nil
	}
	if size, err = measure(ctx, tree); err != nil {
		return 0, false, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.known.built[name]; ok && record.sealed {
		if s.measured == nil {
			s.measured = map[string]int64{}
		}
		s.measured[tree] = size
	}
	return size, adopted, nil
}

// Scrap gives built layers up, finished or not; absent ones are no error. What others stand on goes with the last of them,
// and what has become a layer of an image stays for that.
func (s *Store) Scrap(_ context.Context, names ...string) error {
	for _, name := range names {
		s.drive(name)
	}
	s.mu.Lock()
	changed := map[string]builtRecord{}
	for _, name := range names {
		if record, ok := s.known.built[name]; ok && !record.Scrapped {
			record.Scrapped = true
			s.known.built[name], changed[name] = record, record
		}
	}
	gone, trees := s.collect()
	s.mu.Unlock()
	var durable []string
	for _, name := range slices.Sorted(maps.Keys(gone)) {
		if gone[name].durable {
			durable = append(durable, name)
		}
		delete(changed, name)
	}
	maps.DeleteFunc(changed, func(_ string, record builtRecord) bool { return !record.durable })
	if err := s.forgetBuilt(durable, changed); err != nil {
		return err
	}
	var err error
	for _, name := range trees {
		err = errors.Join(err, s.discard("built", name))
	}
	if err != nil {
		return fmt.Errorf("remove built layers: %w", err)
	}
	return nil
}

// collect takes out what was given up and nobody stands on, and tells which folders nothing needs any more. The lock is
// held.
func (s *Store) collect() (gone map[string]builtRecord, trees []string) {
	gone = map[string]builtRecord{}
	stands := map[string]int{}
	for _, record := range s.known.built {
		record.eachBelow(func(name string) { stands[name]++ })
	}
	for more := true; more; {
		more = false
		for name, record := range s.known.built {
			if !record.Scrapped || stands[name] > 0 {
				continue
			}
			record.eachBelow(func(name string) { stands[name]-- })
			delete(s.known.built, name)
			delete(s.measured, s.builtTree(name))
			gone[name], more = record, true
			if !s.adopted(name) {
				trees = append(trees, name)
			}
		}
	}
	return gone, trees
}

// eachBelow names the built layers that one stands on.
func (r builtRecord) eachBelow(do func(name string)) {
	for _, name := range r.Below {
		if !ofImage(name) {
			do(name)
		}
	}
	if r.Flat != "" {
		do(r.Flat)
	}
}

func (s *Store) forgetBuilt(gone []string, changed map[string]builtRecord) error {
	if len(gone) == 0 && len(changed) == 0 {
		return nil
	}
	err := s.db.Update(func(tx *state.Tx) error {
		for _, name := range gone {
			if err := s.builts.DeleteIn(tx, name); err != nil {
				return err
			}
		}
		for name, record := range changed {
			if err := s.builts.PutIn(tx, name, record); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("remove built layers: %w", err)
	}
	return nil
}
