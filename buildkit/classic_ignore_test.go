package buildkit

import (
	"archive/tar"
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// pack makes an archive of names and contents, a name that ends in a slash is a folder.
func pack(t testing.TB, entries ...[2]string) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e[0], Mode: 0o644, Size: int64(len(e[1])), Typeflag: tar.TypeReg}
		if strings.HasSuffix(e[0], "/") {
			h.Typeflag = tar.TypeDir
		}
		if target, ok := strings.CutPrefix(e[1], "-> "); ok {
			h.Typeflag, h.Linkname, h.Size, e[1] = tar.TypeSymlink, target, 0, ""
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e[1])); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func onDisk(t testing.TB, body []byte) *os.File {
	t.Helper()
	name := filepath.Join(t.TempDir(), "context")
	if err := os.WriteFile(name, body, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return f
}

func TestIgnoring(t *testing.T) {
	long, large := strings.Repeat("long/", 60)+"name", strings.Repeat("x", 3000)
	for _, test := range []struct {
		name, ignore, dockerfile string
		hidden                   string // "-": it stays
		left                     string
	}{
		{"both", "Dockerfile\n.dockerignore", "", "FROM second", "dir/ " + long + " large other"},
		{"all", "*", "", "FROM second", "dir/ " + long + " large other"},
		{"itself", ".docker*", "", "-", "dir/ ./Dockerfile " + long + " large Dockerfile other"},
		{"the other name", "other", "./other", "odd", ".dockerignore dir/ ./Dockerfile " + long + " large Dockerfile"},
		{"a folder", "dir", "dir/none", "-", ".dockerignore dir/ ./Dockerfile " + long + " large Dockerfile other"},
		{"nothing", "# nothing\n", "", "-", ".dockerignore dir/ ./Dockerfile " + long + " large Dockerfile other"},
		{"taken back", "*\n!Dockerfile\n!.dockerignore", "", "-", ".dockerignore dir/ ./Dockerfile " + long + " large Dockerfile other"},
		{"no pattern", "[", "", "-", ".dockerignore dir/ ./Dockerfile " + long + " large Dockerfile other"},
	} {
		body := pack(t, [2]string{".dockerignore", test.ignore}, [2]string{"dir/"}, [2]string{"./Dockerfile", "FROM first"}, [2]string{long, large},
			[2]string{"large", large}, [2]string{"Dockerfile", "FROM second"}, [2]string{"other", "odd"})
		found, err := ignoring(onDisk(t, body), int64(len(body)), test.dockerfile)
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if test.hidden == "-" && found.dockerfile != nil || test.hidden != "-" && string(found.dockerfile) != test.hidden {
			t.Errorf("%s: hidden %q", test.name, found.dockerfile)
		}
		var left []string
		rest, err := found.left(bytes.NewReader(body), int64(len(body)))
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		for files := tar.NewReader(rest); ; {
			h, err := files.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
			content, err := io.ReadAll(files)
			if err != nil || strings.HasPrefix(h.Name, "l") && string(content) != large {
				t.Errorf("%s: %s: %v", test.name, h.Name, err)
			}
			left = append(left, h.Name)
		}
		if got := strings.Join(left, " "); got != test.left {
			t.Errorf("%s: left %s", test.name, got)
		}
	}
	alone := pack(t, [2]string{".dockerignore", "*"}, [2]string{"Dockerfile", "FROM x"})
	found, err := ignoring(onDisk(t, alone), int64(len(alone)), "")
	if err != nil || string(found.dockerfile) != "FROM x" {
		t.Errorf("alone: hidden %q %v", found.dockerfile, err)
	}
	rest, err := found.left(bytes.NewReader(alone), int64(len(alone)))
	if err != nil {
		t.Fatal(err)
	}
	if h, err := tar.NewReader(rest).Next(); err != nil || h.Name != "./" {
		t.Errorf("a context of which nothing is left: %+v %v", h, err)
	}
	var python bytes.Buffer
	w := tar.NewWriter(&python)
	if err := w.WriteHeader(&tar.Header{Name: "Dockerfile", Mode: 0o644, Format: tar.FormatPAX, ModTime: time.Unix(1, 500)}); err != nil || w.Close() != nil {
		t.Fatal(err)
	}
	if rest, err = new(ignored).left(bytes.NewReader(python.Bytes()), int64(python.Len())); err != nil {
		t.Fatal(err)
	}
	start := make([]byte, looked)
	if _, err := io.ReadFull(rest, start); err != nil {
		t.Fatal(err)
	}
	if _, err := tar.NewReader(bytes.NewReader(start)).Next(); err != nil {
		t.Errorf("an archive whose first entry has words of its own is not seen to be one: %v", err)
	}
	files := tar.NewReader(io.MultiReader(bytes.NewReader(start), rest))
	for _, want := range []string{"./", "Dockerfile"} {
		if h, err := files.Next(); err != nil || h.Name != want {
			t.Errorf("%+v %v, want %s", h, err, want)
		}
	}
	link := pack(t, [2]string{".dockerignore", "Dockerfile"}, [2]string{"Dockerfile", "-> other"}, [2]string{"other", "FROM x"})
	if found, err := ignoring(onDisk(t, link), int64(len(link)), ""); err != nil || found.dockerfile != nil || len(found.spans) != 0 {
		t.Errorf("a link: %+v %v", found, err)
	}
}

func FuzzIgnoring(f *testing.F) {
	f.Add(pack(f, [2]string{".dockerignore", "*"}, [2]string{"Dockerfile", "FROM x"}))
	f.Add([]byte("FROM x"))
	f.Fuzz(func(t *testing.T, body []byte) {
		found, err := ignoring(onDisk(t, body), int64(len(body)), "")
		if err != nil {
			return
		}
		at := int64(0)
		for _, s := range found.spans {
			if s.from < at || s.to <= s.from || s.to > int64(len(body))+block {
				t.Errorf("%v of %d bytes", found.spans, len(body))
			}
			at = s.to
		}
	})
}
