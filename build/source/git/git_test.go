package git

import (
	"errors"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// TestBounded: a server that talks without end fills no memory.
func TestBounded(t *testing.T) {
	words := bounded{most: 10}
	for range 3 {
		if n, err := words.Write([]byte("123456")); n != 6 || err != nil {
			t.Error(n, err)
		}
	}
	if words.String() != "1234561234" {
		t.Error(words.String())
	}
	answer := bounded{most: 10, strict: true}
	if _, err := answer.Write([]byte("123456")); err != nil {
		t.Error(err)
	}
	if _, err := answer.Write([]byte("123456")); !errors.Is(err, errdefs.ErrResourceExhausted) || strings.Contains(answer.String(), "7") {
		t.Error(err)
	}
}
