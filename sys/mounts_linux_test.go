package sys

import (
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestReadMounts: places with blanks, several optional fields or none, what has no options, long lines, and lines that are none.
func TestReadMounts(t *testing.T) {
	long := strings.Repeat("lowerdir+=/a,", 20000)
	got, err := ReadMounts(strings.NewReader(`36 35 98:0 /mnt\0401 /mnt\0402 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue
37 35 0:5 / /dev rw - devtmpfs none

31 30 0:27 / / rw - overlay none ` + long + "\n1 2 3\n"))
	want := []Mount{
		{ID: "36", Device: "98:0", Root: "/mnt 1", Point: "/mnt 2", Optional: []string{"master:1", "shared:2"}, Kind: "ext3", Options: "rw,errors=continue"},
		{ID: "37", Device: "0:5", Root: "/", Point: "/dev", Optional: []string{}, Kind: "devtmpfs"},
		{ID: "31", Device: "0:27", Root: "/", Point: "/", Optional: []string{}, Kind: "overlay", Options: long},
	}
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestMountsOf(t *testing.T) {
	all, err := MountsOf(strconv.Itoa(os.Getpid()))
	if err != nil || !slices.ContainsFunc(all, func(m Mount) bool { return m.Point == "/proc" && strings.Contains(m.Device, ":") && m.ID != "" }) {
		t.Errorf("%+v, %v", all, err)
	}
}
