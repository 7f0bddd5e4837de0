package run

import (
	"fmt"
	"os"
	"testing"
)

// TestEtcKeepsFew: the folder does not grow with every text that steps ever had, and what is asked for again stays.
func TestEtcKeepsFew(t *testing.T) {
	e := &etc{dir: t.TempDir()}
	for i := range 3 * maxEtc {
		if _, err := e.file("always"); err != nil {
			t.Fatal(err)
		}
		path, err := e.file(fmt.Sprint(i))
		if err != nil {
			t.Fatal(err)
		}
		if body, err := os.ReadFile(path); err != nil || string(body) != fmt.Sprint(i) {
			t.Fatal(string(body), err)
		}
	}
	path, err := e.file("always")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := os.ReadFile(path); err != nil || string(body) != "always" {
		t.Error(string(body), err)
	}
	if left, err := os.ReadDir(e.dir); err != nil || len(left) != maxEtc {
		t.Error(len(left), err)
	}
}
