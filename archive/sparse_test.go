package archive

import (
	"archive/tar"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cove-containers/cove/sys"
)

// TestUnpackGNUTar reads what GNU tar writes: holes in all its formats, long names in both.
func TestUnpackGNUTar(t *testing.T) {
	needRoot(t)
	if _, err := exec.LookPath("tar"); err != nil {
		t.Skip("needs GNU tar")
	}
	src := t.TempDir()
	long := filepath.Join(strings.Repeat("d", 120), strings.Repeat("e", 120))
	if err := os.MkdirAll(filepath.Join(src, long), 0o755); err != nil {
		t.Fatal(err)
	}
	holes := func(name string, size int64, at ...int64) {
		f, err := os.Create(filepath.Join(src, name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for _, offset := range at {
			if _, err := f.WriteAt(bytes.Repeat([]byte{byte(offset>>12) | 1}, 5000), offset); err != nil {
				t.Fatal(err)
			}
		}
		if err := f.Truncate(size); err != nil {
			t.Fatal(err)
		}
	}
	var many []int64
	for i := range int64(60) {
		many = append(many, i*40960)
	}
	holes("some", 10<<20, 0, 1<<20, 8<<20)
	holes("many", 4<<20, many...)
	holes("none", 1<<20)
	holes(long+"/deep", 3<<20, 1<<20)
	if err := os.Symlink(strings.Repeat("t/", 100), filepath.Join(src, "link")); err != nil {
		t.Fatal(err)
	}
	want := listing(t, src)
	for _, args := range [][]string{
		{"--format=gnu"}, {"--format=posix", "--sparse-version=0.0"}, {"--format=posix", "--sparse-version=0.1"}, {"--format=posix", "--sparse-version=1.0"}, {"--format=oldgnu"},
	} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			data, err := exec.Command("tar", append(args, "--sparse", "-C", src, "-c", ".")...).Output()
			if err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			report, err := unpackInto(t, out, data, Options{Whiteouts: true})
			if err != nil {
				t.Fatal(err)
			}
			if got := listing(t, out); !slices.Equal(got, want) {
				t.Error("trees differ")
			}
			if report.Bytes > 1<<20 {
				t.Errorf("wrote %d bytes", report.Bytes)
			}
			st, err := sys.StatAt(sys.Borrow(openDir(t, out)), "some")
			if err != nil || st.Blocks > 100 {
				t.Errorf("%d blocks, holes were filled: %v", st.Blocks, err)
			}
		})
	}
}

// TestUnpackSparseTerabyte unpacks a file of a terabyte of which the archive holds three bytes.
func TestUnpackSparseTerabyte(t *testing.T) {
	needRoot(t)
	const size = 1 << 40
	data := pack(t, file("big", "end"))
	block := data[:512]
	block[156] = 'S'
	copy(block[257:], "ustar  \x00")
	clear(block[329:])
	copy(block[386:], fmt.Sprintf("%011o\x00%011o\x00", int64(4096), 3))
	block[483] = 0x80 // a number too large for eleven octal digits is binary
	for i, n := 494, int64(size); n > 0; i, n = i-1, n>>8 {
		block[i] = byte(n)
	}
	sum(block)
	out := t.TempDir()
	report, err := unpackInto(t, out, data, Options{Whiteouts: true})
	if err != nil {
		t.Fatal(err)
	}
	st, err := sys.StatAt(sys.Borrow(openDir(t, out)), "big")
	if err != nil || st.Size != size || st.Blocks > 64 || report.Bytes != 3 {
		t.Errorf("size %d, %d blocks, %d bytes: %v", st.Size, st.Blocks, report.Bytes, err)
	}
	copy(block[386:], fmt.Sprintf("%011o\x00%011o\x00", int64(4096), 4))
	sum(block)
	if _, err := unpackInto(t, t.TempDir(), data, Options{}); err == nil {
		t.Error("a map of more bytes than the archive holds was taken")
	}
}

// sum sets a header block's checksum.
func sum(block []byte) {
	copy(block[148:156], "        ")
	var n int64
	for _, c := range block {
		n += int64(c)
	}
	copy(block[148:], fmt.Sprintf("%06o\x00 ", n))
}

// TestHeaderNumbers compares with what the standard library writes.
func TestHeaderNumbers(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "a", Uid: 1 << 30, Gid: 3 << 20, Format: tar.FormatGNU, Mode: 0o600}); err != nil {
		t.Fatal(err)
	}
	h, err := newTarReader(&b).next()
	if err != nil || h.uid != 1<<30 || h.gid != 3<<20 {
		t.Errorf("%+v %v", h, err)
	}
	p := fieldParser{block: []byte("\xff\xff\xff\xff\xff\xff\xff\xfb")}
	if n := p.number("n", 0, 8); n != -5 || p.err != nil {
		t.Errorf("%d %v, want -5", n, p.err)
	}
	p = fieldParser{block: []byte("\x80\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff")}
	if p.number("n", 0, 12); p.err == nil {
		t.Error("a number of nine bytes was taken")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(pack(f, dir("a", 0o755), file("a/b", "x"), symlink("l", "/"), file("l/x", "1"), hard("h", "../a/b"), file(".wh.q", ""), file("a/.wh..wh..opq", "")))
	f.Add(pack(f, symlink("up", "../../.."), file("up/outside/x", "1"), hard("up/y", "up/outside/x"), dir("up/..", 0o700)))
	f.Add(pack(f, file("p", "").with(func(h *tar.Header) {
		h.PAXRecords = map[string]string{"SCHILY.xattr.user.x": "y", "GNU.sparse.map": "0,0"}
	})))
	f.Fuzz(func(t *testing.T, data []byte) {
		needRoot(t)
		for i := 0; i+512 <= len(data); i += 512 { // a checksum would stop nearly all of what is tried
			if block := data[i : i+512]; string(block[257:262]) == "ustar" {
				sum(block)
			}
		}
		outer := t.TempDir()
		inner := filepath.Join(outer, "inner")
		if err := os.Mkdir(inner, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Mkdir(filepath.Join(outer, "outside"), 0o755); err != nil {
			t.Fatal(err)
		}
		root, err := os.Open(inner)
		if err != nil {
			t.Fatal(err)
		}
		defer root.Close()
		Unpack(t.Context(), root, bytes.NewReader(data), Options{Whiteouts: true, MaxBytes: 1 << 20, MaxEntries: 200})
		for _, d := range []string{outer, filepath.Join(outer, "outside")} {
			entries, err := os.ReadDir(d)
			if err != nil || len(entries) > 2 || d != outer && len(entries) > 0 {
				t.Fatalf("%v appeared outside: %v", entries, err)
			}
		}
		out, err := os.Open(outer)
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := sys.RemoveTreeAt(sys.Borrow(out), "inner"); err != nil {
			t.Fatal(err)
		}
	})
}

// FuzzReader compares with the standard library, as far as that reads the same things.
func FuzzReader(f *testing.F) {
	f.Add(pack(f, dir("a", 0o755), file(strings.Repeat("a/", 100)+"b", "x"), symlink("l", strings.Repeat("t", 200)), hard("h", "../a/b")))
	f.Add(pack(f, file("p", "text").with(func(h *tar.Header) { h.Format, h.ModTime = tar.FormatGNU, time.Unix(-7, 0) })))
	f.Fuzz(func(t *testing.T, data []byte) {
		for i := 0; i+512 <= len(data); i += 512 {
			if block := data[i : i+512]; string(block[257:262]) == "ustar" {
				sum(block)
			}
		}
		mine, theirs := newTarReader(bytes.NewReader(data)), tar.NewReader(bytes.NewReader(data))
		for {
			want, err := theirs.Next()
			if err != nil || want.Typeflag == tar.TypeXGlobalHeader || want.Typeflag == tar.TypeGNUSparse || len(want.PAXRecords) > 0 || want.Typeflag > '6' || want.Typeflag < '0' {
				return
			}
			got, err := mine.next()
			if err != nil {
				return // stricter is fine
			}
			name := strings.TrimPrefix(got.name, "./")
			if strings.TrimPrefix(want.Name, "./") != name || want.Linkname != got.link || int64(want.Uid) != got.uid || want.Typeflag == tar.TypeReg && want.Size != got.size || want.ModTime.Unix() != got.mtime.Sec {
				t.Fatalf("%+v, want %+v", got, want)
			}
		}
	})
}
