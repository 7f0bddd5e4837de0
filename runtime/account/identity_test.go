package account

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

const (
	passwdFile = "root:x:0:0:root:/root:/bin/sh\n# comment\n\nbob:x:77:88::/home/bob:/bin/sh\nshort:x:5\n1000:x:9:9::/number:\n" +
		"minus:x:-1:5::/:\nwrap:x:4294967296:5::/:\nletters:x:abc:5::/:\nletters2:x:5:abc::/:\ngroup:x:5:-1::/:\n"
	groupFile = "root:x:0:\nwheel:x:10:root,bob\nstaff:x:50:bob\n1234:x:6:\n"
)

func TestLookUp(t *testing.T) {
	for user, want := range map[string]Identity{
		"":          {UID: 0, GID: 0, Groups: []uint32{10}, Home: "/root"},
		"root":      {UID: 0, GID: 0, Groups: []uint32{10}, Home: "/root"},
		"bob":       {UID: 77, GID: 88, Groups: []uint32{10, 50}, Home: "/home/bob"},
		"77":        {UID: 77, GID: 88, Groups: []uint32{10, 50}, Home: "/home/bob"},
		"bob:staff": {UID: 77, GID: 50, Home: "/home/bob"},
		"bob:10":    {UID: 77, GID: 10, Home: "/home/bob"},
		"bob:11":    {UID: 77, GID: 11, Home: "/home/bob"},
		"4321":      {UID: 4321, Home: "/"},
		"4321:7":    {UID: 4321, GID: 7, Home: "/"},
		":staff":    {UID: 0, GID: 50, Home: "/root"},
		"short":     {UID: 5, Home: "/"},
		"1000":      {UID: 1000, Home: "/"}, // not the account of that name
		"9":         {UID: 9, GID: 9, Home: "/number"},
		"1:1234":    {UID: 1, GID: 1234, Home: "/"},
	} {
		got, err := lookUp(user, strings.NewReader(passwdFile), strings.NewReader(groupFile))
		if err != nil || got.UID != want.UID || got.GID != want.GID || got.Home != want.Home || !slices.Equal(got.Groups, want.Groups) {
			t.Errorf("%q: got %+v, %v, want %+v", user, got, err, want)
		}
	}
	for _, user := range []string{"nosuch", "bob:nosuch", "-1", "2147483648", "bob:-1", "9:2147483648", "1.5", "minus", "wrap", "group", "letters", "letters2"} {
		if _, err := lookUp(user, strings.NewReader(passwdFile), strings.NewReader(groupFile)); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("%q: %v", user, err)
		}
	}
	if got, err := lookUp("5", nil, nil); err != nil || got.UID != 5 || got.Home != "/" {
		t.Errorf("without files: %+v, %v", got, err)
	}
}

func TestLookUpGroups(t *testing.T) {
	got, err := lookUpGroups([]string{"staff", "33", "1234"}, strings.NewReader(groupFile))
	if err != nil || !slices.Equal(got, []uint32{50, 33, 1234}) {
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
		if err == nil && id.Home == "" {
			t.Errorf("no home for %q", user)
		}
	})
}
