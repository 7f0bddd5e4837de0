package container

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
)

// whole makes a folder a checkpoint.
func whole(t *testing.T, place string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(place, "cove.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestCheckpoints(t *testing.T) {
	withCriu(t)
	s, _ := openStore(t)
	c := create(t, s, "1234", "web")
	k := Checkpoints{Store: s, DataRoot: t.TempDir()}
	elsewhere := filepath.Join(t.TempDir(), "deep", "down")
	for _, dir := range []string{"", elsewhere} {
		o, err := k.MakeCheckpoint(c, "one", dir)
		if err != nil {
			t.Fatal(err)
		}
		place := o.Images
		if _, err := k.Checkpoint(c, "one", dir); !errors.Is(err, errdefs.ErrNotFound) {
			t.Errorf("a folder that is no checkpoint yet: %v", err)
		}
		if list, err := k.CheckpointList(t.Context(), "web", dir); err != nil || list == nil || len(list) != 0 {
			t.Errorf("it is listed: %v, %v", list, err)
		}
		whole(t, place)
		if found, err := k.Checkpoint(c, "one", dir); err != nil || found.Images != place {
			t.Errorf("found %+v, %v", found, err)
		}
		if _, err := k.MakeCheckpoint(c, "one", dir); !errors.Is(err, errdefs.ErrAlreadyExists) || err.Error() != "checkpoint with name one already exists for container web" {
			t.Errorf("a second time: %v", err)
		}
		if list, err := k.CheckpointList(t.Context(), "web", dir); err != nil || len(list) != 1 || list[0].Name != "one" {
			t.Errorf("listed: %v, %v", list, err)
		}
		if err := k.CheckpointRemove(t.Context(), "web", "one", dir); err != nil {
			t.Error(err)
		}
		err = k.CheckpointRemove(t.Context(), "web", "one", dir)
		if !errors.Is(err, errdefs.ErrNotFound) || err.Error() != "checkpoint one does not exist for container web" {
			t.Errorf("removed twice: %v", err)
		}
	}
	if _, err := os.Stat(elsewhere); err != nil {
		t.Errorf("the client's folder: %v", err)
	}
}

// TestCheckpointCutShort: what a crash has left in the container's folder is in nobody's way; in a client's it is not ours.
func TestCheckpointCutShort(t *testing.T) {
	withCriu(t)
	s, _ := openStore(t)
	c := create(t, s, "1234", "web")
	k := Checkpoints{Store: s, DataRoot: t.TempDir()}
	for dir, refused := range map[string]bool{"": false, t.TempDir(): true} {
		o, err := k.MakeCheckpoint(c, "one", dir)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(o.Images, "pages-1.img"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := k.MakeCheckpoint(c, "one", dir); (err != nil) != refused {
			t.Errorf("%q: %v", dir, err)
		}
	}
}

func TestBadCheckpointNames(t *testing.T) {
	withCriu(t)
	s, _ := openStore(t)
	c := create(t, s, "1234", "web")
	k := Checkpoints{Store: s, DataRoot: t.TempDir()}
	for _, name := range []string{"", ".", "..", "a/b", "../../x", "a b"} {
		_, err := k.MakeCheckpoint(c, name, "")
		if !errors.Is(err, errdefs.ErrInvalidArgument) || !strings.HasPrefix(err.Error(), "Invalid checkpoint ID ("+name+"), only ") {
			t.Errorf("make %q: %v", name, err)
		}
		if err := k.CheckpointRemove(t.Context(), "web", name, ""); !errors.Is(err, errdefs.ErrInvalidArgument) {
			t.Errorf("remove %q: %v", name, err)
		}
	}
	if _, err := k.CheckpointList(t.Context(), "web", "relative"); !errors.Is(err, errdefs.ErrInvalidArgument) {
		t.Errorf("a relative folder: %v", err)
	}
	if _, err := k.CheckpointList(t.Context(), "nobody", ""); !errors.Is(err, errdefs.ErrNotFound) {
		t.Errorf("no container: %v", err)
	}
}

// withCriu puts a criu into PATH, alone.
func withCriu(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	criu := filepath.Join(dir, "criu")
	if err := os.WriteFile(criu, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return criu
}

// TestCriu: without it no checkpoint is begun.
func TestCriu(t *testing.T) {
	criu := withCriu(t)
	s, _ := openStore(t)
	c := create(t, s, "1234", "web")
	k := Checkpoints{Store: s, DataRoot: t.TempDir()}
	if o, err := k.MakeCheckpoint(c, "one", ""); !k.HasCriu() || err != nil || o.Criu != criu {
		t.Errorf("with criu: %+v, %v", o, err)
	}
	if err := os.Remove(criu); err != nil {
		t.Fatal(err)
	}
	_, err := k.MakeCheckpoint(c, "two", "")
	if k.HasCriu() || !errors.Is(err, errdefs.ErrNotImplemented) || !strings.Contains(err.Error(), "criu") {
		t.Errorf("without criu: %v", err)
	}
	if _, err := os.Stat(filepath.Join(c.Dir(k.DataRoot), "checkpoints", "two")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its folder: %v", err)
	}
}
