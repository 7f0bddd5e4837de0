package shape

import (
	"testing"
)

func TestWithLaysFieldsOver(t *testing.T) {
	got, err := With(struct{ A, B any }{"<a>", map[string]any{"x": 1}}, map[string]any{"A": 2, "B": map[string]any{"x": 2, "y": nil}, "C": 3})
	if err != nil || string(got) != `{"A":"<a>","B":{"x":1,"y":null},"C":3}` {
		t.Errorf("%s %v", got, err)
	}
	if got, err := With(struct{ A *int }{}, map[string]any{"A": map[string]any{"x": 1}}); err != nil || string(got) != `{"A":null}` {
		t.Errorf("null stays: %s %v", got, err)
	}
}
