package api

import (
	"errors"
	"slices"
	"testing"

	"github.com/containerd/errdefs"
)

func TestParseFilters(t *testing.T) {
	for raw, want := range map[string][]string{
		`{"label":{"a=1":true,"b":true}}`: {"a=1", "b"},
		`{"label":["b","a=1"]}`:           {"a=1", "b"},
		``:                                nil,
	} {
		f, err := ParseFilters(raw)
		if err != nil || !slices.Equal(f.Get("label"), want) {
			t.Errorf("%s: %v, %v", raw, f, err)
		}
	}
	if _, err := ParseFilters(`[]`); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("a list: %v", err)
	}
}

func TestFilters(t *testing.T) {
	f := Filters{}
	f.Add("name", "^web")
	f.Add("label", "a")
	f.Add("label", "b=2")
	f.Add("dangling", "true")
	if match := f.Matcher("name"); !match("web1") || match("theweb") || !f.Matcher("other")("x") {
		t.Error("names")
	}
	if !f.Labels("label", map[string]string{"a": "", "b": "2"}) || f.Labels("label", map[string]string{"a": "", "b": "3"}) {
		t.Error("every label must hold")
	}
	if f.NotLabels("label", map[string]string{"a": ""}) || !f.NotLabels("label", map[string]string{"c": ""}) {
		t.Error("no label may hold")
	}
	if yes, err := f.Bool("dangling", false); err != nil || !yes {
		t.Error("dangling")
	}
	f.Add("dangling", "false")
	if _, err := f.Bool("dangling", false); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("yes and no: %v", err)
	}
	if err := f.Check("name", "label"); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("unknown name: %v", err)
	}
}

func FuzzParseFilters(f *testing.F) {
	f.Add(`{"a":{"b":true}}`)
	f.Add(`{"a":["b"]}`)
	f.Fuzz(func(t *testing.T, raw string) {
		got, err := ParseFilters(raw)
		if err != nil {
			return
		}
		again, err := ParseFilters(got.Encode())
		if err != nil || again.Encode() != got.Encode() {
			t.Errorf("%q does not survive: %v, %v", raw, again, err)
		}
	})
}
