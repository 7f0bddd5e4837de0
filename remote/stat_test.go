package remote

import (
	"slices"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/testkit"
)

// TestReadersAskForNoMore: who only looks asks for the right to pull; some registries refuse whoever asks for more than he may.
func TestReadersAskForNoMore(t *testing.T) {
	r := start(t, testkit.Faults{Auth: "bearer", User: "u", Password: "p"})
	c := client(t, Config{})
	n := name(t, r.Host()+"/x:1")
	asked := func() (scopes []string) {
		for _, q := range r.Log() {
			if q.Path == "/token" {
				scopes = append(scopes, q.Query["scope"]...)
			}
		}
		return scopes
	}
	if _, err := c.StatManifest(t.Context(), n, user()); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if got := asked(); !slices.Equal(got, []string{"repository:x:pull"}) {
		t.Errorf("a reader asked for %v", got)
	}
	if _, err := c.StatTarget(t.Context(), n, user()); !errdefs.IsNotFound(err) {
		t.Error(err)
	}
	if got := asked(); len(got) != 2 || got[1] != "repository:x:pull,push" {
		t.Errorf("who pushes asked for %v", got)
	}
}
