package shim

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// external is a container of another OCI runtime, driven by its command line. This process is a subreaper: what the
// runtime starts becomes its child when the runtime's own process ends, and so gives it its exit status.
type external struct {
	binary, id, dir string
	systemd         bool
	cgroup          string

	running sync.Mutex // one new process at a time: files in dir have fixed names
}

var errForeignCheckpoint = errdefs.ErrNotImplemented.WithMessage("checkpoints: only Cove's own runtime makes and restores them")

// Checkpoint is not to be had.
func (e *external) Checkpoint(runtime.CheckpointOptions) error { return errForeignCheckpoint }

// makeExternal writes the bundle and has the runtime create the container.
func makeExternal(j job) (box, process, error) {
	if j.cfg.users != nil {
		return nil, nil, errdefs.ErrNotImplemented.WithMessage("a user namespace of its own: only Cove's own runtime can give it to a container")
	}
	if j.cfg.Checkpoint != nil {
		return nil, nil, errForeignCheckpoint
	}
	if err := sys.BecomeSubreaper(); err != nil {
		return nil, nil, fmt.Errorf("become subreaper: %w", err)
	}
	e := &external{binary: j.cfg.Runtime, id: j.id, dir: j.dir}
	if linux := j.cfg.Spec.Linux; linux != nil {
		e.cgroup = linux.CgroupsPath
		e.systemd = strings.Count(e.cgroup, ":") == 2
	}
	rootfs := filepath.Join(e.bundle(), "rootfs")
	if err := os.MkdirAll(rootfs, 0o700); err != nil {
		return nil, nil, err
	}
	var root *os.File
	if o := j.cfg.Overlay; o != nil {
		var err error
		if root, err = sys.MountOverlay(o.Lower, o.Upper, o.Work); err != nil {
			return nil, nil, err
		}
		defer root.Close()
		j.cfg.Spec.Root.Path = rootfs
	}
	if err := e.writeBundle(j, root); err != nil {
		return nil, nil, err
	}
	p := &externalProcess{e: e, first: true}
	err := sys.WithPrivateMount(root, rootfs, func() error {
		if err := attachRooms(j.cfg.rooms); err != nil {
			return err
		}
		return e.run(p, j.io, "create", "--bundle", e.bundle())
	})
	if err != nil {
		_ = e.Destroy()
		return nil, nil, err
	}
	return e, p, nil
}

// attachRooms puts what is kept in mount namespaces where the document says it is, for the runtime alone.
func attachRooms(rooms map[string]*os.File) error {
	for source, room := range rooms {
		m, err := sys.CopyAlone(room, "", true)
		if err != nil {
			return fmt.Errorf("mount %s: %w", source, err)
		}
		defer m.Close()
		target, err := os.Open(source)
		if err != nil {
			return err
		}
		defer target.Close()
		if err := sys.AttachMount(m, target); err != nil {
			return fmt.Errorf("mount %s: %w", source, err)
		}
	}
	return nil
}

func (e *external) bundle() string { return filepath.Join(e.dir, "bundle") }

// writeBundle settles what only the root can tell, who the user is, and writes the document.
func (e *external) writeBundle(j job, root *os.File) error {
	spec := j.cfg.Spec
	for _, m := range spec.Mounts {
		if slices.ContainsFunc(m.Options, func(o string) bool { return strings.HasPrefix(o, "x-cove.subpath=") }) {
			return errdefs.ErrNotImplemented.WithMessage("part of a volume at " + m.Destination + ": only Cove's own runtime can look it up safely")
		}
	}
	if root == nil {
		file, err := os.Open(spec.Root.Path)
		if err != nil {
			return err
		}
		defer file.Close()
		root = file
	}
	if err := settleUser(spec.Process, root, j.cfg.User, j.cfg.Groups); err != nil {
		return err
	}
	if j.cfg.Init {
		if err := insertInit(spec); err != nil {
			return err
		}
	}
	spec.Version = bundleVersion
	spec.Process.Terminal = j.io.Terminal
	if j.io.Terminal && j.io.Width > 0 {
		spec.Process.ConsoleSize = &specs.Box{Width: uint(j.io.Width), Height: uint(j.io.Height)}
	}
	if j.cfg.NetNS != nil {
		for i, ns := range spec.Linux.Namespaces {
			if ns.Type == specs.NetworkNamespace {
				spec.Linux.Namespaces[i].Path = procPath(j.cfg.NetNS)
			}
		}
	}
	return writeJSON(e.bundle(), "config.json", spec)
}

// insertInit makes this program, mounted into the container, its process 1.
func insertInit(spec *specs.Spec) error {
	// Not os.Executable: this process runs from a mount of its own, see sys.OpenProgram.
	self := os.Getenv(programVariable)
	if self == "" {
		return fmt.Errorf("find init: %s is not set: %w", programVariable, errdefs.ErrInternal)
	}
	spec.Mounts = append(spec.Mounts, specs.Mount{
		Destination: runtime.InitName, Type: "bind", Source: self, Options: []string{"bind", "ro"},
	})
	spec.Process.Args = append([]string{runtime.InitName, "--"}, spec.Process.Args...)
	return nil
}

// bundleVersion is the oldest version of the document that has what we write: some runtimes refuse newer ones.
const bundleVersion = "1.0.2"

// procPath names one of our open files for another process.
func procPath(file *os.File) string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), file.Fd()) }

// settleUser turns names into numbers and sets HOME where nobody did.
func settleUser(p *specs.Process, root *os.File, user string, groups []string) error {
	if user == "" && len(groups) == 0 {
		return nil
	}
	found, home, err := runtime.LookupUser(root, user, groups)
	if err != nil {
		return err
	}
	p.User = found
	for _, pair := range p.Env {
		if strings.HasPrefix(pair, "HOME=") && pair != "HOME=" {
			return nil
		}
	}
	p.Env = append(p.Env, "HOME="+home)
	return nil
}

// run calls the runtime for a new process and learns its pid, and its terminal if it has one.
func (e *external) run(p *externalProcess, rio runtime.IO, verb string, args ...string) error {
	pidFile := filepath.Join(e.dir, "pid")
	defer os.Remove(pidFile)
	args = append(args, "--pid-file", pidFile)
	var consoles *sys.SocketListener
	if rio.Terminal {
		dir, err := os.Open(e.dir)
		if err != nil {
			return err
		}
		defer dir.Close()
		if consoles, err = sys.ListenSocket(e.dir, "console"); err != nil {
			return err
		}
		defer os.Remove(filepath.Join(e.dir, "console"))
		defer consoles.Close()
		args = append(args, "--console-socket", procPath(dir)+"/console")
	}
	if err := e.call(rio, verb, append(args, e.id)...); err != nil {
		return err
	}
	text, err := os.ReadFile(pidFile)
	if err != nil {
		return fmt.Errorf("learn pid from %s: %w", e.binary, err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("learn pid from %s: %w", e.binary, err)
	}
	if p.process, err = os.FindProcess(pid); err != nil {
		return err
	}
	if consoles == nil {
		return nil
	}
	p.console, err = receiveConsole(consoles)
	return err
}

func receiveConsole(consoles *sys.SocketListener) (*os.File, error) {
	socket, err := consoles.Accept()
	if err != nil {
		return nil, err
	}
	defer socket.Close()
	_, console, err := socket.ReadFile(make([]byte, 4096))
	if err != nil {
		return nil, err
	}
	if console == nil {
		return nil, errors.New("runtime gave no terminal")
	}
	return console, nil
}

// call runs the runtime's binary once. Its own words go to a log file: its standard streams are the container's.
func (e *external) call(rio runtime.IO, verb string, args ...string) error {
	words := filepath.Join(e.dir, "runtime.log")
	defer os.Remove(words)
	all := []string{e.binary, "--root", filepath.Join(e.dir, "runtime"), "--log", words, "--log-format", "json"}
	if e.systemd {
		all = append(all, "--systemd-cgroup")
	}
	all = append(append(all, verb), args...)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	files := []*os.File{rio.Stdin, rio.Stdout, rio.Stderr}
	for i := range files {
		if files[i] == nil {
			files[i] = null
		}
	}
	p, err := os.StartProcess(e.binary, all, &os.ProcAttr{Dir: "/", Env: os.Environ(), Files: files})
	if err != nil {
		return fmt.Errorf("run %s: %w", e.binary, err)
	}
	state, err := p.Wait()
	if err != nil {
		return fmt.Errorf("run %s: %w", e.binary, err)
	}
	if !state.Success() {
		return e.failure(verb, words, state)
	}
	return nil
}

// failure reads why the runtime failed and gives the error docker's meaning.
func (e *external) failure(verb, words string, state *os.ProcessState) error {
	text := fmt.Sprintf("%s %s: %s", filepath.Base(e.binary), verb, state)
	log, err := os.ReadFile(words)
	if err == nil {
		for line := range bytes.Lines(log) {
			var entry struct{ Level, Msg string }
			if json.Unmarshal(line, &entry) == nil && entry.Msg != "" && entry.Level != "warning" {
				text = entry.Msg
			}
		}
	}
	code := 0
	switch {
	case strings.Contains(text, "executable file not found"), strings.Contains(text, "no such file or directory"),
		strings.Contains(text, "No such file or directory"):
		code = 127
	case strings.Contains(text, "permission denied"), strings.Contains(text, "Permission denied"),
		strings.Contains(text, "is a directory"), strings.Contains(text, "not a directory"):
		code = 126
	}
	return &runtime.StartError{Code: code, Err: errors.New(text)}
}

// Exec has the runtime start the process at once; its output waits in the pipes until Start.
func (e *external) Exec(cfg ExecConfig, rio runtime.IO) (process, error) {
	p := &externalProcess{e: e}
	first, err := os.Open(filepath.Join("/proc", strconv.Itoa(e.firstPid()), "root"))
	if err != nil {
		return nil, errdefs.ErrConflict.WithMessage("container is not running")
	}
	defer first.Close()
	cfg.Process.Terminal = rio.Terminal
	if err := settleUser(&cfg.Process, first, cfg.User, cfg.Groups); err != nil {
		return nil, err
	}
	e.running.Lock()
	defer e.running.Unlock()
	const name = "process.json"
	if err := writeJSON(e.dir, name, cfg.Process); err != nil {
		return nil, err
	}
	defer os.Remove(filepath.Join(e.dir, name))
	return p, e.run(p, rio, "exec", "--detach", "--process", filepath.Join(e.dir, name))
}

func (e *external) firstPid() int {
	var s state
	if err := readJSON(e.dir, stateName, &s); err != nil {
		return 0
	}
	return s.Pid
}

func (e *external) KillAll(sig syscall.Signal) error {
	group, err := runtime.OpenCgroup(e.cgroup)
	if err != nil {
		return err
	}
	return killAll(group, sig)
}

func (e *external) OOMKilled() bool {
	group, err := runtime.OpenCgroup(e.cgroup)
	if err != nil {
		return false
	}
	kills, err := group.OOMKills()
	return err == nil && kills > 0
}

func (e *external) Cgroup() string { return e.cgroup }

func (e *external) Destroy() error {
	err := e.call(runtime.IO{}, "delete", "--force", e.id)
	return errors.Join(err, os.RemoveAll(e.bundle()), os.RemoveAll(filepath.Join(e.dir, "runtime")))
}

// externalProcess is a process an external runtime made.
type externalProcess struct {
	e       *external
	first   bool
	process *os.Process
	console *os.File
}

func (p *externalProcess) Pid() int { return p.process.Pid }

func (p *externalProcess) Console() *os.File { return p.console }

func (p *externalProcess) Start() error {
	if !p.first {
		return nil
	}
	return p.e.call(runtime.IO{}, "start", p.e.id)
}

func (p *externalProcess) Kill(sig syscall.Signal) error {
	err := p.process.Signal(sig)
	if errors.Is(err, os.ErrProcessDone) {
		return errdefs.ErrNotFound.WithMessage("process is not running")
	}
	return err
}

func (p *externalProcess) Wait() (runtime.ExitStatus, error) {
	state, err := p.process.Wait()
	if err != nil {
		return runtime.ExitStatus{}, err
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return runtime.ExitStatus{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}, nil
	}
	return runtime.ExitStatus{Code: state.ExitCode()}, nil
}
