package archive

import (
	"archive/tar"
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/cove-containers/cove/sys"
)

// TestMain also is the program that runSelf starts.
func TestMain(m *testing.M) {
	if out := os.Getenv("ARCHIVE_TEST_UNPACK"); out != "" {
		root, err := os.Open(out)
		if err == nil {
			_, err = Unpack(context.Background(), root, os.Stdin, Options{Whiteouts: true})
		}
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runSelf unpacks a layer in a process that a shell has set up first.
func runSelf(t *testing.T, setup, out string) {
	t.Helper()
	mode := func(i item, mode int64, uid, gid int) item {
		return i.with(func(h *tar.Header) { h.Mode, h.Uid, h.Gid = mode, uid, gid })
	}
	data := pack(t, dir("o", 0o755), mode(file("o/su", "1"), 0o4755, 1000, 0), mode(file("o/sg", "1"), 0o2750, 0, 7), dir("st", 0o1777), mode(file("w", ""), 0o666, 0, 0), mode(file("x/y", ""), 0o666, 0, 0))
	cmd := exec.Command("sh", "-c", setup+`; exec "$0"`, os.Args[0])
	cmd.Env = append(os.Environ(), "ARCHIVE_TEST_UNPACK="+out)
	cmd.Stdin = bytes.NewReader(data)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

func linksOf(t testing.TB, path string) uint64 {
	t.Helper()
	f := openDir(t, filepath.Dir(path))
	st, err := sys.StatAt(sys.Borrow(f), filepath.Base(path))
	if err != nil {
		t.Fatal(err)
	}
	return st.Links
}
