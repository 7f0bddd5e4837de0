package container

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/checkpoint"

	"github.com/cove-containers/cove/runtime"
)

// Checkpoints are the states that were kept of containers: in the folder a client names, else in the container's own.
type Checkpoints struct {
	Store *Store
	// DataRoot is the engine's folder.
	DataRoot string
}

// HasCriu tells whether the program that makes and restores checkpoints is there, now.
func (k Checkpoints) HasCriu() bool {
	_, err := findCriu()
	return err == nil
}

func findCriu() (string, error) {
	criu, err := exec.LookPath("criu")
	if err != nil {
		return "", errdefs.ErrNotImplemented.WithMessage("checkpoints need the program criu, which the daemon does not find in its PATH")
	}
	return criu, nil
}

func (k Checkpoints) folder(c *Container, dir string) (string, error) {
	switch {
	case dir == "":
		return filepath.Join(c.Dir(k.DataRoot), "checkpoints"), nil
	case !filepath.IsAbs(dir):
		return "", invalid("the path of the checkpoints' folder must be absolute: %s", dir)
	}
	return filepath.Clean(dir), nil
}

func (k Checkpoints) place(c *Container, name, dir string) (string, error) {
	if !validName(name) {
		return "", invalid("Invalid checkpoint ID (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	folder, err := k.folder(c, dir)
	return filepath.Join(folder, name), err
}

// options are how a checkpoint is made and restored: all is allowed that can be.
func options(place string) (*runtime.CheckpointOptions, error) {
	criu, err := findCriu()
	return &runtime.CheckpointOptions{Criu: criu, Images: place, TCPEstablished: true, ExternalSockets: true, FileLocks: true}, err
}

// MakeCheckpoint makes the folder of a checkpoint that is to be, and tells how it is made. What an interrupted one has left
// there is removed.
func (k Checkpoints) MakeCheckpoint(c *Container, name, dir string) (*runtime.CheckpointOptions, error) {
	place, err := k.place(c, name, dir)
	if err != nil {
		return nil, err
	}
	o, err := options(place)
	if err != nil {
		return nil, err
	}
	if runtime.HasCheckpoint(place) {
		return nil, errdefs.ErrAlreadyExists.WithMessage(fmt.Sprintf("checkpoint with name %s already exists for container %s", name, c.Name))
	}
	if dir == "" {
		err = os.RemoveAll(place)
	}
	if err = errors.Join(err, os.MkdirAll(filepath.Dir(place), 0o700)); err != nil {
		return nil, err
	}
	return o, os.Mkdir(place, 0o700)
}

// Checkpoint finds a checkpoint and tells how it is restored.
func (k Checkpoints) Checkpoint(c *Container, name, dir string) (*runtime.CheckpointOptions, error) {
	place, err := k.find(c, name, dir)
	if err != nil {
		return nil, err
	}
	return options(place)
}

func (k Checkpoints) find(c *Container, name, dir string) (string, error) {
	place, err := k.place(c, name, dir)
	if err == nil && !runtime.HasCheckpoint(place) {
		err = errdefs.ErrNotFound.WithMessage(fmt.Sprintf("checkpoint %s does not exist for container %s", name, c.Name))
	}
	return place, err
}

// CheckpointList lists a container's checkpoints.
func (k Checkpoints) CheckpointList(_ context.Context, ref, dir string) ([]checkpoint.Summary, error) {
	c, err := k.Store.Get(ref)
	if err != nil {
		return nil, err
	}
	folder, err := k.folder(c, dir)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	list := []checkpoint.Summary{}
	for _, e := range entries {
		if runtime.HasCheckpoint(filepath.Join(folder, e.Name())) {
			list = append(list, checkpoint.Summary{Name: e.Name()})
		}
	}
	return list, nil
}

// CheckpointRemove removes one of a container's checkpoints.
func (k Checkpoints) CheckpointRemove(ctx context.Context, ref, name, dir string) error {
	c, err := k.Store.Get(ref)
	if err != nil {
		return err
	}
	release, err := k.Store.Lock(ctx, c.ID)
	if err != nil {
		return err
	}
	defer release()
	place, err := k.find(c, name, dir)
	if err != nil {
		return err
	}
	return os.RemoveAll(place)
}
