package source

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	contentfolder "github.com/containerd/containerd/v2/plugins/content/local"
	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/client/llb/sourceresolver"
	sessioncontent "github.com/moby/buildkit/session/content"
	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/cove-containers/cove/testkit"
)

// layoutOf is a client's folder with an image.
func layoutOf(t *testing.T, im *testkit.Image, spoil digest.Digest) (content.Store, digest.Digest) {
	t.Helper()
	store, err := contentfolder.NewStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, data := range append([][]byte{im.Config, im.Manifest}, im.Layers...) {
		d := digest.FromBytes(data)
		if d == spoil {
			continue
		}
		desc := ocispec.Descriptor{Digest: d, Size: int64(len(data))}
		if err := content.WriteBlob(context.Background(), store, d.String(), bytes.NewReader(data), desc); err != nil {
			t.Fatal(err)
		}
	}
	return store, digest.FromBytes(im.Manifest)
}

func TestLayouts(t *testing.T) {
	k := newKit(t)
	im := craft(t, "L;f /a one\nL;f /b two\nC {\"config\":{\"User\":\"me\"}}")
	store, top := layoutOf(t, im, "")
	id, _ := k.client("", sessioncontent.NewAttachable(map[string]content.Store{"oci:ctx": store}))
	source := &pb.SourceOp{Identifier: "oci-layout://any/name@" + top.String(), Attrs: map[string]string{pb.AttrOCILayoutStoreID: "ctx", pb.AttrOCILayoutSessionID: id}}
	env, done := k.env(id)
	defer done()
	r, err := k.maker.Resolve(context.Background(), env, source, sourceresolver.Opt{OCILayoutOpt: &sourceresolver.ResolveOCILayoutOpt{}})
	if err != nil || r.Image.Digest != top || !strings.Contains(string(r.Image.Config), `"me"`) {
		t.Fatal(r, err)
	}
	s, err := k.maker.Op(source, nil)
	if err != nil {
		t.Fatal(err)
	}
	out, err := k.run(env, s)
	if err != nil {
		t.Fatal(err)
	}
	if l := k.list(out.Refs[0].Pile); !strings.Contains(l, `"one"`) || !strings.Contains(l, `"two"`) {
		t.Error(l)
	}
}

func TestLayoutsThatLackSomething(t *testing.T) {
	k := newKit(t)
	for i, missing := range []func(im *testkit.Image) []byte{
		func(im *testkit.Image) []byte { return im.Layers[0] },
		func(im *testkit.Image) []byte { return im.Config },
		func(im *testkit.Image) []byte { return im.Manifest },
	} {
		im := craft(t, fmt.Sprintf("L;f /a %d", i))
		store, top := layoutOf(t, im, digest.FromBytes(missing(im)))
		s, err := k.maker.Op(&pb.SourceOp{Identifier: "oci-layout://ctx@" + top.String()}, nil)
		if err != nil {
			t.Fatal(err)
		}
		try := func(store content.Store) error {
			id, _ := k.client("", sessioncontent.NewAttachable(map[string]content.Store{"oci:ctx": store}))
			env, done := k.env(id)
			defer done()
			_, err := k.run(env, s)
			return err
		}
		if err := try(store); !errdefs.IsNotFound(err) {
			t.Error(i, err)
		}
		store, _ = layoutOf(t, im, "")
		if err := try(store); err != nil {
			t.Error(i, err)
		}
	}
	if _, err := k.maker.Op(&pb.SourceOp{Identifier: "oci-layout://ctx:tag"}, nil); err == nil || !strings.Contains(err.Error(), "must have digest") {
		t.Error(err)
	}
}
