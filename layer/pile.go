package layer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// Pile is a read-only file system: its layers, lowest first, each named by its diff ID ("sha256:…", as images have it)
// or by the name that a build gave it. Empty, it is a file system with nothing in it.
type Pile []string

// Images is the pile of an image's layers.
func Images(diffIDs []digest.Digest) Pile {
	p := make(Pile, len(diffIDs))
	for i, id := range diffIDs {
		p[i] = id.String()
	}
	return p
}

// ofImage tells that a layer's name is a diff ID; names that builds give have no colon.
func ofImage(name string) bool { return strings.Contains(name, ":") }

// split parts the image's layers that a pile begins with from what is above them.
func (p Pile) split() (image []digest.Digest, above Pile) {
	for i, name := range p {
		if !ofImage(name) {
			return image, p[i:]
		}
		image = append(image, digest.Digest(name))
	}
	return image, nil
}

// Standing tells that all layers of the pile are there, whole.
func (s *Store) Standing(p Pile) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.directories(p)
	return err == nil
}

// Movable tells that a pile may lie on any other one: its layers were unpacked without looking at those below, or were
// built on nothing. What others hide (directories that take the place of ones below) holds only where they were made.
func (s *Store) Movable(p Pile) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, name := range p {
		if record, ok := s.known.built[name]; ok && !record.Bare && !record.Void {
			return false
		}
		if ofImage(name) && s.known.layers[digest.Digest(name)].open(1) {
			return false
		}
	}
	return true
}

// PileDirs are the directories that a pile consists of, the topmost first, each with overlayfs' whiteouts: for whoever
// reads what the layers hold one by one. A pile with nothing in it has one, or none.
func (s *Store) PileDirs(p Pile) ([]string, error) {
	if len(p) == 0 {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	dirs, err := s.directories(p)
	if err != nil {
		return nil, fmt.Errorf("layers of pile: %w", err)
	}
	return dirs, nil
}

// directories are the directories of a pile as overlayfs wants them, topmost first; those of layers with nothing in them
// are left out. The lock is held.
func (s *Store) directories(p Pile) ([]string, error) {
	if flat, above := s.flattened(p); flat != "" {
		return s.stackOn([]string{s.builtTree(flat)}, above)
	}
	image, above := p.split()
	if len(image) == 0 {
		return s.stackOn(nil, above)
	}
	stack, err := s.stack(image)
	if err != nil {
		return nil, err
	}
	return s.stackOn(stack, above)
}

// stackOn adds the directories of layers to those of what they lie on, topmost first. The lock is held.
func (s *Store) stackOn(dirs []string, above Pile) ([]string, error) {
	slices.Reverse(dirs) // lowest first, while it grows
	for _, name := range above {
		dir, alone, err := s.pileDirectory(name)
		switch {
		case err != nil:
			return nil, err
		case dir == "":
			continue
		case alone:
			dirs = nil
		}
		// What occurs twice counts where it lies higher.
		dirs = append(slices.DeleteFunc(dirs, func(other string) bool { return other == dir }), dir)
	}
	if len(dirs) == 0 {
		dirs = []string{s.path("empty")}
	}
	slices.Reverse(dirs)
	return dirs, nil
}

// pileDirectory is the directory of a layer that does not lie on those of its image, none when nothing is in it. alone
// tells that it hides everything below. The lock is held.
func (s *Store) pileDirectory(name string) (dir string, alone bool, err error) {
	if !ofImage(name) {
		record, ok := s.known.built[name]
		switch {
		case !ok:
			return "", false, noBuilt(name)
		case !record.sealed:
			return "", false, fmt.Errorf("built layer %s is still being written to: %w", name, errdefs.ErrFailedPrecondition)
		case record.Void:
			return "", false, nil
		}
		return s.builtTree(name), false, nil
	}
	record, ok := s.known.layers[digest.Digest(name)]
	switch {
	case !ok:
		return "", false, fmt.Errorf("layer %s: %w", name, errdefs.ErrNotFound)
	case record.open(1):
		return "", false, fmt.Errorf("layer %s fits only on the layers of its image: %w", name, errdefs.ErrFailedPrecondition)
	}
	return s.tree(digest.Digest(name), record), record.Opaque, nil
}

// flattened finds the layer that holds in one what the lower part of a pile adds up to, and the names above that part.
// The lock is held.
func (s *Store) flattened(p Pile) (flat string, above Pile) {
	if len(p) == 0 {
		return "", nil
	}
	top := s.known.built[p[len(p)-1]]
	if top.Flat == "" || !slices.Equal(top.Below, p[:len(p)-1]) {
		return "", nil
	}
	return top.Flat, p[top.Flattened:]
}

// OpenPile mounts a pile for reading where no other process sees it; callers at the same time share one mount.
func (s *Store) OpenPile(ctx context.Context, p Pile) (*Root, error) {
	return s.OpenPileAs(ctx, p, nil)
}

// OpenPileAs is OpenPile with a mapping.
func (s *Store) OpenPileAs(_ context.Context, p Pile, as *sys.Mapping) (*Root, error) {
	s.mu.Lock()
	dirs, err := s.directories(p)
	if err != nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("open pile: %w", err)
	}
	key := "pile " + as.String() + strings.Join(p, " ")
	m := s.join(key)
	s.mu.Unlock()
	o := overlaid{lower: dirs, as: as}
	if empty := s.path("empty"); dirs[0] == empty {
		o = overlaid{upper: empty, as: as}
	} else if len(dirs) == 1 { // the kernel wants two
		o.lower = append(dirs, empty)
	}
	r, err := s.show(key, m, o, func() {})
	if err != nil {
		return nil, fmt.Errorf("open pile: %w", err)
	}
	return r, nil
}

// PackPile writes what the topmost layers of a pile, so many, have changed as the tar of one image layer; the same
// changes always give the same bytes.
func (s *Store) PackPile(ctx context.Context, w io.Writer, p Pile, top int) error {
	if top < 0 || top > len(p) {
		return fmt.Errorf("pack %d layers of %d: %w", top, len(p), errdefs.ErrInvalidArgument)
	}
	over, under, err := s.halves(p, top)
	if err != nil {
		return fmt.Errorf("pack pile: %w", err)
	}
	if err := packTrees(ctx, w, over, under); err != nil {
		return fmt.Errorf("pack pile: %w", err)
	}
	return nil
}

// halves are the directories of the topmost layers of a pile and those of the layers below them.
func (s *Store) halves(p Pile, top int) (over, under []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	rest := p[:len(p)-top]
	if under, err = s.directories(rest); err != nil {
		return nil, nil, err
	}
	if !slices.ContainsFunc(p[len(rest):], ofImage) {
		for _, name := range slices.Backward(p[len(rest):]) {
			dir, _, err := s.pileDirectory(name)
			if err != nil {
				return nil, nil, err
			}
			if dir != "" {
				over = append(over, dir)
			}
		}
	} else {
		all, err := s.directories(p)
		if err != nil {
			return nil, nil, err
		}
		if over = all; len(rest) > 0 {
			n := len(all) - len(under)
			if n < 0 || !slices.Equal(all[n:], under) {
				return nil, nil, fmt.Errorf("these layers have no form of their own without those below: %w", errdefs.ErrNotImplemented)
			}
			over = all[:n]
		}
	}
	if len(over) == 0 {
		over = []string{s.path("empty")}
	}
	return over, under, nil
}

// pileRoot reads what a pile says the root directory is. Only a build's own layers have one of their own without fail.
func (s *Store) pileRoot(p Pile) (*archive.Attributes, error) {
	dir := s.path("empty")
	s.mu.Lock()
	for _, name := range slices.Backward(p) {
		if !ofImage(name) {
			dir = s.builtTree(name)
			break
		}
		if record := s.known.layers[digest.Digest(name)]; record.RootListed {
			dir = s.tree(digest.Digest(name), record)
			break
		}
	}
	s.mu.Unlock()
	return readRoot(dir)
}

// flatten makes sure that overlayfs can stack what the built layer name lies on: a pile too long for it gets a layer that
// holds in one what the pile adds up to, which later ones on top of it use too.
func (s *Store) flatten(ctx context.Context, name string, below Pile) error {
	s.mu.Lock()
	record := s.known.built[name]
	record.Flat, record.Flattened = "", 0
	if flat, rest := s.flattened(below); flat != "" {
		record.Flat, record.Flattened = flat, len(below)-len(rest)
		s.known.built[name] = record
	}
	dirs, err := s.directories(below)
	s.mu.Unlock()
	if err != nil || len(dirs) < mostStacked {
		return err
	}
	flat := "flat-" + digest.FromString(strings.Join(below, " ")).Encoded()
	use := func() {
		record := s.known.built[name]
		record.Flat, record.Flattened = flat, len(below)
		s.known.built[name] = record
	}
	ready := func() bool {
		_, ok := s.known.built[flat]
		if ok {
			use()
		}
		return ok
	}
	return s.share(ctx, "flat "+flat, ready, func() error {
		if err := s.fillFlat(ctx, flat, below); err != nil {
			return errors.Join(err, s.discard("built", flat))
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		// Nobody but those who stand on it wants it.
		s.known.built[flat] = builtRecord{Scrapped: true, Bare: true, sealed: true}
		use()
		return nil
	})
}

func (s *Store) fillFlat(ctx context.Context, flat string, below Pile) error {
	defer s.begin(s.path("built", flat))()
	from, err := s.OpenPile(ctx, below)
	if err != nil {
		return err
	}
	defer from.Close()
	if err := os.MkdirAll(s.builtTree(flat), 0o755); err != nil {
		return err
	}
	to, err := os.Open(s.builtTree(flat))
	if err != nil {
		return err
	}
	defer to.Close()
	return archive.CopyTree(ctx, to, from.Dir, archive.CopyOptions{Root: true})
}
