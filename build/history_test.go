package build

import (
	"testing"

	control "github.com/moby/buildkit/api/services/control"
	"github.com/opencontainers/go-digest"
)

// TestHistoryKeepsWhatIsComing: what a record is about to name stays, though another one that named it goes.
func TestHistoryKeepsWhatIsComing(t *testing.T) {
	k := newKit(t)
	h := k.builder.history
	old, err := h.keep([]byte("the same"), errorType)
	if err != nil {
		t.Fatal(err)
	}
	h.coming = map[string]int{} // its record is there
	record := &control.BuildHistoryRecord{Ref: "old", ExternalError: old}
	h.ended["old"] = record
	again, err := h.keep([]byte("the same"), errorType)
	if err != nil || again.Digest != old.Digest {
		t.Fatal(again, err)
	}
	h.mu.Lock()
	h.drop(record)
	h.mu.Unlock()
	f, _, err := k.builder.Blob(t.Context(), digest.Digest(again.Digest))
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
