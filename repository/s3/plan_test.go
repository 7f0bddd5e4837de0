package s3

import (
	"net/http"
	"reflect"
	"testing"

	"github.com/containerd/errdefs"
	"github.com/minio/minio-go/v7"
)

func TestPlan(t *testing.T) {
	for _, c := range []struct {
		sizes []int64
		want  [][]span
	}{
		{nil, nil},
		{[]int64{0, 0}, nil},
		{[]int64{3}, [][]span{{{0, 0, 3}}}},
		{[]int64{10}, [][]span{{{0, 0, 10}}}},
		{[]int64{10, 12}, [][]span{{{0, 0, 10}}, {{1, 0, 12}}}},
		{[]int64{3, 4}, [][]span{{{0, 0, 3}, {1, 0, 2}}, {{1, 2, 2}}}},   // five are a part
		{[]int64{3, 12}, [][]span{{{0, 0, 3}, {1, 0, 2}}, {{1, 2, 10}}}}, // the rest is still copied
		{[]int64{1, 1, 1, 1, 1, 1}, [][]span{{{0, 0, 1}, {1, 0, 1}, {2, 0, 1}, {3, 0, 1}, {4, 0, 1}}, {{5, 0, 1}}}},
		{[]int64{45}, [][]span{{{0, 0, 20}}, {{0, 20, 20}}, {{0, 40, 5}}}},  // no more than twenty at once
		{[]int64{22, 6}, [][]span{{{0, 0, 15}}, {{0, 15, 7}}, {{1, 0, 6}}}}, // no end too small to be copied
		{[]int64{6, 0, 6}, [][]span{{{0, 0, 6}}, {{2, 0, 6}}}},
	} {
		if got := plan(c.sizes, 5, 20); !reflect.DeepEqual(got, c.want) {
			t.Errorf("plan %v:\n got %v\nwant %v", c.sizes, got, c.want)
		}
	}
}

// FuzzPlan: whatever the sizes, the parts hold every byte once and in order, and the store would take each of them.
func FuzzPlan(f *testing.F) {
	f.Add([]byte{3, 4, 200, 0, 1, 1, 5})
	f.Fuzz(func(t *testing.T, raw []byte) {
		var sizes []int64
		for _, b := range raw {
			sizes = append(sizes, int64(b))
		}
		parts := plan(sizes, 5, 20)
		source, offset := 0, int64(0)
		for i, part := range parts {
			n := int64(0)
			for _, sp := range part {
				for source < len(sizes) && offset == sizes[source] {
					source, offset = source+1, 0
				}
				if sp.source != source || sp.offset != offset || sp.n <= 0 {
					t.Fatalf("%v: part %d has %v where source %d goes on at %d", sizes, i, sp, source, offset)
				}
				offset, n = offset+sp.n, n+sp.n
			}
			if i < len(parts)-1 && n < 5 || n > 20 || n == 0 {
				t.Fatalf("%v: part %d of %d has %d bytes", sizes, i, len(parts), n)
			}
			if len(part) > 1 && n > 5 {
				t.Fatalf("%v: part %d fetches %d bytes", sizes, i, n)
			}
		}
		for source < len(sizes) && offset == sizes[source] {
			source, offset = source+1, 0
		}
		if source != len(sizes) {
			t.Fatalf("%v: the parts end in source %d at %d", sizes, source, offset)
		}
	})
}

// TestAnotherObject: a reader that goes on takes nothing of an object that has come in the place of its own, where a store does not
// mind being asked for the old one.
func TestAnotherObject(t *testing.T) {
	r := &reader{s: &Store{clock: &clock{}}, etag: "a", size: 10, at: 4}
	header := http.Header{"Content-Range": {"bytes 4-9/10"}}
	if err := r.accept(minio.ObjectInfo{ETag: "a", Size: 6}, header); err != nil {
		t.Error(err)
	}
	if err := r.accept(minio.ObjectInfo{ETag: "b", Size: 6}, header); !errdefs.IsConflict(err) {
		t.Errorf("another ETag: %v", err)
	}
}
