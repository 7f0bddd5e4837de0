package sys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMountAlone has two copies of one file system, of which the host's mount table shows nothing, and which ends with them.
func TestMountAlone(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	m, err := MountMemory(map[string]string{"size": "64k"})
	if err != nil {
		t.Fatal(err)
	}
	at := t.TempDir()
	room, err := MountAlone(m, at)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()
	defer room.Close()
	one, err := CopyAlone(room, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer one.Close()
	if err := WithPrivateMount(one, at, func() error { return os.WriteFile(filepath.Join(at, "f"), []byte("x"), 0o600) }); err != nil {
		t.Fatal(err)
	}
	two, err := CopyAlone(room, "f", false)
	if err != nil {
		t.Fatal(err)
	}
	defer two.Close()
	if info, err := two.Stat(); err != nil || info.Size() != 1 {
		t.Errorf("the other copy: %v %v", info, err)
	}
	if _, err := CopyAlone(room, "nothing", false); !os.IsNotExist(err) {
		t.Errorf("what is not there: %v", err)
	}
	var inside string
	err = InMountNamespace(room, func() error {
		found, err := os.ReadDir("/")
		for _, f := range found {
			inside += f.Name() + " "
		}
		return err
	})
	if err != nil || inside != "f " {
		t.Errorf("in the namespace there is %q, %v", inside, err)
	}
	table, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil || strings.Contains(string(table), at) {
		t.Errorf("the host sees it: %v", err)
	}
}
