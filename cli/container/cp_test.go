package container

import "testing"

// TestPlaces reads the ends of a copy as they are written here and on Windows.
func TestPlaces(t *testing.T) {
	for _, c := range []struct {
		arg             string
		windows         bool
		container, path string
	}{
		{"web:/x", false, "web", "/x"},
		{"web:x:y", false, "web", "x:y"},
		{"web:", false, "web", ""},
		{"/a:b", false, "", "/a:b"},
		{"./a:b", false, "", "./a:b"},
		{"../a:b", false, "", "../a:b"},
		{"-", false, "", "-"},
		{"a", false, "", "a"},
		{`C:\x`, false, "C", `\x`},
		{`C:\x`, true, "", `C:\x`},
		{"c:/y", true, "", "c:/y"},
		{"c:y", true, "c", "y"},
		{`\\server\share\x`, true, "", `\\server\share\x`},
		{"//server/share:x", true, "", "//server/share:x"},
		{`\x:y`, true, "", `\x:y`},
		{`.\a:b`, true, "", `.\a:b`},
		{"web:/x", true, "web", "/x"},
		{`web:C:\x`, true, "web", `C:\x`},
		{"1:/x", true, "1", "/x"},
		{`[:\x`, true, "[", `\x`},
		{"-", true, "", "-"},
	} {
		if container, path := splitPlace(c.arg, c.windows); container != c.container || path != c.path {
			t.Errorf("%q, on Windows %v: got %q %q, want %q %q", c.arg, c.windows, container, path, c.container, c.path)
		}
	}
}
