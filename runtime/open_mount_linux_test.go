package runtime

import (
	"os"
	"testing"

	"github.com/cove-containers/cove/sys"
)

func TestOpenMount(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: mounts")
	}
	m, err := OpenMount("tmpfs", "none", []string{"size=1m", "mode=750", "noexec"})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if info, err := m.Stat(); err != nil || info.Mode().Perm() != 0o750 {
		t.Errorf("%v %v", info, err)
	}
	f, err := sys.OpenInRoot(m, "f", os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if m, err := OpenMount("tmpfs", "none", []string{"nosuchoption=1"}); err == nil {
		m.Close()
		t.Error("an option that does not exist was taken")
	}
	if m, err := OpenMount("nosuchtype", "none", nil); err == nil {
		m.Close()
		t.Error("a file system that does not exist was mounted")
	}
}
