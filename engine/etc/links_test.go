package etc

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	ct "github.com/moby/moby/api/types/container"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/state"
)

// TestRelink: a container that is linked to another finds it where it is after it has started again, and whoever is not linked to it, or is
// on a network of a user's, has the file it had.
func TestRelink(t *testing.T) {
	root := t.TempDir()
	db, err := state.Open(filepath.Join(root, "cove.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store, err := container.Open(db)
	if err != nil {
		t.Fatal(err)
	}
	s := Settings{Containers: store, Root: root, Amending: new(sync.Mutex)}
	const before = "10.0.0.2\tthe-db\n10.0.0.2\tdddddddddddd\n10.0.0.2\tdb\n10.0.0.5\tgone\n"
	made := map[string]*container.Container{}
	for name, links := range map[string][]string{"db": nil, "app": {"db:the-db", "absent:gone"}, "other": nil, "user": {"db:the-db"}, "ended": {"db:the-db"}} {
		c := &container.Container{
			ID: strings.Repeat(name[:1], 64), Name: name, Config: &ct.Config{}, HostConfig: &ct.HostConfig{Links: links, NetworkMode: "default"},
			Networks: map[string]*nt.EndpointSettings{nt.NetworkBridge: {IPAddress: addrs("10.0.0.3")[0]}}, State: container.State{Status: ct.StateRunning},
		}
		switch name {
		case "user":
			c.HostConfig.NetworkMode = "n"
		case "ended":
			c.State.Status = ct.StateExited
		}
		if _, err := store.Reserve(c.ID, name); err != nil {
			t.Fatal(err)
		}
		if err := store.Create(c); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(c.Dir(root), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(s.Paths(c).Hosts, []byte(before), 0o644); err != nil {
			t.Fatal(err)
		}
		made[name] = c
	}
	if err := s.Relink(made["db"]); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"app": "10.0.0.3\tthe-db\n10.0.0.3\tdddddddddddd\n10.0.0.3\tdb\n10.0.0.5\tgone\n", "other": before, "user": before, "ended": before,
	} {
		if got, err := os.ReadFile(s.Paths(made[name]).Hosts); err != nil || string(got) != want {
			t.Errorf("%s: %v %q", name, err, got)
		}
	}
}
