package volume

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	vt "github.com/moby/moby/api/types/volume"

	"github.com/cove-containers/cove/sys"
)

// TestRooms: a volume in memory is one for all who use it at a time, also when a store takes it up from another, and gone
// with the last.
func TestRooms(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it mounts")
	}
	p := newPlace(t)
	s := p.open(t)
	for name, options := range map[string]map[string]string{
		"mem": {"type": "tmpfs", "device": "tmpfs", "o": "size=64k"}, "odd": {"type": "nosuchfs", "device": "x"}, "plain": nil,
	} {
		if _, err := s.Create(t.Context(), vt.CreateRequest{Name: name, DriverOpts: options}); err != nil {
			t.Fatal(err)
		}
	}
	at := t.TempDir()
	write := func(s *Store, name string) {
		t.Helper()
		inRoom(t, s, at, func() {
			if err := os.WriteFile(filepath.Join(at, name), nil, 0o600); err != nil {
				t.Error(err)
			}
		})
	}
	if m, err := s.Mount("mem"); err != nil || m.Room != nil || m.Type != "tmpfs" {
		t.Errorf("before anybody uses it: %+v %v", m, err)
	}
	for _, user := range []string{"one", "two"} {
		if err := s.Enter("mem", user); err != nil {
			t.Fatal(err)
		}
	}
	write(s, "f")
	s.Leave("mem", "one")
	s.Leave("mem", "one")
	s.Leave("mem", "stranger")

	next := p.open(t)
	m, err := s.Mount("mem")
	if err != nil || m.Room == nil {
		t.Fatal(m, err)
	}
	for _, user := range []string{"two", "three"} {
		kept, err := os.Open(fmt.Sprintf("/proc/self/fd/%d", m.Room.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		next.Resume("mem", user, kept)
	}
	s.Leave("mem", "two")
	write(next, "g")
	inRoom(t, next, at, func() {
		if found, err := filepath.Glob(at + "/*"); err != nil || len(found) != 2 {
			t.Errorf("in the volume there is %v, %v", found, err)
		}
	})
	next.Leave("mem", "two")
	next.Leave("mem", "three")
	if m, err := next.Mount("mem"); err != nil || m.Room != nil {
		t.Errorf("after everybody has left: %+v %v", m, err)
	}

	if err := s.Enter("odd", "one"); err == nil || !strings.Contains(err.Error(), "failed to mount local volume") {
		t.Errorf("what cannot be mounted: %v", err)
	}
	if err := s.Enter("plain", "one"); err != nil || s.rooms["plain"] != nil {
		t.Errorf("a folder is mounted: %v", err)
	}
	if err := s.Enter("absent", "one"); err == nil {
		t.Error("a volume that is not there is mounted")
	}
}

// inRoom runs f where the volume is at a folder.
func inRoom(t *testing.T, s *Store, at string, f func()) {
	t.Helper()
	m, err := s.Mount("mem")
	if err != nil || m.Room == nil {
		t.Fatal(m, err)
	}
	copied, err := sys.CopyAlone(m.Room, "", false)
	if err != nil {
		t.Fatal(err)
	}
	defer copied.Close()
	if err := sys.WithPrivateMount(copied, at, func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}
