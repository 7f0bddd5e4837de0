package checkpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// Place is a container made ready, whose first process waits and is to give way to those of a checkpoint.
type Place struct {
	// Pid is the process that waits.
	Pid int
	// Mounts is its mount namespace.
	Mounts *os.File
	// Streams are standard input, output and error, nil for /dev/null.
	Streams [3]*os.File
	// Enter puts a process into the container's cgroup.
	Enter func(pid int) error
	// Leave ends the process that waits.
	Leave func() error
}

// Restore makes the processes of a checkpoint, in the mounts, the network and the cgroup of a place. The first of them is
// a child of the calling process. Whatever fails, none is left.
func Restore(p Place, o Options) (pid int, err error) {
	r, err := readRecord(o.Images)
	if err != nil {
		return 0, err
	}
	trees, err := copyMounts(p.Mounts, append([]string{"/"}, r.Mounts...))
	defer closeAll(trees)
	if err != nil {
		return 0, err
	}
	files, err := p.inherit(r)
	defer func() {
		for _, f := range files {
			f.file.Close()
		}
	}()
	if err != nil {
		return 0, err
	}
	cgroups, err := os.Open("/proc/" + strconv.Itoa(p.Pid) + "/ns/cgroup")
	if err != nil {
		return 0, err
	}
	defer cgroups.Close()
	if err := p.Leave(); err != nil {
		return 0, err
	}
	c := &call{options: o, kind: typeRestore, log: "restore.log", files: files}
	first := 0
	c.on = func(step string, pid int) error {
		if step != "setup-namespaces" {
			return nil
		}
		// It has not forked yet, nor filled its memory: all of that counts in its cgroup.
		first = pid
		return p.Enter(pid)
	}
	err = sys.OnOwnThread(func() error {
		// criu's processes have the cgroup namespace that criu has.
		if err := unix.Setns(int(cgroups.Fd()), unix.CLONE_NEWCGROUP); err != nil {
			return fmt.Errorf("enter cgroup namespace: %w", err)
		}
		stage, err := makeStage(o.Work, trees)
		if err != nil {
			return err
		}
		c.ask = func(m *message) {
			m.yes(optSibling, true)
			m.text(optRoot, stage.place(0))
			for i, place := range r.Mounts {
				m.text(optExternal, "mnt["+place+"]:"+stage.place(i+1))
			}
		}
		a, err := c.do()
		if err != nil {
			return fmt.Errorf("restore checkpoint: %w", err)
		}
		pid = a.restored
		return nil
	})
	if err != nil && first != 0 {
		// Killed by criu, or in the middle with it; it is this process's child.
		_ = unix.Kill(first, unix.SIGKILL)
		_, _ = unix.Wait4(first, nil, unix.WALL, nil)
	}
	return pid, err
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// copyMounts copies mounts of a namespace, each without what is mounted on it.
func copyMounts(ns *os.File, places []string) (trees []*os.File, err error) {
	err = sys.InMountNamespace(ns, func() error {
		for _, place := range places {
			tree, err := sys.CopyMount(sys.WorkingDir, place, false)
			if err != nil {
				return errdefs.ErrFailedPrecondition.WithMessage(fmt.Sprintf("the checkpoint needs a mount at %s: %s", place, err))
			}
			trees = append(trees, tree)
		}
		return nil
	})
	return trees, err
}

// inherit opens what images look for by name.
func (p Place) inherit(r record) (files []inherited, err error) {
	add := func(key string, f *os.File) { files = append(files, inherited{key, f}) }
	if r.Network {
		f, err := os.Open("/proc/" + strconv.Itoa(p.Pid) + "/ns/net")
		if err != nil {
			return files, err
		}
		add(networkKey, f)
	}
	if r.Program != nil {
		f, err := openProgram(r.Program)
		if err != nil {
			return files, err
		}
		add(r.Program.Key, f)
	}
	for n, key := range r.Streams {
		if key == "" {
			continue
		}
		f := p.Streams[n]
		if f == nil {
			if f, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return files, err
			}
			add(key, f)
			continue
		}
		copied, err := sys.DuplicateFrom(f, 0)
		if err != nil {
			return files, err
		}
		add(key, copied)
	}
	return files, nil
}

// openProgram opens the runtime's own program, which is also its init, as it is opened for a new container.
func openProgram(p *program) (*os.File, error) {
	const self = "/proc/self/exe"
	digest, err := digestOf(self)
	if err != nil {
		return nil, err
	}
	if digest != p.Digest {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("the checkpoint was made with an init of another version of the runtime")
	}
	found, err := sys.OpenProgram(self)
	if err != nil {
		return nil, err
	}
	defer found.Close()
	return os.Open("/proc/self/fd/" + strconv.Itoa(int(found.Fd())))
}

// stage is where criu finds mounts: folders and files in memory, which only the calling thread and its children see.
type stage string

func (s stage) place(n int) string { return filepath.Join(string(s), strconv.Itoa(n)) }

func makeStage(at string, trees []*os.File) (stage, error) {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return "", fmt.Errorf("make mount namespace: %w", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "", fmt.Errorf("keep mounts private: %w", err)
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=700"); err != nil {
		return "", fmt.Errorf("make a stage at %s: %w", at, err)
	}
	s := stage(at)
	for n, tree := range trees {
		if err := s.attach(n, tree); err != nil {
			return "", fmt.Errorf("put a mount on the stage: %w", err)
		}
	}
	return s, nil
}

func (s stage) attach(n int, tree *os.File) error {
	info, err := tree.Stat()
	if err != nil {
		return err
	}
	if info.IsDir() {
		err = os.Mkdir(s.place(n), 0o700)
	} else {
		err = os.WriteFile(s.place(n), nil, 0o600)
	}
	if err != nil {
		return err
	}
	return unix.MoveMount(int(tree.Fd()), "", unix.AT_FDCWD, s.place(n), unix.MOVE_MOUNT_F_EMPTY_PATH)
}
