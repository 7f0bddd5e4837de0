package test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScreens: the pictures of docs/screens, and no others, are made by the program that draws them, and are pictures.
func TestScreens(t *testing.T) {
	t.Parallel()
	needRoot(t)
	dir := images(t)
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	cmd := exec.Command("go", "run", "./screens", "-bin", bin, "-out", out)
	cmd.Env = append(os.Environ(), "COVE_TEST_IMAGES="+dir)
	if said, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, said)
	}
	made, err := filepath.Glob(out + "/*.svg")
	if err != nil {
		t.Fatal(err)
	}
	kept, err := filepath.Glob("../docs/screens/*")
	if err != nil {
		t.Fatal(err)
	}
	names := func(paths []string) string {
		var all []string
		for _, p := range paths {
			all = append(all, filepath.Base(p))
		}
		return strings.Join(all, " ")
	}
	if names(made) != names(kept) || len(made) < 8 {
		t.Errorf("made: %s\nkept: %s", names(made), names(kept))
	}
	for _, path := range append(made, kept...) {
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		drawn := 0
		for d := xml.NewDecoder(f); ; {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v", path, err)
				break
			}
			if start, ok := token.(xml.StartElement); ok && start.Name.Local == "text" {
				drawn++
			}
		}
		if drawn < 4 {
			t.Errorf("%s has %d texts", path, drawn)
		}
		f.Close()
	}
}
