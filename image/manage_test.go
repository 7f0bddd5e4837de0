package image

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	it "github.com/moby/moby/api/types/image"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/image/progress"
	"github.com/cove-containers/cove/oci"
)

func (b *bench) get(reference string) *Image {
	b.t.Helper()
	img, err := b.Get(b.t.Context(), reference, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	return img
}

func words(list []it.DeleteResponse) string {
	var out []string
	for _, d := range list {
		if d.Untagged != "" {
			out = append(out, "untagged "+d.Untagged)
		} else {
			out = append(out, "deleted "+d.Deleted)
		}
	}
	return strings.Join(out, ", ")
}

func filters(pairs ...string) api.Filters {
	f := api.Filters{}
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		f.Add(k, v)
	}
	return f
}

// TestTagNames is case RF-1 at the store's door.
func TestTagNames(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "x:1"))
	for name, want := range map[string]string{"foo:5000": "foo:5000", "foo:5000/bar": "foo:5000/bar:latest", "index.docker.io/alpine": "alpine:latest", "foo:" + strings.Repeat("a", 128): "foo:" + strings.Repeat("a", 128)} {
		if err := b.Tag(t.Context(), "x:1", name); err != nil || !slices.Contains(b.get("x:1").RepoTags, want) {
			t.Errorf("tag %s: %v", name, err)
		}
	}
	for _, name := range []string{"Foo", "foo:.x", "a//b", strings.Repeat("0f", 32), "x@sha256:" + strings.Repeat("0", 64)} {
		if err := b.Tag(t.Context(), "x:1", name); !errdefs.IsInvalidArgument(err) {
			t.Errorf("tag %s: %v", name, err)
		}
	}
	mention(t, b.Tag(t.Context(), "nosuch", "y"), "No such image: nosuch:latest")
}

// TestRemoveRules is case VG-4.
func TestRemoveRules(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "x:1"))
	id := b.get("x:1").ID
	remove := func(reference string, force bool) (string, error) {
		out, err := b.Remove(t.Context(), reference, RemoveOptions{Force: force})
		return words(out), err
	}

	b.users = []User{{ID: strings.Repeat("c", 64), Image: id, Running: false}}
	_, err := remove("x:1", false)
	mention(t, err, `conflict: unable to remove repository reference "x:1" (must force) - container cccccccccccc is using its referenced image `+progress.ShortID(id))
	if said, err := remove("x:1", true); err != nil || said != "untagged x:1" {
		t.Errorf("forced: %q %v", said, err)
	}
	if img := b.get(id.String()); len(img.RepoTags) != 0 {
		t.Error("still named")
	}
	if err := b.Tag(t.Context(), id.String()[7:19], "x:1"); err != nil {
		t.Fatal(err)
	}
	if n := len(b.names.snapshot()); n != 1 {
		t.Errorf("a named image is still dangling: %v", b.names.snapshot())
	}

	b.users[0].Running = true
	for _, force := range []bool{false, true} {
		_, err = remove(id.String(), force)
		mention(t, err, "cannot be forced", "image is being used by running container cccccccccccc")
	}
	if len(b.get("x:1").RepoTags) != 1 {
		t.Error("a refused removal lost a tag")
	}

	b.users = nil
	for _, name := range []string{"x:2", "other/x:1"} {
		if err := b.Tag(t.Context(), "x:1", name); err != nil {
			t.Fatal(err)
		}
	}
	if said, err := remove("x:2", false); err != nil || said != "untagged x:2" {
		t.Errorf("one of several: %q %v", said, err)
	}
	_, err = remove(string(id), false)
	mention(t, err, "conflict: unable to delete "+progress.ShortID(id)+" (must be forced) - image is referenced in multiple repositories")
	if !errdefs.IsConflict(err) {
		t.Errorf("kind: %v", err)
	}
	said, err := remove(string(id)[7:20], true)
	if err != nil || said != "untagged x:1, untagged other/x:1, deleted "+id.String() {
		t.Errorf("all: %q %v", said, err)
	}
	b.empty()
	_, err = remove("x:1", false)
	mention(t, err, "No such image: x:1")
	if !slices.Contains(b.events, "delete "+id.String()) {
		t.Errorf("events: %v", b.events)
	}
}

func TestRemoveParentKeepsChild(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "p:1"))
	b.mustLoad(archived(t, "L;f a 1;L;f b 2", "c:1"))
	if _, err := b.Remove(t.Context(), "p:1", RemoveOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := b.Unpacked(t.Context(), b.get("c:1")); err != nil || len(b.trees.have) != 2 {
		t.Errorf("the child lost a layer: %v", err)
	}
}

func TestRemoveByDigest(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "h.io/x:1"))
	img := b.get("h.io/x:1")
	out, err := b.Remove(t.Context(), img.RepoDigests[0], RemoveOptions{})
	if err != nil || words(out) != "untagged h.io/x:1, deleted "+img.ID.String() {
		t.Errorf("%q %v", words(out), err)
	}
	b.empty()
}

func TestGetByID(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "x:1"))
	id := b.get("x:1").ID
	for _, reference := range []string{string(id), id.Encoded(), string(id)[:19], id.Encoded()[:4], "x:1", "docker.io/library/x:1", "x@" + string(id), "x:nosuch@" + string(id)} {
		if img, err := b.Get(t.Context(), reference, nil); err != nil || img.ID != id {
			t.Errorf("Get(%q): %v", reference, err)
		}
	}
	for reference, message := range map[string]string{
		"x": "No such image: x:latest", "nosuch:2": "No such image: nosuch:2", "y@" + string(id): "No such image: y@" + string(id),
		strings.Repeat("0", 64): "No such image: " + strings.Repeat("0", 64),
	} {
		if _, err := b.Get(t.Context(), reference, nil); err == nil || err.Error() != message || !errdefs.IsNotFound(err) {
			t.Errorf("Get(%q): %v", reference, err)
		}
	}
	if _, err := b.Get(t.Context(), "A B", nil); !errdefs.IsInvalidArgument(err) {
		t.Errorf("no reference at all: %v", err)
	}
}

// TestPrune is the part of case VG-3 that concerns images.
func TestPrune(t *testing.T) {
	b := open(t)
	young := time.Now().Format(time.RFC3339)
	ids := map[string]string{}
	for i, name := range []string{"tagged", "used", "dangling", "danglingused", "young"} {
		recipe := "L;f a " + name + "\nC {\"created\":\"2020-01-0" + string(rune('1'+i)) + "T00:00:00Z\",\"config\":{\"Labels\":{\"who\":\"" + name + "\"}}}"
		if name == "young" {
			recipe = strings.Replace(recipe, "2020-01-05T00:00:00Z", young, 1)
		}
		tag := name
		if strings.HasPrefix(name, "dangling") {
			tag = ""
		}
		said := b.mustLoad(archived(t, recipe, tag))
		if tag == "" {
			ids[name] = strings.TrimSpace(strings.TrimPrefix(said, "Loaded image ID: "))
		} else {
			ids[name] = string(b.get(tag).ID)
		}
	}
	for _, name := range []string{"used", "danglingused"} {
		b.users = append(b.users, User{ID: name, Image: b.get(ids[name]).ID})
	}
	report, err := b.Prune(t.Context(), nil)
	if err != nil || words(report.ImagesDeleted) != "deleted "+ids["dangling"] || report.SpaceReclaimed == 0 {
		t.Errorf("dangling: %q %d %v", words(report.ImagesDeleted), report.SpaceReclaimed, err)
	}
	report, err = b.Prune(t.Context(), filters("dangling=false", "until=1h", "label=who=nobody"))
	if err != nil || len(report.ImagesDeleted) != 0 || report.SpaceReclaimed != 0 {
		t.Errorf("no such label: %+v %v", report, err)
	}
	// All have just come here, whatever they say of their age.
	report, err = b.Prune(t.Context(), filters("dangling=false", "until=1h"))
	if err != nil || len(report.ImagesDeleted) != 0 {
		t.Errorf("freshly come: %+v %v", report, err)
	}
	aged, _ := b.names.get("docker.io/library/tagged:latest")
	aged.Tagged = time.Now().Add(-2 * time.Hour)
	if err := b.names.put("docker.io/library/tagged:latest", &aged); err != nil {
		t.Fatal(err)
	}
	report, err = b.Prune(t.Context(), filters("dangling=false", "until=1h"))
	if err != nil || words(report.ImagesDeleted) != "untagged tagged:latest, deleted "+ids["tagged"] {
		t.Errorf("until: %q %v", words(report.ImagesDeleted), err)
	}
	report, err = b.Prune(t.Context(), filters("dangling=false"))
	if err != nil || words(report.ImagesDeleted) != "untagged young:latest, deleted "+ids["young"] {
		t.Errorf("all: %q %v", words(report.ImagesDeleted), err)
	}
	if list, _ := b.List(t.Context(), ListOptions{}); len(list) != 2 {
		t.Errorf("%d images left, want the two that are used", len(list))
	}
	if _, err := b.Prune(t.Context(), filters("nosuch=1")); !errdefs.IsInvalidArgument(err) {
		t.Errorf("unknown filter: %v", err)
	}
}

func TestListFilters(t *testing.T) {
	b := open(t)
	var moment string
	for i, name := range []string{"a:1", "b:1", "h.io:5/c:2"} {
		if i == 2 {
			moment = time.Now().Format(time.RFC3339Nano)
		}
		b.mustLoad(archived(t, "L;f a "+name+"\nC {\"created\":\"2020-01-0"+string(rune('1'+i))+"T00:00:00Z\",\"config\":{\"Labels\":{\"n\":\""+name+"\",\"all\":\"\"}}}", name))
	}
	b.mustLoad(archived(t, "L;f d 1", ""))
	for _, c := range []struct{ filters, want string }{
		{"", "h.io:5/c:2 b:1 a:1 -"},
		{"dangling=true", "-"},
		{"dangling=false", "h.io:5/c:2 b:1 a:1"},
		{"before=b:1", "a:1 -"},
		{"since=a:1", "h.io:5/c:2 b:1"},
		{"label=n=a:1", "a:1"},
		{"label=all", "h.io:5/c:2 b:1 a:1"},
		{"label!=n=a:1,dangling=false", "h.io:5/c:2 b:1"},
		{"reference=a", "a:1"},
		{"reference=*:1", "b:1 a:1"},
		{"reference=*/c", "h.io:5/c:2"},
		{"reference=a,reference=b:*", "b:1 a:1"},
		{"until=2020-01-02", ""},
		{"until=" + moment, "b:1 a:1"},
		{"until=0s", "h.io:5/c:2 b:1 a:1 -"},
	} {
		f := api.Filters{}
		for _, p := range strings.Split(c.filters, ",") {
			if k, v, ok := strings.Cut(p, "="); ok {
				if k == "label!" || strings.HasPrefix(p, "label!=") {
					k, v = "label!", strings.TrimPrefix(p, "label!=")
				}
				f.Add(k, v)
			}
		}
		list, err := b.List(t.Context(), ListOptions{Filters: f, SharedSize: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, s := range list {
			got = append(got, strings.Join(append(s.RepoTags, map[bool]string{true: "-"}[len(s.RepoTags) == 0]), ""))
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %q, want %q", c.filters, strings.Join(got, " "), c.want)
		}
	}
	for _, bad := range []string{"nosuch=1", "dangling=maybe", "until=whenever", "reference=["} {
		if _, err := b.List(t.Context(), ListOptions{Filters: filters(bad)}); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	if _, err := b.List(t.Context(), ListOptions{Filters: filters("since=nosuch")}); !errdefs.IsNotFound(err) {
		t.Errorf("since an unknown image: %v", err)
	}
}

func TestInspectAndHistory(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, `L;f a 1;L;f b 2
C {"author":"me","created":"2020-01-02T03:04:05.6Z","config":{"Cmd":["sh"],"Healthcheck":{"Test":["NONE"]},"OnBuild":["RUN x"],"Shell":["/bin/ash","-c"]},"history":[{"created_by":"one"},{"created_by":"env","empty_layer":true},{"created":"2020-01-02T03:04:05Z","created_by":"two","comment":"c"}]}`, "x:1"))
	r, err := b.Inspect(t.Context(), "x:1", nil, true)
	if err != nil {
		t.Fatal(err)
	}
	if r.Author != "me" || r.Created != "2020-01-02T03:04:05.6Z" || r.Comment != "c" || len(r.RootFS.Layers) != 2 || r.RootFS.Type != "layers" ||
		r.Config.Healthcheck.Test[0] != "NONE" || r.Config.Shell[0] != "/bin/ash" || r.Descriptor.Digest.String() != r.ID || len(r.Manifests) != 1 || !r.Manifests[0].Available || r.Size == 0 {
		raw, _ := json.MarshalIndent(r, "", " ")
		t.Errorf("%s", raw)
	}
	h, err := b.History(t.Context(), "x:1", nil)
	if err != nil || len(h) != 3 || h[0].ID != r.ID || h[0].Tags[0] != "x:1" || h[0].CreatedBy != "two" || h[0].Size == 0 || h[1].Size != 0 || h[2].ID != "<missing>" {
		t.Errorf("%+v %v", h, err)
	}
	if usage, err := b.Usage(t.Context()); err != nil || usage.Total < r.Size {
		t.Errorf("usage %d of an image of %d: %v", usage.Total, r.Size, err)
	}
}

// TestRepair damages the store as a crash or a careless hand could.
func TestRepair(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "x:1"))
	b.mustLoad(archived(t, "L;f b 1", "y:1"))
	x := b.get("x:1")
	b.stop()
	if err := os.WriteFile(filepath.Join(b.dir, "blobs", "sha256", x.ID.Encoded()), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.dir, "ingest", "new-1.part"), []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.start()
	if _, err := b.Get(t.Context(), "x:1", nil); !errdefs.IsNotFound(err) {
		t.Errorf("the damaged image: %v", err)
	}
	b.get("y:1")
	if left, _ := os.ReadDir(filepath.Join(b.dir, "ingest")); len(left) != 0 {
		t.Errorf("left in ingest: %v", left)
	}
	if _, err := b.Sweep(t.Context()); err != nil {
		t.Fatal(err)
	}
	if list, _ := b.blobs.List(); len(list) != 3 || len(b.trees.have) != 1 {
		t.Errorf("blobs %v, layers %v", list, b.trees.have)
	}
}

func TestSweepWaitsForUsers(t *testing.T) {
	b := open(t)
	b.SetUsers(nil)
	if _, err := b.Sweep(t.Context()); !errdefs.IsUnavailable(err) {
		t.Errorf("swept without knowing the containers: %v", err)
	}
}

func TestUnpackedAgain(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1;L;f b 2", "x:1"))
	img := b.get("x:1")
	clear(b.trees.have)
	if err := b.Unpacked(t.Context(), img); err != nil || len(b.trees.have) != 2 {
		t.Errorf("%v, layers %v", err, b.trees.have)
	}
	clear(b.trees.have)
	if err := b.blobs.Delete(img.Layers[1].Digest); err != nil {
		t.Fatal(err)
	}
	mention(t, b.Unpacked(t.Context(), img), "unpack image x:1", img.Layers[1].Digest.String())
}

func TestDrawing(t *testing.T) {
	b := open(t)
	b.mustLoad(archived(t, "L;f a 1", "x:1"))
	var got []string
	filepath.WalkDir(b.dir, func(p string, d os.DirEntry, err error) error {
		rel, _ := filepath.Rel(b.dir, p)
		if len(filepath.Base(rel)) == 64 {
			rel = filepath.Join(filepath.Dir(rel), "<hex>")
		}
		if !slices.Contains(got, rel) {
			got = append(got, rel)
		}
		return err
	})
	if want := ". blobs blobs/sha256 blobs/sha256/<hex> cove.db ingest"; strings.Join(got, " ") != want {
		t.Errorf("on disk: %v, want %s", got, want)
	}
	if oci.Host().OS != "linux" {
		t.Error("containers run on Linux")
	}
}
