package quota

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/sys"
	"github.com/cove-containers/cove/testkit"
)

func open(t *testing.T, root string) *Keeper {
	t.Helper()
	db, err := state.Open(filepath.Join(root, "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	k, err := Open(root, db)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func layer(t *testing.T, root, name string) string {
	t.Helper()
	tree := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Join(tree, "upper"), 0o700); err != nil {
		t.Fatal(err)
	}
	return tree
}

// TestOptions: what is said of a size is read as dockerd reads it.
func TestOptions(t *testing.T) {
	k := open(t, t.TempDir())
	k.standard = 7
	for _, tt := range []struct {
		options map[string]string
		want    int64
		err     string
	}{
		{nil, 7, ""},
		{map[string]string{"size": "0"}, 0, ""},
		{map[string]string{"size": "1g"}, 1 << 30, ""},
		{map[string]string{"SIZE": "1.5 MB"}, 3 << 19, ""},
		{map[string]string{"size": ""}, 0, "invalid size: ''"},
		{map[string]string{"size": "-1"}, 0, "invalid size: '-1'"},
		{map[string]string{"size": "x"}, 0, "invalid size: 'x'"},
		{map[string]string{"Speed": "1"}, 0, "Unknown option speed"},
	} {
		got, err := k.size(tt.options)
		if err != nil && err.Error() != tt.err || err == nil && (tt.err != "" || got != tt.want) {
			t.Errorf("%v: %d, %v", tt.options, got, err)
		}
	}
}

// TestUnsupported: without limits of projects nothing is bounded, and who asks for it is told so.
func TestUnsupported(t *testing.T) {
	root := testkit.SmallDisk(t, "8") // of a kind that keeps no limits of projects
	k := open(t, root)
	if err := k.Bound("a", map[string]string{"size": "x"}); err == nil || !strings.Contains(err.Error(), "--storage-opt is supported only for overlay over xfs") {
		t.Errorf("a size: %v", err)
	}
	if err := k.Standard(1); err == nil || !strings.HasPrefix(err.Error(), "Storage option overlay2.size not supported") {
		t.Errorf("a size for all: %v", err)
	}
	if err := k.Bound("a", nil); err != nil {
		t.Error(err)
	}
	tree := layer(t, root, "a")
	for what, err := range map[string]error{
		"mark": k.Mark("a", tree), "enforce": k.Enforce("a"), "lift": k.Lift("a"), "belongs": k.Belongs("a", tree), "repair": k.Repair(nil), "end": k.End("a"),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	k.Leaving(tree)()
}

// TestRepair: a limit holds after a crash at any moment, and on another file system than it was made on.
func TestRepair(t *testing.T) {
	testkit.OnProjects(t, testRepair)
}

func testRepair(t *testing.T, folder string) {
	root, err := os.MkdirTemp(folder, "quota")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	k := open(t, root)
	limited := func(project uint32) (limit int64) {
		t.Helper()
		err := k.on(func(dir sys.FD) (err error) { _, limit, err = sys.ProjectUse(dir, project); return err })
		if err != nil {
			t.Fatal(err)
		}
		return limit
	}
	bound := func(id string) (tree string) {
		t.Helper()
		if err := k.Bound(id, map[string]string{"size": "1m"}); err != nil {
			t.Fatal(err)
		}
		return layer(t, root, id)
	}

	// Marked and with a limit, without, and not even there.
	trees := map[string]string{"whole": bound("whole"), "half": bound("half")}
	if err := k.Mark("whole", trees["whole"], filepath.Join(trees["whole"], "upper")); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"whole", "gone"} {
		if id == "gone" {
			bound(id)
		}
		if err := k.Enforce(id); err != nil {
			t.Fatal(err)
		}
	}
	old := k.known["half"].Project
	gone := k.known["gone"].Project
	file := filepath.Join(trees["half"], "upper", "f")
	if err := os.WriteFile(file, make([]byte, 1<<19), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := k.Repair(trees); err != nil {
		t.Fatal(err)
	}
	for id, tree := range trees {
		project := k.known[id].Project
		if got := limited(project); got != 1<<20 {
			t.Errorf("%s has a limit of %d", id, got)
		}
		if got, inherits := projectOf(filepath.Join(tree, "upper")); got != project || !inherits {
			t.Errorf("%s is in project %d, handed on %v", id, got, inherits)
		}
	}
	if k.known["half"].Project == old {
		t.Error("a number that may be somebody else's is used again")
	}
	if got, _ := projectOf(file); got != k.known["half"].Project {
		t.Errorf("a file that was there is in project %d", got)
	}
	if _, known := k.known["gone"]; known || limited(gone) != 0 {
		t.Error("the limit of a layer that is gone is there")
	}

	// A number that has files or a limit is taken.
	taken := k.known["whole"].Project
	err = k.on(func(dir sys.FD) error {
		next, found, err := sys.NextProject(dir, taken)
		if err == nil && (!found || next != taken) {
			t.Errorf("the file system does not know %d: %d, %v", taken, next, found)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}

	// A tree without a record takes its limit along.
	left := k.Leaving(trees["half"])
	delete(k.known, "half")
	left()
	if got := limited(func() uint32 { p, _ := projectOf(file); return p }()); got != 0 {
		t.Errorf("a limit of %d is left", got)
	}
	if err := k.Belongs("nobody", trees["half"]); err != nil {
		t.Error(err)
	}
	if got, inherits := projectOf(filepath.Join(trees["half"], "upper")); got != 0 || inherits {
		t.Errorf("a tree of a layer without limit is in project %d", got)
	}
	if err := k.Lift("whole"); err != nil {
		t.Error(err)
	}
}
