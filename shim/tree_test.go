package shim

import (
	"slices"
	"testing"
)

// TestPick: children's children and the session's orphans belong to a process; strangers, the dead and who is in a circle do not.
func TestPick(t *testing.T) {
	kin := map[int]kinship{
		10: {parent: 1, session: 10},
		11: {parent: 10, session: 10},
		12: {parent: 11, session: 12},
		13: {parent: 1, session: 10},
		14: {parent: 10, session: 10, dead: true},
		20: {parent: 1, session: 20},
		30: {parent: 31, session: 30},
		31: {parent: 30, session: 30},
	}
	got := pick(10, kin)
	slices.Sort(got)
	if want := []int{10, 11, 12, 13}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
