package shape

import (
	"testing"
)

func FuzzCutVersion(f *testing.F) {
	f.Add("/v1.40/containers/json")
	f.Add("/volumes")
	f.Fuzz(func(t *testing.T, path string) {
		raw, rest := CutVersion(path)
		if raw == "" && rest != path || raw != "" && "/v"+raw+rest != path {
			t.Errorf("%q became %q and %q", path, raw, rest)
		}
		_, _ = CheckVersion(raw)
	})
}
