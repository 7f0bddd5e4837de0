package source

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/cove-containers/cove/testkit"
)

// TestFullDisk: what does not fit, from the net or from a client, fails with the system's words before it has taken the last of the
// space, and leaves nothing.
func TestFullDisk(t *testing.T) {
	k := newKitIn(t, testkit.SmallDisk(t, "32"))
	large := strings.Repeat("0123456789abcdef", 3<<20) // 48 MiB
	for _, told := range []bool{true, false} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if told {
				w.Header().Set("Content-Length", strconv.Itoa(len(large)))
			}
			for i := 0; i < len(large); i += 1 << 20 {
				if _, err := w.Write([]byte(large[i : i+1<<20])); err != nil {
					return
				}
			}
		}))
		id, _ := k.client("")
		_, _, err := k.load(server.URL+"/large", id, nil)
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "bytes are left on the disk") || !strings.Contains(err.Error(), "no space left on device") {
			t.Error(err)
		}
		server.Close()
		k.room(20 << 20)
	}
	dir := t.TempDir()
	write(t, dir+"/a", large[:40<<20])
	id, _ := k.client("", folder(t, dir))
	_, done, err := k.sync(id, nil)
	done()
	if !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	k.room(20 << 20)
	if err := os.Remove(dir + "/a"); err != nil {
		t.Fatal(err)
	}
	write(t, dir+"/b", "fits")
	id, _ = k.client("", folder(t, dir))
	p, done, err := k.sync(id, nil)
	if err != nil || !strings.Contains(k.list(p), "fits") {
		t.Error(err)
	}
	done()
}

// room expects so many bytes to be free.
func (k *kit) room(want uint64) {
	k.t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(k.dir, &st); err != nil {
		k.t.Fatal(err)
	}
	if free := st.Bavail * uint64(st.Bsize); free < want {
		k.t.Errorf("%d bytes are free", free)
	}
}
