package recall

import (
	"fmt"
	"testing"

	"github.com/opencontainers/go-digest"
)

func TestBox(t *testing.T) {
	var b Box[int]
	name := func(i int) digest.Digest { return digest.FromString(fmt.Sprint(i)) }
	if _, ok := b.Get(name(0)); ok {
		t.Error("an empty box knows something")
	}
	b.Put(name(0), 1, largest+1)
	if _, ok := b.Get(name(0)); ok {
		t.Error("what is too large is remembered")
	}
	for i := range 1000 {
		b.Put(name(i), i, 100<<10)
		b.Put(name(i), i, 100<<10)
		if v, ok := b.Get(name(i)); !ok || v != i {
			t.Fatalf("%d: %d %v", i, v, ok)
		}
	}
	if want := most / (100 << 10); len(b.known) != want || b.size != want*100<<10 {
		t.Errorf("%d things of %d bytes", len(b.known), b.size)
	}
}
