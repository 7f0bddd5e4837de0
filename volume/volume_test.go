package volume

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/containerd/errdefs"
	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/state"
)

type place struct {
	root string
	db   *state.DB
}

func newPlace(t *testing.T) place {
	t.Helper()
	dir := t.TempDir()
	db, err := state.Open(filepath.Join(dir, "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return place{filepath.Join(dir, "volumes"), db}
}

func (p place) open(t *testing.T) *Store {
	t.Helper()
	s, err := Open(p.root, p.db)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func create(t *testing.T, s *Store, name string, labels ...string) vt.Volume {
	t.Helper()
	req := vt.CreateRequest{Name: name}
	for _, l := range labels {
		if req.Labels == nil {
			req.Labels = map[string]string{}
		}
		key, value, _ := strings.Cut(l, "=")
		req.Labels[key] = value
	}
	v, err := s.Create(context.Background(), req)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func names(vs []vt.Volume) string {
	var out []string
	for _, v := range vs {
		out = append(out, v.Name)
	}
	return strings.Join(out, " ")
}

func filters(pairs ...string) api.Filters {
	f := api.Filters{}
	for _, p := range pairs {
		name, value, _ := strings.Cut(p, "=")
		f.Add(name, value)
	}
	return f
}

func TestCreateRefuses(t *testing.T) {
	s := newPlace(t).open(t)
	for _, tc := range []struct {
		req  vt.CreateRequest
		want string
		kind func(error) bool
	}{
		{vt.CreateRequest{Name: "a/b"}, `create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you intended to pass a host directory, use absolute path`, errdefs.IsInvalidArgument},
		{vt.CreateRequest{Name: ".."}, `includes invalid characters`, errdefs.IsInvalidArgument},
		{vt.CreateRequest{Name: strings.Repeat("a", 250)}, `too long`, errdefs.IsInvalidArgument},
		{vt.CreateRequest{Name: "xy", Driver: "foo"}, `create xy: error looking up volume plugin foo: plugin "foo" not found`, errdefs.IsNotFound},
		{vt.CreateRequest{Name: "xy", DriverOpts: map[string]string{"foo": "1"}}, `create xy: invalid option: "foo"`, errdefs.IsInvalidArgument},
		{vt.CreateRequest{Name: "xy", DriverOpts: map[string]string{"type": "tmpfs"}}, `create xy: missing required option: "device"`, errdefs.IsInvalidArgument},
		{vt.CreateRequest{Name: "xy", DriverOpts: map[string]string{"device": "tmpfs"}}, `create xy: missing required option: "type"`, errdefs.IsInvalidArgument},
		{vt.CreateRequest{Name: "xy", DriverOpts: map[string]string{"size": "10m"}}, `create xy: quota size requested but no quota support`, errdefs.IsInvalidArgument},
	} {
		_, err := s.Create(context.Background(), tc.req)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !tc.kind(err) {
			t.Errorf("%+v: %v", tc.req, err)
		}
	}
	if left, _ := os.ReadDir(s.root); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestVolumesLast(t *testing.T) {
	p := newPlace(t)
	defer syscall.Umask(syscall.Umask(0o077))
	s := p.open(t)
	named := create(t, s, "named", "a=1")
	anonymous := create(t, s, "")
	if again := create(t, s, "named", "b=2"); !reflect.DeepEqual(again, named) {
		t.Errorf("made twice: %+v, %+v", named, again)
	}
	if len(anonymous.Name) != 64 || !s.Anonymous(anonymous.Name) || s.Anonymous("named") {
		t.Errorf("anonymous: %+v", anonymous)
	}
	info, err := os.Stat(named.Mountpoint)
	if err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("folder: %v %v", info, err)
	}
	put(t, filepath.Join(named.Mountpoint, "file"), "content")
	s = p.open(t)
	got, err := s.Get("named")
	if err != nil || !reflect.DeepEqual(got, named) {
		t.Errorf("after opening again: %+v, %v; want %+v", got, err, named)
	}
	if !s.Anonymous(anonymous.Name) {
		t.Error("an anonymous volume has become a named one")
	}
	if _, err := s.Get("nosuch"); !errdefs.IsNotFound(err) || err.Error() != "get nosuch: no such volume" {
		t.Error(err)
	}
}

func TestUsedVolumesStay(t *testing.T) {
	s, ctx := newPlace(t).open(t), context.Background()
	told := ""
	s.Tell(func(action, name string, _ map[string]string) { told += action + " " + name + ";" })
	defer func() {
		if told != "create vv;destroy vv;" {
			t.Errorf("told: %s", told)
		}
	}()
	create(t, s, "vv")
	create(t, s, "vv")
	if err := s.Use("vv", "c2"); err != nil {
		t.Fatal(err)
	}
	s.Use("vv", "c1")
	for _, force := range []bool{false, true} {
		if err := s.Remove(ctx, "vv", force); !errdefs.IsConflict(err) || err.Error() != "remove vv: volume is in use - [c1 c2]" {
			t.Errorf("force %v: %v", force, err)
		}
	}
	s.Release("vv", "c1")
	s.Release("vv", "c2")
	if err := s.Remove(ctx, "vv", false); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "vv", true); err != nil {
		t.Error(err)
	}
	if err := s.Remove(ctx, "vv", false); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if err := s.Use("vv", "c"); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if left, _ := os.ReadDir(s.root); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func TestListAndPrune(t *testing.T) {
	s, ctx := newPlace(t).open(t), context.Background()
	create(t, s, "one", "x=1")
	create(t, s, "two", "x=1", "y=2")
	create(t, s, "used", "y=2")
	anonymous := create(t, s, "").Name
	busy := create(t, s, "").Name
	s.Use("used", "c")
	s.Use(busy, "c")
	put(t, filepath.Join(s.Path(anonymous), "f"), strings.Repeat("x", 8192))
	for _, tc := range []struct{ filter, want string }{
		{"name=^t", "two"}, {"name=one", "one"}, {"label=x", "one two"}, {"label=x=1 label=y=2", "two"}, {"driver=nfs", ""},
		{"dangling=true label=y", "two"}, {"dangling=0 label=y", "used"},
	} {
		got, err := s.List(filters(strings.Fields(tc.filter)...))
		if err != nil || names(got) != tc.want {
			t.Errorf("%s: %s, %v; want %s", tc.filter, names(got), err, tc.want)
		}
	}
	for _, bad := range []string{"foo=1", "dangling=maybe"} {
		if _, err := s.List(filters(bad)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	report, err := s.Prune(ctx, nil)
	if err != nil || !slices.Equal(report.VolumesDeleted, []string{anonymous}) || report.SpaceReclaimed < 8192 {
		t.Errorf("prune: %+v, %v", report, err)
	}
	report, err = s.Prune(ctx, filters("all=1", "label=x", "label!=y"))
	if err != nil || !slices.Equal(report.VolumesDeleted, []string{"one"}) {
		t.Errorf("prune by label: %+v, %v", report, err)
	}
	report, err = s.Prune(ctx, filters("all=true"))
	if err != nil || !slices.Equal(report.VolumesDeleted, []string{"two"}) || report.SpaceReclaimed != 0 {
		t.Errorf("prune all: %+v, %v", report, err)
	}
	if _, err = s.Prune(ctx, filters("until=1h")); !errdefs.IsInvalidArgument(err) {
		t.Error(err)
	}
}

func TestOpenPutsRightWhatACrashLeft(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	for _, name := range []string{"whole", "lost", "half-removed", "half-filled"} {
		create(t, s, name)
		put(t, filepath.Join(s.Path(name), "f"), name)
	}
	os.RemoveAll(filepath.Join(p.root, "lost"))
	os.Rename(filepath.Join(p.root, "half-removed"), filepath.Join(p.root, ".gone-half-removed"))
	os.MkdirAll(filepath.Join(p.root, "half-filled", ".filling", "x"), 0o755)
	os.MkdirAll(filepath.Join(p.root, "half-made", "_data"), 0o755)
	os.MkdirAll(filepath.Join(p.root, "barely-made"), 0o755)
	os.MkdirAll(filepath.Join(p.root, "unknown", "_data", "d"), 0o755)
	os.MkdirAll(filepath.Join(p.root, ".gone-absent", "_data"), 0o755)
	s = p.open(t)
	all, err := s.List(nil)
	if err != nil || names(all) != "half-filled lost unknown whole" {
		t.Errorf("volumes: %s, %v", names(all), err)
	}
	var found []string
	filepath.WalkDir(p.root, func(path string, e os.DirEntry, err error) error {
		rel, _ := filepath.Rel(p.root, path)
		found = append(found, rel)
		return err
	})
	want := []string{".", "half-filled", "half-filled/_data", "half-filled/_data/f", "lost", "lost/_data", "unknown", "unknown/_data", "unknown/_data/d", "whole", "whole/_data", "whole/_data/f"}
	if !slices.Equal(found, want) {
		t.Errorf("on disk:\n%v\nwant\n%v", found, want)
	}
}

func TestMounts(t *testing.T) {
	s, ctx := newPlace(t).open(t), context.Background()
	host := t.TempDir()
	for _, tc := range []struct {
		options map[string]string
		want    Mount
	}{
		{nil, Mount{Type: "bind", Source: s.Path("v0"), Own: true}},
		{map[string]string{"type": "tmpfs", "device": "tmpfs", "o": "size=100m,uid=1000"}, Mount{Type: "tmpfs", Source: "tmpfs", Options: []string{"size=100m", "uid=1000"}}},
		{map[string]string{"type": "none", "device": host, "o": "bind,ro"}, Mount{Type: "bind", Source: host, Options: []string{"ro"}}},
		{map[string]string{"type": "nfs", "device": ":/share", "o": "addr=10.0.0.9,rw"}, Mount{Type: "nfs", Source: ":/share", Options: []string{"addr=10.0.0.9", "rw"}}},
		{map[string]string{"type": "nfs", "device": ":/share", "o": "addr=localhost"}, Mount{Type: "nfs", Source: ":/share", Options: []string{"addr=127.0.0.1"}}},
	} {
		name := "v" + string(rune('0'+len(s.records)))
		if _, err := s.Create(ctx, vt.CreateRequest{Name: name, DriverOpts: tc.options}); err != nil {
			t.Fatal(err)
		}
		if got, err := s.Mount(name); err != nil || !reflect.DeepEqual(got, tc.want) {
			t.Errorf("%v: %+v, %v; want %+v", tc.options, got, err, tc.want)
		}
	}
	s.Create(ctx, vt.CreateRequest{Name: "absent", DriverOpts: map[string]string{"type": "none", "o": "bind", "device": "/no/such"}})
	if _, err := s.Mount("absent"); err == nil || !strings.Contains(err.Error(), "failed to mount local volume") {
		t.Errorf("absent source: %v", err)
	}
}

func TestCopyUp(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: copies owners")
	}
	s, ctx := newPlace(t).open(t), context.Background()
	image := t.TempDir()
	put(t, filepath.Join(image, "bar"), "bar")
	os.Symlink("../../etc", filepath.Join(image, "link"))
	os.Chmod(filepath.Join(image, "bar"), os.ModeSetuid|0o750)
	os.Chown(image, 1, 2)
	os.Chmod(image, 0o751)
	copyUp := func(name string) bool {
		t.Helper()
		src, err := os.Open(image)
		if err != nil {
			t.Fatal(err)
		}
		defer src.Close()
		done, err := s.CopyUp(ctx, name, src, "/")
		if err != nil {
			t.Fatal(err)
		}
		return done
	}
	for _, users := range [][]string{{"c"}, {"c", "d"}} {
		name := "vol" + strings.Join(users, "")
		create(t, s, name)
		for _, u := range users {
			s.Use(name, u)
		}
		if !copyUp(name) {
			t.Fatal("nothing copied into an empty volume")
		}
		info, err := os.Stat(s.Path(name))
		if err != nil {
			t.Fatal(err)
		}
		if st := info.Sys().(*syscall.Stat_t); info.Mode().Perm() != 0o751 || st.Uid != 1 || st.Gid != 2 {
			t.Errorf("folder: %v %d:%d", info.Mode(), st.Uid, st.Gid)
		}
		if info, err = os.Stat(filepath.Join(s.Path(name), "bar")); err != nil || info.Mode()&os.ModeSetuid == 0 {
			t.Errorf("file: %v %v", info, err)
		}
		if target, err := os.Readlink(filepath.Join(s.Path(name), "link")); target != "../../etc" {
			t.Errorf("link: %s %v", target, err)
		}
		put(t, filepath.Join(s.Path(name), "bar"), "changed")
		if copyUp(name) {
			t.Error("copied into a volume that has content")
		}
		if left, _ := os.ReadDir(filepath.Join(s.root, name)); len(left) != 1 {
			t.Errorf("left: %v", left)
		}
	}
}

func FuzzValidName(f *testing.F) {
	f.Add("a/b")
	f.Add("..")
	f.Add("data_1.x-y")
	f.Fuzz(func(t *testing.T, name string) {
		if ValidName(name) == nil && name != "" && (filepath.Base(name) != name || name[0] == '.' || len(name) > 249) {
			t.Errorf("%q is no file name of its own", name)
		}
	})
}

// TestOutOfReach: the host's users must not come to programs that containers make set-user-id.
func TestOutOfReach(t *testing.T) {
	root := filepath.Join(t.TempDir(), "volumes")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	db, err := state.Open(filepath.Join(t.TempDir(), "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := Open(root, db); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(root); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// TestCheckDuringRemoval: a volume whose files are just being deleted is none whose removal was broken off.
func TestCheckDuringRemoval(t *testing.T) {
	s := newPlace(t).open(t)
	ctx := context.Background()
	if _, err := s.Create(ctx, vt.CreateRequest{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	if err := s.takeAway("v"); err != nil {
		t.Fatal(err)
	}
	found, err := s.Check(ctx, false)
	if err != nil || len(found.Faults) != 1 {
		t.Fatalf("%+v, %v", found.Faults, err)
	}
	fault := found.Faults[0]
	if fault.Persists() {
		t.Error("a removal that goes on is a fault")
	}
	if err := fault.Mend(ctx); err != nil || !isFolder(filepath.Join(s.root, gonePrefix+"v")) {
		t.Errorf("its files were deleted by another: %v", err)
	}
	s.left("v")
	if !fault.Persists() {
		t.Error("a removal that was broken off is no fault")
	}
	if err := fault.Mend(ctx); err != nil || fault.Persists() {
		t.Errorf("not mended: %v", err)
	}
}

// TestMadeAgainDuringRemoval: a volume made while an earlier one of its name was being deleted is what it is also after a
// crash in the middle of that.
func TestMadeAgainDuringRemoval(t *testing.T) {
	p := newPlace(t)
	s := p.open(t)
	if _, err := s.Create(context.Background(), vt.CreateRequest{Name: "v", Labels: map[string]string{"made": "again"}}); err != nil {
		t.Fatal(err)
	}
	old := filepath.Join(p.root, gonePrefix+"v", dataDir, "much")
	if err := os.MkdirAll(old, 0o700); err != nil {
		t.Fatal(err)
	}
	s = p.open(t)
	if v, err := s.Get("v"); err != nil || v.Labels["made"] != "again" {
		t.Errorf("%+v, %v", v, err)
	}
	if isFolder(old) || !isFolder(s.Path("v")) {
		t.Error("the folders are not what they should be")
	}
}
