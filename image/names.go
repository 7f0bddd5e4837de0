package image

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/state"
)

// record is what a name points to.
type record struct {
	Target ocispec.Descriptor
	Tagged time.Time
}

// names is the table of names, with a copy in memory: every command asks for it.
type names struct {
	db    *state.DB
	table *state.Table[record]
	mu    sync.RWMutex
	all   map[string]record
	byID  map[digest.Digest][]string // the same by image, each list sorted; nil until somebody asks
}

func openNames(db *state.DB) (*names, error) {
	table, err := state.NewTable[record](db, "images")
	if err != nil {
		return nil, err
	}
	all, err := table.All()
	if err != nil {
		return nil, err
	}
	return &names{db: db, table: table, all: all}, nil
}

// snapshot returns all names of one moment.
func (n *names) snapshot() map[string]record {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return maps.Clone(n.all)
}

func (n *names) get(name string) (record, bool) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	r, ok := n.all[name]
	return r, ok
}

// of returns the names of one image, sorted.
func (n *names) of(id digest.Digest) []string {
	n.mu.RLock()
	list, known := n.byID[id], n.byID != nil
	n.mu.RUnlock()
	if known {
		return slices.Clone(list)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.byID == nil {
		n.byID = make(map[digest.Digest][]string, len(n.all))
		for _, name := range slices.Sorted(maps.Keys(n.all)) {
			id := n.all[name].Target.Digest
			n.byID[id] = append(n.byID[id], name)
		}
	}
	list = n.byID[id]
	return slices.Clone(list)
}

func namesOf(all map[string]record, id digest.Digest) []string {
	var out []string
	for name, r := range all {
		if r.Target.Digest == id {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// put sets one name, or removes it when r is nil.
func (n *names) put(name string, r *record) error {
	return n.change(func(map[string]record) (map[string]*record, error) { return map[string]*record{name: r}, nil }, nil)
}

// change decides on changes from all names and makes them in one durable transaction, together with also.
// A nil record removes the name.
func (n *names) change(decide func(all map[string]record) (map[string]*record, error), also func(tx *state.Tx) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	changes, err := decide(n.all)
	if err != nil {
		return err
	}
	err = n.db.Update(func(tx *state.Tx) error {
		for name, r := range changes {
			if r == nil {
				err = n.table.DeleteIn(tx, name)
			} else {
				err = n.table.PutIn(tx, name, *r)
			}
			if err != nil {
				return err
			}
		}
		if also != nil {
			return also(tx)
		}
		return nil
	})
	if err != nil {
		return err
	}
	n.byID = nil
	for name, r := range changes {
		if r == nil {
			delete(n.all, name)
		} else {
			n.all[name] = *r
		}
	}
	return nil
}

// isDangling tells whether a name is that of an image without names: its own digest.
func isDangling(name string) bool { return strings.HasPrefix(name, "sha256:") }

// repoint computes the changes that let names point to target. What loses its last name this way stays, dangling; what was
// dangling and gets a name no longer is.
func repoint(all map[string]record, target ocispec.Descriptor, now time.Time, names ...string) map[string]*record {
	changes := map[string]*record{}
	for _, name := range names {
		changes[name] = &record{Target: target, Tagged: now}
	}
	for _, name := range names {
		old, had := all[name]
		if !had || old.Target.Digest == target.Digest {
			continue
		}
		left := slices.DeleteFunc(namesOf(all, old.Target.Digest), func(n string) bool { return changes[n] != nil })
		if len(left) == 0 {
			changes[old.Target.Digest.String()] = &record{Target: old.Target, Tagged: old.Tagged}
		}
	}
	if _, dangling := all[target.Digest.String()]; dangling && len(names) > 0 && !slices.Contains(names, target.Digest.String()) {
		changes[target.Digest.String()] = nil
	}
	return changes
}

// repoTagsAndDigests splits the names of an image into what users see.
func repoTagsAndDigests(full []string, id digest.Digest) (tags, digests []string) {
	tags, digests = []string{}, []string{}
	for _, name := range full {
		n, err := ref.Parse(name)
		if isDangling(name) || err != nil {
			continue
		}
		if n.Tag != "" {
			tags = append(tags, n.Familiar())
		}
		if d := n.WithDigest(id).Familiar(); !slices.Contains(digests, d) {
			digests = append(digests, d)
		}
	}
	return tags, digests
}
