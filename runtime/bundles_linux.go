package runtime

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/account"
	"github.com/cove-containers/cove/runtime/document"
	"github.com/cove-containers/cove/runtime/hook"
)

// Bundles are containers made from OCI bundles, each verb by a process of its own, as the OCI runtime specification
// has it. Between verbs only the folder knows them:
//
//	<root>/<id>/
//	    state.json    the record: process, bundle, document
//	    start report  fifos, until the container is started; see Config.Handover
type Bundles struct {
	root string
	// Warn is told what a document asks for that cannot be had and that the specification lets pass; nil: nobody is.
	Warn func(text string)
}

// OpenBundles uses the folder root, which is made when the first container is.
func OpenBundles(root string) *Bundles { return &Bundles{root: root} }

// warn tells of what the process asks for in vain.
func (b *Bundles) warn(p *specs.Process) {
	if unknown := document.UnknownCapabilities(p); len(unknown) > 0 && b.Warn != nil {
		b.Warn("ignoring unknown capabilities: " + strings.Join(unknown, ", "))
	}
}

// Paused is the status of a container whose processes are frozen.
const Paused specs.ContainerState = "paused"

// Record is what is known of a container between verbs.
type Record struct {
	specs.State
	RootFS  string    `json:"rootfs"`
	Created time.Time `json:"created"`
	Owner   string    `json:"owner"`
	// Cgroup is the container's cgroup path.
	Cgroup string `json:"cgroup"`
	// Began is when the process began in the kernel's count, which tells it from a later one of the same number.
	Began uint64 `json:"began"`
	// Mounted is the folder the root is mounted on, of a container without a mount namespace.
	Mounted string `json:"mounted,omitempty"`
	// Spec is the document as it was at creation.
	Spec *specs.Spec `json:"spec,omitempty"`
}

// CreateOptions says how a container is made from a bundle.
type CreateOptions struct {
	Bundle        string
	PidFile       string
	ConsoleSocket string
	PreserveFDs   int
	SystemdCgroup bool
	// From is a checkpoint whose processes take the place of the bundle's; nil: none.
	From *CheckpointOptions
	// Attached keeps the terminal for this process instead of sending it to ConsoleSocket.
	Attached bool
}

const recordFile = "state.json"

func (b *Bundles) dir(id string) string { return filepath.Join(b.root, id) }

// checkID accepts what may be a folder's name.
func checkID(id string) error {
	good := id != "" && id != "." && id != ".."
	for _, r := range id {
		good = good && (r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("_+-.", r))
	}
	if !good {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid container ID format %q", id))
	}
	return nil
}

// LoadBundle reads a bundle's document.
func LoadBundle(bundle string) (*specs.Spec, error) {
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("JSON specification file config.json not found: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("read bundle: %w", err)
	}
	var s specs.Spec
	if err := json.Unmarshal(text, &s); err != nil {
		return nil, fmt.Errorf("read config.json: %w", err)
	}
	if s.Process == nil || s.Root == nil || s.Linux == nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage("config.json lacks process, root or linux")
	}
	return &s, nil
}

// Create makes a container from a bundle. It waits for Start, also after this process has ended; the container that
// is returned is for a caller that stays.
func (b *Bundles) Create(id string, o CreateOptions) (*Container, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	bundle, err := filepath.Abs(o.Bundle)
	if err != nil {
		return nil, err
	}
	spec, err := LoadBundle(bundle)
	if err != nil {
		return nil, err
	}
	if err := checkTerminal(spec.Process.Terminal, o.ConsoleSocket, o.Attached); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(b.root, 0o711); err != nil {
		return nil, err
	}
	if err := os.Mkdir(b.dir(id), 0o711); errors.Is(err, fs.ErrExist) {
		return nil, errdefs.ErrAlreadyExists.WithMessage("container with given ID already exists")
	} else if err != nil {
		return nil, err
	}
	c, err := b.create(id, bundle, spec, o)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(b.dir(id)))
	}
	return c, nil
}

func checkTerminal(terminal bool, socket string, attached bool) error {
	switch {
	case terminal && socket == "" && !attached:
		return errdefs.ErrInvalidArgument.WithMessage("cannot allocate tty if runtime will detach without setting console socket")
	case socket != "" && (!terminal || attached):
		return errdefs.ErrInvalidArgument.WithMessage("cannot use console socket if runtime will not detach or allocate tty")
	}
	return nil
}

func (b *Bundles) create(id, bundle string, spec *specs.Spec, o CreateOptions) (*Container, error) {
	cfg := Config{ID: id, Spec: spec, Bundle: bundle, PreserveFDs: o.PreserveFDs, Handover: b.dir(id)}
	if spec.Linux.CgroupsPath == "" {
		spec.Linux.CgroupsPath = "/" + id
		if o.SystemdCgroup {
			spec.Linux.CgroupsPath = "system.slice:cove:" + id
		}
	}
	document.GuardDevices(spec.Linux)
	b.warn(spec.Process)
	var c *Container
	var err error
	if o.From != nil {
		c, err = Restore(cfg, streams(spec.Process), *o.From)
	} else {
		c, err = Create(cfg, streams(spec.Process))
	}
	if err != nil {
		return nil, err
	}
	undone := func(err error) error {
		err = errors.Join(err, c.Destroy())
		if !c.ownMounts {
			discard(unmountRoot(rootFolder(bundle, spec)))
		}
		return err
	}
	began, err := processBegan(c.Pid())
	if err != nil {
		return nil, undone(err)
	}
	r := &Record{
		State: specs.State{Version: specs.Version, ID: id, Pid: c.Pid(), Bundle: bundle, Annotations: spec.Annotations},
		Spec:  spec, RootFS: rootFolder(bundle, spec), Created: time.Now().UTC(), Owner: "root",
		Cgroup: c.Cgroup().Path(), Began: began,
	}
	if !c.ownMounts {
		r.Mounted = r.RootFS
	}
	if err := writeRecord(b.dir(id), r); err != nil {
		return nil, undone(err)
	}
	if err := announce(&c.Process, o.ConsoleSocket, o.PidFile); err != nil {
		return nil, undone(err)
	}
	return c, nil
}

func rootFolder(bundle string, s *specs.Spec) string {
	if filepath.IsAbs(s.Root.Path) {
		return s.Root.Path
	}
	return filepath.Join(bundle, s.Root.Path)
}

// streams are this process's own, or a terminal of the size the document has.
func streams(p *specs.Process) IO {
	if !p.Terminal {
		return IO{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	}
	io := IO{Terminal: true}
	if p.ConsoleSize != nil {
		io.Width, io.Height = uint16(p.ConsoleSize.Width), uint16(p.ConsoleSize.Height)
	}
	return io
}

func writeRecord(dir string, r *Record) error {
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(dir, recordFile), text)
}

// writeWhole writes a file that is either whole or absent.
func writeWhole(file string, content []byte) error {
	fresh := file + ".new"
	if err := os.WriteFile(fresh, content, 0o644); err != nil {
		return err
	}
	return os.Rename(fresh, file)
}

// processBegan reads when a process began; one that is gone or a zombie is fs.ErrNotExist.
func processBegan(pid int) (uint64, error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if errors.Is(err, unix.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return 0, err
	}
	// The name in parentheses may hold anything; what follows the last one are fields 3 and up.
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	const state, began = 0, 19
	if len(f) <= began || len(f[state]) == 0 || f[state][0] == 'Z' || f[state][0] == 'X' {
		return 0, fs.ErrNotExist
	}
	return strconv.ParseUint(string(f[began]), 10, 64)
}

// Load reads a container's record, with its status as it is now. One that does not exist is errdefs.ErrNotFound.
func (b *Bundles) Load(id string) (*Record, error) {
	if err := checkID(id); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(filepath.Join(b.dir(id), recordFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errdefs.ErrNotFound.WithMessage("container does not exist")
	}
	if err != nil {
		return nil, fmt.Errorf("load container: %w", err)
	}
	var r Record
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("load container: %w", err)
	}
	r.Status = b.status(&r)
	if r.Status == specs.StateStopped {
		r.Pid = 0
	}
	return &r, nil
}

func (b *Bundles) status(r *Record) specs.ContainerState {
	began, err := processBegan(r.Pid)
	switch {
	case err != nil || began != r.Began:
		return specs.StateStopped
	case isWaiting(b.dir(r.ID)):
		return specs.StateCreated
	}
	if g, err := OpenCgroup(r.Cgroup); err == nil {
		if frozen, err := g.Frozen(); err == nil && frozen {
			return Paused
		}
	}
	return specs.StateRunning
}

// List gives every container's record. A folder without one belongs to a container in the making.
func (b *Bundles) List() ([]*Record, error) {
	entries, err := os.ReadDir(b.root)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("list containers: %w", err)
	}
	var all []*Record
	for _, e := range entries {
		r, err := b.Load(e.Name())
		if errors.Is(err, errdefs.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// Start lets a created container run its program.
func (b *Bundles) Start(id string) error {
	r, err := b.Load(id)
	if err != nil {
		return err
	}
	switch r.Status {
	case specs.StateCreated:
	case specs.StateStopped:
		return errNobodyWaits
	default:
		return errdefs.ErrFailedPrecondition.WithMessage("cannot start an already running container")
	}
	hooks := r.Spec.Hooks
	if hooks != nil && len(hooks.StartContainer) > 0 {
		c, err := r.open()
		if err != nil {
			return err
		}
		defer c.pidfd.Close()
		if err := c.runStartHooks(hooks.StartContainer, r.State); err != nil {
			return err
		}
	}
	if err := letStart(b.dir(id), r.Spec.Process.Args[0]); err != nil || hooks == nil {
		return err
	}
	r.Status = specs.StateRunning
	return hook.Run("poststart", hooks.Poststart, r.State)
}

// open gives a container that another process made. What only its maker can do, waiting above all, fails.
func (r *Record) open() (*Container, error) {
	fd, err := unix.PidfdOpen(r.Pid, unix.PIDFD_NONBLOCK)
	if err != nil {
		return nil, errdefs.ErrFailedPrecondition.WithMessage("container is not running")
	}
	c := &Container{}
	c.pid, c.pidfd = r.Pid, os.NewFile(uintptr(fd), "pidfd")
	// The number may have gone to another process since the record was read.
	if began, err := processBegan(r.Pid); err != nil || began != r.Began {
		c.pidfd.Close()
		return nil, errdefs.ErrFailedPrecondition.WithMessage("container is not running")
	}
	if c.cgroup, err = OpenCgroup(r.Cgroup); err != nil {
		c.pidfd.Close()
		return nil, err
	}
	c.personality = r.Spec.Linux.Personality
	for _, n := range r.Spec.Linux.Namespaces {
		switch n.Type {
		case specs.TimeNamespace:
			c.join |= unix.CLONE_NEWTIME
		case specs.UserNamespace:
			c.join |= unix.CLONE_NEWUSER
			if c.users, err = account.ReadMap(r.Pid); err != nil {
				c.pidfd.Close()
				return nil, err
			}
		case specs.MountNamespace:
			c.ownMounts = true
		}
	}
	return c, nil
}

// Kill sends a signal to a container's first process, or to all of them.
func (b *Bundles) Kill(id string, sig syscall.Signal, all bool) error {
	r, err := b.Load(id)
	if err != nil {
		return err
	}
	if all {
		return r.killAll(sig)
	}
	if r.Status == specs.StateStopped {
		return errdefs.ErrFailedPrecondition.WithMessage("container not running")
	}
	c, err := r.open()
	if err != nil {
		return err
	}
	defer c.pidfd.Close()
	return c.Kill(sig)
}

func (r *Record) killAll(sig syscall.Signal) error {
	g, err := OpenCgroup(r.Cgroup)
	if errors.Is(err, errdefs.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if sig == unix.SIGKILL {
		return g.KillAll()
	}
	pids, err := g.Pids()
	for _, pid := range pids {
		if err := unix.Kill(pid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("signal process %d: %w", pid, err)
		}
	}
	return err
}

// Freeze pauses a container or lets it go on.
func (b *Bundles) Freeze(id string, frozen bool) error {
	r, err := b.Load(id)
	if err != nil {
		return err
	}
	if r.Status == specs.StateStopped {
		return errdefs.ErrFailedPrecondition.WithMessage("container not running")
	}
	g, err := OpenCgroup(r.Cgroup)
	if err != nil {
		return err
	}
	if frozen {
		return g.Freeze()
	}
	return g.Thaw()
}
