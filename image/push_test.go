package image

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	js "github.com/moby/moby/api/types/jsonstream"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/oci"
	"github.com/cove-containers/cove/ref"
	"github.com/cove-containers/cove/remote"
	"github.com/cove-containers/cove/state"
	"github.com/cove-containers/cove/testkit"
)

// push pushes and returns what was said, the extras for programs too.
func (b *bench) push(ctx context.Context, reference string, platform *ocispec.Platform) (string, error) {
	var said strings.Builder
	collected := collect(&said)
	err := b.Push(ctx, reference, PushOptions{Platform: platform, Credentials: remote.Credentials{Username: "u", Password: "p"}, Progress: func(m js.Message) {
		if m.Aux != nil {
			fmt.Fprintf(&said, "aux %s\n", *m.Aux)
			return
		}
		collected(m)
	}})
	return said.String(), err
}

func (b *bench) mustPush(reference string) string {
	b.t.Helper()
	said, err := b.push(b.t.Context(), reference, nil)
	if err != nil {
		b.t.Fatalf("push %s: %v\n%s", reference, err, said)
	}
	return said
}

func (b *bench) mustTag(source, target string) {
	b.t.Helper()
	if err := b.Tag(b.t.Context(), source, target); err != nil {
		b.t.Fatal(err)
	}
}

// taken is how many bytes of blobs a registry was sent, and how many uploads began.
func taken(r *testkit.Registry) (bytes int64, uploads int) {
	for _, q := range r.Log() {
		if strings.Contains(q.Path, "/blobs/uploads/") || strings.HasPrefix(q.Path, "/upload/") {
			bytes += q.Bytes
			if q.Method == "POST" && q.Status == 202 {
				uploads++
			}
		}
	}
	return bytes, uploads
}

func sizes(im *testkit.Image) (n int64) {
	for _, l := range im.Layers {
		n += int64(len(l))
	}
	return n + int64(len(im.Config))
}

func TestPush(t *testing.T) {
	r := registry(t, testkit.Faults{})
	im := craft(t, "L; f a 1\nL; f b 2\nL; f c 3")
	r.Push("base", "1", im)
	b := open(t)
	img := b.mustPull(r.Host() + "/base:1")
	other := registry(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p", FailManifests: 1})
	name := other.Host() + "/deep/x:1"
	b.mustTag(r.Host()+"/base:1", name)
	said := b.mustPush(name)
	id := func(i int) string { return digest.FromBytes(im.Layers[i]).Encoded()[:12] }
	for _, want := range []string{
		"The push refers to repository [" + other.Host() + "/deep/x]\n", id(0) + ": Waiting\n", id(0) + ": Pushed\n", id(2) + ": Pushed\n",
		fmt.Sprintf("1: digest: %s size: %d\n", img.ID, len(im.Manifest)),
		fmt.Sprintf(`aux {"Tag":"1","Digest":"%s","Size":%d}`, img.ID, len(im.Manifest)),
	} {
		if !strings.Contains(said, want) {
			t.Errorf("push does not say %q:\n%s", want, said)
		}
	}
	if got := other.Manifest("deep/x", "1"); string(got) != string(im.Manifest) {
		t.Errorf("the registry has the manifest %s", got)
	}
	if n, uploads := taken(other); n != sizes(im) || uploads != 4 {
		t.Errorf("%d bytes in %d uploads for %d", n, uploads, sizes(im))
	}
	before := len(other.Log())
	if said = b.mustPush(name); strings.Count(said, ": Layer already exists\n") != 3 {
		t.Errorf("again: %s", said)
	}
	for _, q := range other.Log()[before:] {
		if q.Method != "HEAD" && q.Path != "/token" {
			t.Errorf("a second push asks %s %s", q.Method, q.Path)
		}
	}
	if got := b.events[len(b.events)-1]; got != "push "+other.Host()+"/deep/x" {
		t.Errorf("the last event is %q", got)
	}
	// What the registry has lost is sent again, though it still has the manifest.
	other.Forget(digest.FromBytes(im.Layers[1]))
	if said = b.mustPush(name); !strings.Contains(said, id(1)+": Pushed\n") {
		t.Errorf("a lost layer: %s", said)
	}
	clean := open(t)
	if got, _, err := clean.pullAs(name); err != nil || got.ID != img.ID {
		t.Errorf("pulled back: %v", err)
	}
}

func (b *bench) pullAs(reference string) (*Image, string, error) {
	img, err := b.Pull(b.t.Context(), reference, PullOptions{Credentials: remote.Credentials{Username: "u", Password: "p"}})
	return img, "", err
}

// TestPushOnlyTheDifference: of an image that shares its layers with one that was pushed only what is new goes out.
func TestPushOnlyTheDifference(t *testing.T) {
	r := registry(t, testkit.Faults{})
	b := open(t)
	b.mustLoad(archived(t, "L comp=none; z big 3000000", "one:1"))
	b.mustLoad(archived(t, "L comp=none; z big 3000000\nL; f small 1", "two:1"))
	for _, n := range []string{"one", "two"} {
		b.mustTag(n+":1", r.Host()+"/x:"+n)
	}
	b.mustPush(r.Host() + "/x:one")
	first, _ := taken(r)
	b.mustPush(r.Host() + "/x:two")
	if second, _ := taken(r); first < 3000000 || second-first > 2000 {
		t.Errorf("the first push sent %d bytes, the second %d", first, second-first)
	}
}

// TestPushMounts is RG-6: what came from another repository of the registry is mounted, and sent where that is refused.
func TestPushMounts(t *testing.T) {
	for _, status := range []int{201, 202, 401, 403} {
		r := registry(t, testkit.Faults{Mount: status, Auth: "bearer", User: "u", Password: "p"})
		im := craft(t, "L; f a 1\nL; f b 2")
		r.Push("a", "1", im)
		b := open(t)
		if _, _, err := b.pullAs(r.Host() + "/a:1"); err != nil {
			t.Fatal(err)
		}
		b.restart() // the memory is on disk
		b.mustTag(r.Host()+"/a:1", r.Host()+"/b:1")
		said := b.mustPush(r.Host() + "/b:1")
		n, _ := taken(r)
		if mounted := strings.Count(said, ": Mounted from a\n"); status == 201 && (mounted != 2 || n != 0) || status != 201 && n != sizes(im) {
			t.Errorf("%d: %d layers mounted, %d bytes sent\n%s", status, mounted, n, said)
		}
		// What was pushed to b can be mounted from there as well.
		r.Faults.Mount = 201
		b.mustTag(r.Host()+"/a:1", r.Host()+"/c:1")
		if said := b.mustPush(r.Host() + "/c:1"); strings.Count(said, ": Mounted from b\n") != 2 {
			t.Errorf("%d: %s", status, said)
		}
		for _, n := range []string{"a", "b", "c"} {
			if _, err := b.Remove(t.Context(), r.Host()+"/"+n+":1", RemoveOptions{PruneChildren: true}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := b.Sweep(t.Context()); err != nil {
			t.Fatal(err)
		}
		b.restart()
		b.mustLoad(archived(t, "L; f a 1\nL; f b 2", "a:1"))
		b.mustTag("a:1", r.Host()+"/d:1")
		if said := b.mustPush(r.Host() + "/d:1"); strings.Contains(said, "Mounted") {
			t.Errorf("%d: what was removed is still known: %s", status, said)
		}
	}
}

// TestPushSameLayerTwice is RF-7 on its way out.
func TestPushSameLayerTwice(t *testing.T) {
	r := registry(t, testkit.Faults{})
	b := open(t)
	b.mustLoad(archived(t, "L; f q 1\nL; w .wh.q\nL same=1", "x:1"))
	b.mustTag("x:1", r.Host()+"/x:1")
	b.mustPush(r.Host() + "/x:1")
	if _, uploads := taken(r); uploads != 3 {
		t.Errorf("%d uploads for two different layers and a config", uploads)
	}
	if img := open(t).mustPull(r.Host() + "/x:1"); len(img.Layers) != 3 {
		t.Errorf("%d layers came back", len(img.Layers))
	}
}

// TestPushIndex: an image for several platforms goes out whole where all of it is here or there, else one manifest does.
func TestPushIndex(t *testing.T) {
	r := registry(t, testkit.Faults{})
	other := &ocispec.Platform{OS: "linux", Architecture: "riscv64"}
	host := oci.Host()
	var images []*testkit.Image
	for _, p := range []*ocispec.Platform{&host, other} {
		im := craft(t, "L; f "+p.Architecture+" 1\nC {\"architecture\":\""+p.Architecture+"\"}")
		r.Push("x", p.Architecture, im)
		images = append(images, im)
	}
	index := pushIndex(t, r, "all", entry(images[0], &host), entry(images[1], other))
	own := digest.FromBytes(images[0].Manifest)

	b := open(t)
	b.mustPull(r.Host() + "/x:all")
	b.mustTag(r.Host()+"/x:all", r.Host()+"/x:again")
	said := b.mustPush(r.Host() + "/x:again")
	if digest.FromBytes(r.Manifest("x", "again")) != index || strings.Contains(said, "manifestPushedInsteadOfIndex") {
		t.Errorf("what is not here is in the repository, but the index was not pushed:\n%s", said)
	}
	b.mustTag(r.Host()+"/x:all", r.Host()+"/y:1")
	said = b.mustPush(r.Host() + "/y:1")
	if digest.FromBytes(r.Manifest("y", "1")) != own || !strings.Contains(said, `aux {"manifestPushedInsteadOfIndex":true`) || !strings.Contains(said, "1: digest: "+own.String()) {
		t.Errorf("half an index:\n%s", said)
	}
	if _, err := b.push(t.Context(), r.Host()+"/y:1", other); !errdefs.IsNotFound(err) {
		t.Errorf("a platform that is not here: %v", err)
	}
	if _, err := b.Pull(t.Context(), r.Host()+"/x:all", PullOptions{Platform: other}); err != nil {
		t.Fatal(err)
	}
	b.mustTag(r.Host()+"/x:all", r.Host()+"/z:1")
	said = b.mustPush(r.Host() + "/z:1")
	if digest.FromBytes(r.Manifest("z", "1")) != index || r.Manifest("z", own.String()) == nil || strings.Contains(said, "InsteadOf") {
		t.Errorf("a whole index:\n%s", said)
	}
	if _, err := b.push(t.Context(), r.Host()+"/z:1", other); err != nil || digest.FromBytes(r.Manifest("z", "1")) != digest.FromBytes(images[1].Manifest) {
		t.Errorf("one platform of a whole index: %v", err)
	}
}

// TestPushChoice is which manifest of an index goes out alone.
func TestPushChoice(t *testing.T) {
	name, _ := ref.ParseTagged("x:1")
	p := func(s string) ocispec.Platform {
		got, err := oci.ParsePlatform(s)
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	host := oci.FormatPlatform(oci.Host())
	for _, tt := range []struct{ have, absent, ask, want string }{
		{host + " darwin/arm64 windows/riscv64", "darwin/arm64 windows/riscv64", "", host},
		{host + " darwin/arm64 windows/riscv64", "windows/riscv64", "", host},
		{host + " darwin/arm64 windows/riscv64", host, "", "conflict"},
		{"darwin/arm64 windows/riscv64", "windows/riscv64", "", "darwin/arm64"},
		{"darwin/arm64", "darwin/arm64", "", "not found"},
		{host + " darwin/arm64", "", host, host},
		{host + " darwin/arm64", host, host, "not found"},
		{"linux/arm/v5 linux/arm/v7", "", "linux/arm/v5", "linux/arm/v5"},
		{"linux/arm/v7", "", "linux/arm/v5", "not found"},
		{"linux/arm64 linux/arm/v5", "", "linux/arm/v7", "not found"},
		{"linux/arm/v7 linux/arm/v7", "", "linux/arm/v7", "conflict"},
	} {
		var list []variant
		for _, s := range strings.Fields(tt.have) {
			platform := p(s)
			list = append(list, variant{desc: ocispec.Descriptor{Platform: &platform}})
		}
		list = append(list, variant{attestation: true, desc: ocispec.Descriptor{Platform: &ocispec.Platform{OS: "unknown", Architecture: "unknown"}}})
		here := func(v variant) bool {
			return !strings.Contains(" "+tt.absent+" ", " "+oci.FormatPlatform(*v.desc.Platform)+" ")
		}
		var ask *ocispec.Platform
		if tt.ask != "" {
			platform := p(tt.ask)
			ask = &platform
		}
		v, err := choosePushed(list, here, ask, name)
		got := ""
		switch {
		case errdefs.IsConflict(err):
			got = "conflict"
		case errdefs.IsNotFound(err):
			got = "not found"
		case err == nil:
			got = oci.FormatPlatform(*v.desc.Platform)
		}
		if got != tt.want {
			t.Errorf("%q without %q, asked for %q: %s (%v), want %s", tt.have, tt.absent, tt.ask, got, err, tt.want)
		}
	}
}

func TestPushNames(t *testing.T) {
	r := registry(t, testkit.Faults{})
	b := open(t)
	b.mustLoad(archived(t, "L; f a 1", "x:1"))
	for _, tag := range []string{"1", "2"} {
		b.mustTag("x:1", r.Host()+"/x:"+tag)
	}
	said := b.mustPush(r.Host() + "/x")
	if r.Manifest("x", "1") == nil || r.Manifest("x", "2") == nil || strings.Count(said, ": digest: ") != 2 {
		t.Errorf("all tags: %s", said)
	}
	if _, err := b.push(t.Context(), r.Host()+"/x:3", nil); !errdefs.IsNotFound(err) || err.Error() != "tag does not exist: "+r.Host()+"/x:3" {
		t.Errorf("unknown tag: %v", err)
	}
	if _, err := b.push(t.Context(), r.Host()+"/y", nil); !errdefs.IsNotFound(err) || !strings.Contains(err.Error(), "An image does not exist locally with the tag: "+r.Host()+"/y") {
		t.Errorf("unknown repository: %v", err)
	}
	id := b.get("x:1").ID
	before := len(r.Log())
	b.mustPush(r.Host() + "/x@" + id.String())
	for _, q := range r.Log()[before:] {
		if strings.Contains(q.Path, "/manifests/") && !strings.HasSuffix(q.Path, id.String()) {
			t.Errorf("a push by digest asks %s %s", q.Method, q.Path)
		}
	}
	refused := registry(t, testkit.Faults{Auth: "basic", User: "other", Password: "p"})
	b.mustTag("x:1", refused.Host()+"/x:1")
	if _, err := b.push(t.Context(), refused.Host()+"/x:1", nil); !errdefs.IsUnauthorized(err) || len(refused.Log()) > 4 {
		t.Errorf("wrong password: %v after %d requests", err, len(refused.Log()))
	}
}

// TestParallelPushes: who pushes the same at the same time shares the uploads; one that gives up takes nothing from the others.
func TestParallelPushes(t *testing.T) {
	r := registry(t, testkit.Faults{Rate: 4_000_000})
	b := open(t)
	recipe := "L comp=none; z a 2000000\nL comp=none; z b 1000000"
	b.mustLoad(archived(t, recipe, "x:1"))
	im := craft(t, recipe)
	b.mustTag("x:1", r.Host()+"/x:1")
	ctx, giveUp := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	wait.Go(func() {
		if _, err := b.push(ctx, r.Host()+"/x:1", nil); !errors.Is(err, context.Canceled) {
			t.Errorf("the one that gave up: %v", err)
		}
	})
	for range 3 {
		wait.Go(func() {
			if said, err := b.push(t.Context(), r.Host()+"/x:1", nil); err != nil {
				t.Errorf("%v: %s", err, said)
			}
		})
	}
	time.Sleep(150 * time.Millisecond)
	giveUp()
	wait.Wait()
	if n, _ := taken(r); n > sizes(im)+100_000 {
		t.Errorf("%d bytes were sent for %d", n, sizes(im))
	}
	if b.jobs.Running() != 0 {
		t.Error("jobs are left")
	}
}

// TestPushContinues: what was uploaded before the store went away is not sent again.
func TestPushContinues(t *testing.T) {
	const size = 24_000_000 // of which connections hold some
	r := registry(t, testkit.Faults{Rate: 20_000_000})
	b := open(t)
	b.mustLoad(archived(t, fmt.Sprintf("L comp=none; z a %d\nL; f b 1", size), "x:1"))
	b.mustTag("x:1", r.Host()+"/x:1")
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	err := b.Push(ctx, r.Host()+"/x:1", PushOptions{Progress: func(m js.Message) {
		if m.Progress != nil && m.Progress.Current > size/4 {
			stop()
		}
	}})
	if err == nil {
		t.Fatal("the push was not interrupted")
	}
	b.restart()
	var before int64
	for broken := false; !broken; time.Sleep(10 * time.Millisecond) {
		for _, q := range r.Log() {
			broken = broken || q.Method == "PUT" && q.Status == 0
		}
		before, _ = taken(r)
	}
	if before < size/20 || before > size-size/20 {
		t.Fatalf("interrupted after %d bytes", before)
	}
	b.mustPush(r.Host() + "/x:1")
	if n, _ := taken(r); n > size+10_000 {
		t.Errorf("%d bytes before the interruption and %d after it, for %d", before, n-before, size)
	}
	b.restart()
	uploads, err := state.NewTable[map[string]any](b.db, "image-uploads")
	if err != nil {
		t.Fatal(err)
	}
	if left, err := uploads.All(); err != nil || len(left) != 0 {
		t.Errorf("still remembered: %v %v", left, err)
	}
	open(t).mustPull(r.Host() + "/x:1")
}
