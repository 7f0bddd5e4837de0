package layer

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"

	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/sys"
)

// fixDir is a directory that a layer only implies, or one on the way to such a one.
type fixDir struct {
	path  string
	attrs *archive.Attributes
}

// plan compares the directories that a layer implies with what lies below: it needs nothing, or directories laid over
// it that look like those below, or, where a link lies in the way, to be unpacked through that link.
func (s *Store) plan(below *os.File, diffID digest.Digest, record layerRecord) (fixKind, []fixDir, error) {
	own, err := os.Open(s.tree(diffID, record))
	if err != nil {
		return "", nil, err
	}
	defer own.Close()
	implied := map[string]*archive.Attributes{} // as they are below, nil when they are new
	for _, dir := range record.Implied {
		implied[dir] = nil
	}
	needed := map[string]bool{}          // directories whose look matters, and all above them
	for _, dir := range record.Implied { // parents come before their children
		attrs, linked, err := lookBelow(below, dir, implied)
		if err != nil {
			return "", nil, err
		}
		if linked {
			return fixInstead, nil, nil
		}
		implied[dir] = attrs
		if attrs == nil || attrs.Plain() {
			continue
		}
		for up := dir; up != "." && !needed[up]; up = path.Dir(up) {
			needed[up] = true
		}
	}
	if len(needed) == 0 {
		return fixNone, nil, nil
	}
	var plan []fixDir
	for _, dir := range slices.Sorted(maps.Keys(needed)) {
		attrs := implied[dir]
		if attrs == nil { // the layer has its own idea of this one
			if attrs, err = archive.ReadAttributes(own, dir); err != nil {
				return "", nil, err
			}
		}
		plan = append(plan, fixDir{dir, attrs})
	}
	return fixOver, plan, nil
}

// lookBelow reads the attributes of a directory as it is below, nil when there is none. A link in place of a directory
// that the layer only implies is reported; in place of one that it lists it is hidden.
func lookBelow(below *os.File, dir string, implied map[string]*archive.Attributes) (attrs *archive.Attributes, linked bool, err error) {
	for end := 0; end < len(dir); end++ {
		if i := strings.IndexByte(dir[end:], '/'); i >= 0 {
			end += i
		} else {
			end = len(dir)
		}
		attrs, err = archive.ReadAttributes(below, dir[:end])
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, false, nil
		case err != nil:
			return nil, false, err
		case attrs.Kind() == sys.KindSymlink:
			_, only := implied[dir[:end]]
			return nil, only, nil
		case attrs.Kind() != sys.KindDir:
			return nil, false, nil
		}
	}
	return attrs, false, nil
}

// lay makes the planned directories in dir, parents first.
func lay(dir *os.File, plan []fixDir) error {
	for _, d := range plan {
		if err := os.Mkdir(filepath.Join(dir.Name(), d.path), 0o700); err != nil {
			return fmt.Errorf("make %s: %w", d.path, err)
		}
	}
	for i := len(plan) - 1; i >= 0; i-- { // children first: making them changed their parents' times
		if err := plan[i].attrs.Apply(dir, plan[i].path); err != nil {
			return fmt.Errorf("set up %s: %w", plan[i].path, err)
		}
	}
	return nil
}
