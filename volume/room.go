package volume

import (
	"fmt"
	"os"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// shared is a volume's file system while containers that use it run.
type shared struct {
	// file is a mount namespace that has the file system as its root: see sys.MountAlone.
	file  *os.File
	users map[string]bool
}

// Enter mounts a volume that is a file system of its own, for a container that is about to run: once for all that use it
// at the same time. For a volume that is a folder there is nothing to do.
func (s *Store) Enter(name, containerID string) error {
	s.mu.Lock()
	r, ok := s.records[name]
	if ok && s.rooms[name] != nil {
		s.rooms[name].users[containerID] = true
		s.mu.Unlock()
		return nil
	}
	s.mu.Unlock()
	if !ok {
		return noSuch(name)
	}
	if len(r.Options) == 0 {
		return nil
	}
	m, err := mountOf(r.Options)
	if err != nil {
		return s.mountError(name, err)
	}
	if m.Type == "bind" {
		return nil
	}
	room, err := s.makeRoom(name, m)
	if err != nil {
		return s.mountError(name, err)
	}
	s.Resume(name, containerID, room)
	return nil
}

func (s *Store) makeRoom(name string, m Mount) (*os.File, error) {
	mounted, err := runtime.OpenMount(m.Type, m.Source, m.Options)
	if err != nil {
		return nil, err
	}
	defer mounted.Close()
	return sys.MountAlone(mounted, s.Path(name))
}

// Resume takes up a volume that is mounted in room, which a container uses; room is closed when it is not needed. Where
// the volume is mounted already it stays as it is.
func (s *Store) Resume(name, containerID string, room *os.File) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[name] != nil {
		room.Close()
	} else {
		s.rooms[name] = &shared{file: room, users: map[string]bool{}}
	}
	s.rooms[name].users[containerID] = true
}

// Leave ends what Enter or Resume began for a container. With the last one the file system is unmounted.
func (s *Store) Leave(name, containerID string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := s.rooms[name]
	if room == nil {
		return
	}
	delete(room.users, containerID)
	if len(room.users) == 0 {
		delete(s.rooms, name)
		room.file.Close()
	}
}

func (s *Store) mountError(name string, err error) error {
	return fmt.Errorf("error while mounting volume '%s': failed to mount local volume: %w", s.Path(name), err)
}
