package source

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// together lists which names are of one file.
func together(t *testing.T, at string) string {
	t.Helper()
	files := map[uint64][]string{}
	err := filepath.WalkDir(at, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		var st syscall.Stat_t
		if err := syscall.Lstat(path, &st); err != nil {
			return err
		}
		files[st.Ino] = append(files[st.Ino], strings.Trim(strings.TrimPrefix(path, at), "/"))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, names := range files {
		all = append(all, strings.Join(names, "="))
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

// TestNamesOfOneFile: which names are of one file is the same whether the folder came at once or by differences, since it is in the layers
// that are made of it.
func TestNamesOfOneFile(t *testing.T) {
	k, dir := newKit(t), t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	write(t, at("a"), "one")
	write(t, at("d/x"), "two")
	link := func(from, to string) {
		t.Helper()
		if err := os.Link(at(from), at(to)); err != nil {
			t.Fatal(err)
		}
	}
	link("a", "b")
	link("a", "d/c")
	link("d/x", "y")
	id, _ := k.client("links", folder(t, dir))
	for i, change := range []func(){
		func() {},
		func() { link("a", "z") },          // one more, last
		func() { link("a", "aa") },         // in the middle
		func() { link("d/x", ".first") },   // a new first one
		func() { os.Remove(at(".first")) }, // and gone
		func() { // the same in every way, and a file of its own now
			st, err := os.Stat(at("b"))
			if err != nil {
				t.Fatal(err)
			}
			os.Remove(at("b"))
			write(t, at("b"), "one")
			os.Chtimes(at("b"), st.ModTime(), st.ModTime())
		},
		func() { os.Remove(at("b")); link("a", "b") },
		func() { write(t, at("z"), "through any of its names") },
		func() { os.Remove(at("a")); link("y", "a") }, // from one to the other
	} {
		change()
		write(t, at("n"), fmt.Sprint(i))
		p, done, err := k.sync(id, nil)
		if err != nil {
			t.Fatal(i, err)
		}
		if got, want := k.look(p, together), together(t, dir); got != want {
			t.Errorf("change %d: got %s, want %s", i, got, want)
		}
		if got, want := k.list(p), list(t, dir); got != want {
			t.Errorf("change %d: got\n%s\nwant\n%s", i, got, want)
		}
		done()
	}
}
