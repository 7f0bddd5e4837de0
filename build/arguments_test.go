package build

import (
	"fmt"
	"slices"
	"testing"
)

func TestUnconsumedArguments(t *testing.T) {
	k := newKit(t)
	const all = "ARG GLOBAL\nFROM parent AS base\nONBUILD ARG LATER\nFROM busybox AS other\nARG OTHER=1 TWO\nFROM base\nARG HERE\nRUN true\n"
	for i, test := range []struct {
		dockerfile string
		options    []string
		want       string
	}{
		{all, []string{"GLOBAL", "LATER", "OTHER", "TWO", "HERE", "INHERITED"}, ""},
		{all, []string{"Z", "HERE", "A", "here"}, "[Warning] One or more build-args [A Z here] were not consumed"},
		{all, []string{"HTTP_PROXY", "no_proxy", "BUILDKIT_INLINE_CACHE", "SOURCE_DATE_EPOCH", "TARGETARCH", "BUILDPLATFORM"}, ""},
		{"# syntax=docker/dockerfile:1\n" + all, []string{"Z"}, "[Warning] One or more build-args [Z] were not consumed"},
		{"# check=skip=all\nFROM busybox\nRUN exit 3\n", []string{"Z"}, "[Warning] One or more build-args [Z] were not consumed"},
		{"FROM busybox\nRUN true\n", nil, ""},
	} {
		id := fmt.Sprint("b", i)
		var options []string
		for _, name := range test.options {
			options = append(options, "build-arg:"+name+"=1")
		}
		_, err := k.build(t.Context(), id, test.dockerfile, nil, options...)
		s, told := k.status(id)
		var want []string
		if test.want != "" {
			want = []string{test.want}
		}
		if told != nil || !slices.Equal(s.warnings, want) {
			t.Errorf("%v: %v, %v; the build: %v", test.options, s.warnings, told, err)
		}
	}
	if _, err := k.build(t.Context(), "asked", all, nil, "build-arg:Z=1", "requestid=frontend.lint", "frontend.caps=moby.buildkit.frontend.subrequests"); err != nil {
		t.Fatal(err)
	}
	if s, err := k.status("asked"); err != nil || len(s.warnings) != 0 {
		t.Errorf("a question about the Dockerfile: %v, %v", s.warnings, err)
	}
}
