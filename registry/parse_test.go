package registry

import (
	"strings"
	"testing"

	"github.com/cove-containers/cove/repository"
)

// FuzzLocate: whatever the path, what is taken for a name passes CheckName or is refused, and name and argument are parts of the path.
func FuzzLocate(f *testing.F) {
	for _, path := range []string{"/v2/", "/v2", "/v2/a/b/manifests/x", "/v2/a/blobs/uploads/", "/v2/a/blobs/uploads/id", "/v2/blobs/uploads", "/v2/a/tags/list", "/v2/../manifests/x", "//", "/v2/_cove/gc"} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		kind, name, arg := locate(path)
		if _, ok := kinds[kind]; kind != "" && !ok {
			t.Errorf("%q is a %q, which is nothing", path, kind)
		}
		if !strings.Contains(path, name) || !strings.Contains(path, arg) || strings.Contains(arg, "/") {
			t.Errorf("%q: name %q, argument %q", path, name, arg)
		}
		if kind == "" && name+arg != "" {
			t.Errorf("%q is nothing, of %q", path, name)
		}
		if repository.CheckName(name) == nil && (strings.Contains(name, "..") || strings.HasPrefix(name, "_")) {
			t.Errorf("%q: a name %q", path, name)
		}
	})
}

// FuzzRange: a range that is given out lies in the content.
func FuzzRange(f *testing.F) {
	for _, header := range []string{"", "bytes=0-", "bytes=-5", "bytes=3-5", "bytes=9-3", "bytes=0-0,1-1", "bytes=99999999999999999999-", "bytes=-"} {
		f.Add(header, int64(10))
	}
	f.Fuzz(func(t *testing.T, header string, size int64) {
		if size < 0 {
			return
		}
		from, length, part := byteRange(header, size)
		if length < 0 {
			return
		}
		if from < 0 || from+length > size || !part && (from != 0 || length != size) || part && length == 0 {
			t.Errorf("%q of %d: %d from %d, part %v", header, size, length, from, part)
		}
	})
}
