// Package quota limits what writable layers take on disk, with the file system's own means: each limited layer is a project
// (quota(5)) of ext4 or xfs, and its directories hand that on to all that comes into them.
//
// What somebody else on the file system has as a project is never taken: the number is a random one of which the file system
// knows neither files nor limits, and that neither /etc/projects nor /etc/projid names. A limit is lifted before the
// record of its layer goes, and that of a tree without a record when the tree does, so that a crash leaves none.
package quota

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/docker/go-units"

	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
)

// Keeper knows the limits of layers. It is safe for concurrent use.
type Keeper struct {
	root  string // a folder of the file system
	table *state.Table[record]

	mu       sync.Mutex
	known    map[string]record // by writable layer
	standard int64
}

// record is the limit of a writable layer.
type record struct {
	Project uint32
	Bytes   int64
}

// Projects are taken from these numbers: tools that count upwards do so from the lower end.
const first, behind = 1 << 30, 1 << 31

// Open reads the limits of the layers that folder root holds.
func Open(root string, db *state.DB) (*Keeper, error) {
	table, err := state.NewTable[record](db, "layer-limits")
	if err != nil {
		return nil, err
	}
	known, err := table.All()
	if err != nil {
		return nil, err
	}
	return &Keeper{root: root, table: table, known: known}, nil
}

// Standard sets what layers are limited to whose options say nothing, in bytes; 0 leaves them without a limit.
func (k *Keeper) Standard(bytes int64) error {
	if bytes > 0 {
		if err := k.on(supported); err != nil {
			return errdefs.ErrFailedPrecondition.WithMessage("Storage option overlay2.size not supported. Filesystem does not support Project Quota: " + k.root)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.standard = bytes
	return nil
}

// Bound limits the layer id, which is still to be made, as the options of a container say (size=…), and refuses them in
// dockerd's words. The limit holds from Enforce on, for what lies in directories that Mark was told of.
func (k *Keeper) Bound(id string, options map[string]string) error {
	if len(options) == 0 && k.usual() == 0 {
		return nil
	}
	return k.on(func(root sys.FD) error {
		if _, sized := options["size"]; sized && supported(root) != nil {
			return errdefs.ErrInvalidArgument.WithMessage("--storage-opt is supported only for overlay over xfs with 'pquota' mount option")
		}
		bytes, err := k.size(options)
		if err != nil || bytes == 0 {
			return err
		}
		k.mu.Lock()
		defer k.mu.Unlock()
		project, err := k.free(root)
		if err != nil {
			return fmt.Errorf("find a project for a limited layer: %w", err)
		}
		k.known[id] = record{Project: project, Bytes: bytes}
		k.table.PutLater(id, k.known[id])
		return nil
	})
}

// usual is the limit of layers whose options say nothing.
func (k *Keeper) usual() int64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.standard
}

// size reads the options, as dockerd does.
func (k *Keeper) size(options map[string]string) (int64, error) {
	bytes := k.usual()
	for key, value := range options {
		if strings.ToLower(key) != "size" {
			return 0, errdefs.ErrInvalidArgument.WithMessage("Unknown option " + strings.ToLower(key))
		}
		var err error
		if bytes, err = units.RAMInBytes(value); err != nil {
			return 0, errdefs.ErrInvalidArgument.WithMessage(err.Error())
		}
	}
	return bytes, nil
}

func supported(root sys.FD) error {
	if !sys.LimitsProjects(root) {
		return errdefs.ErrNotImplemented
	}
	return nil
}

// on runs f with the file system that the layers are on.
func (k *Keeper) on(f func(root sys.FD) error) error {
	root, err := os.Open(k.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return f(sys.Borrow(root))
}

// free finds a project that nobody has. The lock is held.
func (k *Keeper) free(root sys.FD) (uint32, error) {
	named := named()
	for range 100 {
		project := first + rand.Uint32N(behind-first)
		if named[fmt.Sprint(project)] || k.has(project) {
			continue
		}
		next, found, err := sys.NextProject(root, project)
		if err != nil {
			return 0, err
		}
		if !found || next != project {
			return project, nil
		}
	}
	return 0, fmt.Errorf("all that were tried are taken: %w", errdefs.ErrUnavailable)
}

// named are the projects that the host's files name: ID:PATH in projects(5), NAME:ID in projid(5).
func named() map[string]bool {
	names := map[string]bool{}
	for _, path := range []string{"/etc/projects", "/etc/projid"} {
		text, _ := os.ReadFile(path) // mostly there is none
		for field := range strings.FieldsFuncSeq(string(text), func(r rune) bool { return r == ':' || r == '\n' }) {
			names[strings.TrimSpace(field)] = true
		}
	}
	return names
}

// has tells that a layer has the project. The lock is held.
func (k *Keeper) has(project uint32) bool {
	for _, r := range k.known {
		if r.Project == project {
			return true
		}
	}
	return false
}

func (k *Keeper) find(id string) (record, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	r, ok := k.known[id]
	return r, ok
}

// Mark has what comes into these directories from now on count for the layer id, if that is limited. It has no need of room
// in the limit, where making a directory inside one would.
func (k *Keeper) Mark(id string, dirs ...string) error {
	r, ok := k.find(id)
	if !ok {
		return nil
	}
	for _, dir := range dirs {
		if err := mark(dir, r.Project, true); err != nil {
			return fmt.Errorf("limit what is written to %s: %w", dir, err)
		}
	}
	return nil
}

func mark(path string, project uint32, directory bool) error {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	return sys.SetProject(sys.Borrow(f), project, directory)
}

// Enforce has the limit of the layer id hold. One that the layer, as it is, is at already is refused.
func (k *Keeper) Enforce(id string) error {
	r, ok := k.find(id)
	if !ok {
		return nil
	}
	return k.on(func(root sys.FD) error {
		used, _, err := sys.ProjectUse(root, r.Project)
		if err != nil {
			return fmt.Errorf("limit layer: %w", err)
		}
		if used >= r.Bytes {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("--storage-opt size of %d bytes is too small: the container's layer takes %d from the start", r.Bytes, used))
		}
		if err := sys.LimitProject(root, r.Project, r.Bytes); err != nil {
			return fmt.Errorf("limit layer: %w", err)
		}
		return nil
	})
}

// Lift ends the limit of the layer id until Enforce; without one nothing happens.
func (k *Keeper) Lift(id string) error {
	r, ok := k.find(id)
	if !ok {
		return nil
	}
	return k.lift(r.Project)
}

func (k *Keeper) lift(project uint32) error {
	return k.on(func(root sys.FD) error {
		if err := sys.LimitProject(root, project, 0); err != nil && !errors.Is(err, errdefs.ErrNotImplemented) {
			return fmt.Errorf("lift limit of layer: %w", err)
		}
		return nil
	})
}

// Pause lifts the limit of the layer id, for what its keeper itself has to make in it, until Resume.
func (k *Keeper) Pause(id string) {
	if err := k.Lift(id); err != nil {
		slog.Warn("layers: the limit of a container's files is in the way", "id", id, "error", err)
	}
}

// Resume has the limit of the layer id hold again.
func (k *Keeper) Resume(id string) {
	r, ok := k.find(id)
	if !ok {
		return
	}
	err := k.on(func(root sys.FD) error { return sys.LimitProject(root, r.Project, r.Bytes) })
	if err != nil {
		slog.Warn("layers: the limit of a container's files does not hold", "id", id, "bytes", r.Bytes, "error", err)
	}
}

// End lifts the limit of the layer id, which was never made, and forgets it.
func (k *Keeper) End(id string) error {
	if err := k.Lift(id); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.known[id]; ok {
		delete(k.known, id)
		k.table.DeleteLater(id)
	}
	return nil
}

// ForgetIn removes the record of the layer id along with others.
func (k *Keeper) ForgetIn(tx *state.Tx, id string) error {
	k.mu.Lock()
	_, ok := k.known[id]
	delete(k.known, id)
	k.mu.Unlock()
	if !ok {
		return nil
	}
	return k.table.DeleteIn(tx, id)
}

// Leaving is told of a tree that is about to be deleted; the function it returns, once it is. When no layer has the tree's
// project, its limit goes too.
func (k *Keeper) Leaving(tree string) (left func()) {
	project, _ := projectOf(tree)
	return func() {
		k.mu.Lock()
		owned := project < first || project >= behind || k.has(project) || project == k.own()
		k.mu.Unlock()
		if owned {
			return
		}
		if err := k.lift(project); err != nil {
			slog.Warn("layers: the limit of a deleted one is left on the file system", "project", project, "error", err)
		}
	}
}

// own is the project of the store itself, which somebody else has given it.
func (k *Keeper) own() uint32 {
	project, _ := projectOf(k.root)
	return project
}

// projectOf is 0 where there are no projects.
func projectOf(dir string) (project uint32, inherits bool) {
	f, err := os.OpenFile(dir, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return 0, false
	}
	defer f.Close()
	project, inherits, err = sys.ProjectOf(sys.Borrow(f))
	if err != nil {
		return 0, false
	}
	return project, inherits
}

// Belongs has all of a tree count for the layer id, if that is limited, and for no other. Nobody must have it mounted.
func (k *Keeper) Belongs(id string, tree string) error {
	r, limited := k.find(id)
	if !limited {
		r.Project = k.own()
	}
	upper := filepath.Join(tree, "upper")
	if project, inherits := projectOf(upper); project == r.Project && inherits == (r.Project != 0) {
		return nil
	}
	err := filepath.WalkDir(tree, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == upper {
			return err
		}
		if e.IsDir() || e.Type().IsRegular() { // the rest takes no room, and cannot be opened
			return mark(path, r.Project, e.IsDir())
		}
		return nil
	})
	if err == nil {
		err = mark(upper, r.Project, true) // last: it tells that the rest is done
	}
	return err
}

// Repair brings limits and layers in step. trees tells the trees that a layer writes to; a limit whose layer is not among them
// is lifted. It is to be called once, when nothing is mounted.
func (k *Keeper) Repair(trees map[string]string) error {
	for id, r := range k.known {
		tree, ok := trees[id]
		if !ok {
			if err := k.lift(r.Project); err != nil {
				return err
			}
			delete(k.known, id)
			if err := k.table.Delete(id); err != nil {
				return err
			}
			continue
		}
		if err := k.restore(id, tree); err != nil {
			slog.Warn("layers: the limit of a container's files does not hold", "id", id, "bytes", r.Bytes, "error", err)
		}
	}
	return nil
}

// restore has the limit of a layer hold, also when the data root has moved to another file system, where its number may
// mean something else.
func (k *Keeper) restore(id, tree string) error {
	return k.on(func(root sys.FD) error {
		if err := supported(root); err != nil {
			return fmt.Errorf("the file system keeps no limits of projects: %w", err)
		}
		r := k.known[id]
		if project, _ := projectOf(tree); project != r.Project {
			k.mu.Lock()
			project, err := k.free(root)
			if err == nil {
				r.Project = project
				k.known[id] = r
			}
			k.mu.Unlock()
			if err == nil {
				err = k.table.Put(id, r)
			}
			if err != nil {
				return err
			}
		}
		if err := k.Belongs(id, tree); err != nil {
			return err
		}
		return sys.LimitProject(root, r.Project, r.Bytes)
	})
}
