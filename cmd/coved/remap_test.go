package main

import (
	"reflect"
	"testing"

	"github.com/opencontainers/runtime-spec/specs-go"
)

func TestSubordinates(t *testing.T) {
	all, err := parseSubordinate("# who\n\na:100000:10\n1000:300000:20\nb:165536:65536\na:5:0\n")
	if err != nil {
		t.Fatal(err)
	}
	want := []specs.LinuxIDMapping{{ContainerID: 0, HostID: 100000, Size: 10}, {ContainerID: 10, HostID: 300000, Size: 20}}
	if got := mappings(all, "a", "1000"); !reflect.DeepEqual(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	if got := mappings(all, "c", "7"); got != nil {
		t.Errorf("somebody who has none has %v", got)
	}
	for _, bad := range []string{"a:1", "a:x:1", "a:1:-1", "a:1:99999999999"} {
		if _, err := parseSubordinate(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
	for text, want := range map[string]uint32{
		"": 100000, "a:100000:65536": 165536, "a:200000:10\nb:100000:65536": 200010, "a:10:10": 100000, "a:165536:65536": 100000, "a:100000:10": 100010,
	} {
		ranges, err := parseSubordinate(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := freeRange(ranges); got != want {
			t.Errorf("beside %q: %d, want %d", text, got, want)
		}
	}
}
