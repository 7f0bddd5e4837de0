package runtime

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

const (
	passwdFile = "root:x:0:0:root:/root:/bin/sh\n# comment\n\nbob:x:77:88::/home/bob:/bin/sh\nshort:x:5\n1000:x:9:9::/number:\n" +
		"minus:x:-1:5::/:\nwrap:x:4294967296:5::/:\ngroup:x:5:-1::/:\n"
	groupFile = "root:x:0:\nwheel:x:10:root,bob\nstaff:x:50:bob\n1234:x:6:\n"
)

func TestLookUp(t *testing.T) {
	for user, want := range map[string]identity{
		"":          {uid: 0, gid: 0, groups: []uint32{10}, home: "/root"},
		"root":      {uid: 0, gid: 0, groups: []uint32{10}, home: "/root"},
		"bob":       {uid: 77, gid: 88, groups: []uint32{10, 50}, home: "/home/bob"},
		"77":        {uid: 77, gid: 88, groups: []uint32{10, 50}, home: "/home/bob"},
		"bob:staff": {uid: 77, gid: 50, home: "/home/bob"},
		"bob:10":    {uid: 77, gid: 10, home: "/home/bob"},
		"bob:11":    {uid: 77, gid: 11, home: "/home/bob"},
		"4321":      {uid: 4321, home: "/"},
		"4321:7":    {uid: 4321, gid: 7, home: "/"},
		":staff":    {uid: 0, gid: 50, home: "/root"},
		"short":     {uid: 5, home: "/"},
		"1000":      {uid: 9, gid: 9, home: "/number"}, // a name that looks like a number
		"1:1234":    {uid: 1, gid: 6, home: "/"},
	} {
		got, err := lookUp(user, strings.NewReader(passwdFile), strings.NewReader(groupFile))
		if err != nil || got.uid != want.uid || got.gid != want.gid || got.home != want.home || !slices.Equal(got.groups, want.groups) {
			t.Errorf("%q: got %+v, %v, want %+v", user, got, err, want)
		}
	}
	for _, user := range []string{"nosuch", "bob:nosuch", "-1", "2147483648", "bob:-1", "9:2147483648", "1.5", "minus", "wrap", "group"} {
		if _, err := lookUp(user, strings.NewReader(passwdFile), strings.NewReader(groupFile)); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %v", user, err)
		}
	}
	if got, err := lookUp("5", nil, nil); err != nil || got.uid != 5 || got.home != "/" {
		t.Errorf("without files: %+v, %v", got, err)
	}
}

func TestLookUpGroups(t *testing.T) {
	got, err := lookUpGroups([]string{"staff", "33", "1234"}, strings.NewReader(groupFile))
	if err != nil || !slices.Equal(got, []uint32{50, 33, 6}) {
		t.Errorf("got %v, %v", got, err)
	}
	for _, bad := range []string{"nosuch", "-1", ""} {
		if _, err := lookUpGroups([]string{bad}, strings.NewReader(groupFile)); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzLookUp(f *testing.F) {
	f.Add("bob:staff", passwdFile, groupFile)
	f.Add("1:1", ":::", "")
	f.Fuzz(func(t *testing.T, user, passwd, groups string) {
		id, err := lookUp(user, strings.NewReader(passwd), strings.NewReader(groups))
		if err == nil && id.home == "" {
			t.Errorf("no home for %q", user)
		}
	})
}
