package image

import "testing"

// TestUntaggedTwice: an image without names that is loaded once more stays, as it does when it is pulled by digest.
func TestUntaggedTwice(t *testing.T) {
	b := open(t)
	for range 2 {
		b.mustLoad(archived(t, "L;f a 1", ""))
		if list, err := b.List(t.Context(), ListOptions{All: true}); err != nil || len(list) != 1 {
			t.Fatalf("%v %v", list, err)
		}
	}
}

// TestLoadTakesAllNames: an image that loses all its names to several images of one archive stays, dangling.
func TestLoadTakesAllNames(t *testing.T) {
	from, b := open(t), open(t)
	from.mustLoad(archived(t, "L;f a 1", "x:1"))
	from.mustLoad(archived(t, "L;f a 2", "x:2"))
	b.mustLoad(archived(t, "L;f a old", "x:1"))
	if err := b.Tag(t.Context(), "x:1", "x:2"); err != nil {
		t.Fatal(err)
	}
	old, err := b.Get(t.Context(), "x:2", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.mustLoad(save(t, from, "x:1", "x:2"))
	if got, err := b.Get(t.Context(), old.ID.String(), nil); err != nil || len(got.RepoTags) != 0 {
		t.Errorf("the old image: %+v, %v", got, err)
	}
	if list, err := b.List(t.Context(), ListOptions{All: true}); err != nil || len(list) != 3 {
		t.Errorf("%v %v", list, err)
	}
}
