package testkit

import (
	"io"
	"net/http"
	"os"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestCraftAndServe(t *testing.T) {
	im, err := Craft(`L; d a; f a/x 'one two' mode=4755 uid=7; w a/.wh.y
L comp=zstd2
z big 100000
L same=1`, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(im.Layers) != 3 || im.DiffIDs[0] != im.DiffIDs[2] || im.DiffIDs[0] == im.DiffIDs[1] {
		t.Fatalf("layers %v", im.DiffIDs)
	}
	if _, err := im.DockerArchive("x:1"); err != nil {
		t.Fatal(err)
	}
	r, err := NewRegistry("127.0.0.1:0", Faults{CutAfter: 10}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	r.Push("x", "1", im)
	url := "http://" + r.Host() + "/v2/x/blobs/" + digest.FromBytes(im.Layers[0]).String()
	for i, want := range []int{10, len(im.Layers[0])} {
		resp, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if len(got) != want || (err == nil) != (i == 1) {
			t.Errorf("try %d: %d bytes of %d, %v", i, len(got), want, err)
		}
	}
	if log := r.Log(); len(log) != 2 || log[0].Status != 200 {
		t.Errorf("log %+v", log)
	}
}

func TestFromLayout(t *testing.T) {
	dir, err := Images("..")
	if err != nil {
		t.Skip(err)
	}
	f, err := os.Open(dir + "/busybox.tar")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	im, err := FromLayout(f, "amd64")
	if err != nil || len(im.Layers) == 0 || len(im.Layers[0]) == 0 {
		t.Fatalf("busybox: %v", err)
	}
}
