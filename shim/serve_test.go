package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/logs"
	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// plain is a container that is none: its processes are the host's. With it the supervisor is tested without root.
type plain struct{ destroyed chan struct{} }

func (p *plain) Exec(cfg ExecConfig, io runtime.IO) (process, error) {
	return &plainProcess{args: cfg.Process.Args, io: io}, nil
}
func (p *plain) KillAll(syscall.Signal) error               { return nil }
func (p *plain) OOMKilled() bool                            { return false }
func (p *plain) Cgroup() string                             { return "" }
func (p *plain) Checkpoint(runtime.CheckpointOptions) error { return nil }

func (p *plain) Destroy() error { close(p.destroyed); return nil }

type plainProcess struct {
	args    []string
	io      runtime.IO
	process *os.Process
	files   []*os.File
}

func (p *plainProcess) Pid() int {
	if p.process == nil {
		return 0
	}
	return p.process.Pid
}

// keep duplicates the streams: the supervisor closes its copies before the start.
func (p *plainProcess) keep() error {
	for _, file := range []*os.File{p.io.Stdin, p.io.Stdout, p.io.Stderr} {
		if file == nil {
			null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
			if err != nil {
				return err
			}
			p.files = append(p.files, null)
			continue
		}
		fd, err := syscall.Dup(int(file.Fd()))
		if err != nil {
			return err
		}
		syscall.CloseOnExec(fd)
		p.files = append(p.files, os.NewFile(uintptr(fd), "stream"))
	}
	return nil
}

func (p *plainProcess) Start() (err error) {
	if p.args[0] == "nosuch" {
		return &runtime.StartError{Code: 127, Err: errors.New("no such program")}
	}
	if p.files == nil {
		if err := p.keep(); err != nil {
			return err
		}
	}
	p.process, err = os.StartProcess("/bin/sh", p.args, &os.ProcAttr{Files: p.files})
	for _, file := range p.files {
		_ = file.Close()
	}
	return err
}

func (p *plainProcess) Kill(sig syscall.Signal) error {
	if p.process == nil {
		return nil
	}
	return p.process.Signal(sig)
}

func (p *plainProcess) Console() *os.File { return nil }

func (p *plainProcess) Wait() (runtime.ExitStatus, error) {
	if p.process == nil {
		return runtime.ExitStatus{}, nil
	}
	state, err := p.process.Wait()
	if err != nil {
		return runtime.ExitStatus{}, err
	}
	if ws, ok := state.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return runtime.ExitStatus{Code: 128 + int(ws.Signal()), Signal: ws.Signal()}, nil
	}
	return runtime.ExitStatus{Code: state.ExitCode()}, nil
}

// inside is a supervisor that runs in the test's own process.
type inside struct {
	*Shim
	t     *testing.T
	dir   string
	box   *plain
	ended chan error
}

func newInside(t *testing.T) *inside {
	t.Helper()
	ours, theirs, err := sys.SocketPair()
	if err != nil {
		t.Fatal(err)
	}
	fd, err := syscall.Dup(int(theirs.Fd()))
	_ = theirs.Close()
	if err != nil {
		t.Fatal(err)
	}
	other, err := sys.NewSocket(fd)
	if err != nil {
		t.Fatal(err)
	}
	in := &inside{t: t, dir: filepath.Join(t.TempDir(), "c"), box: &plain{make(chan struct{})}, ended: make(chan error, 1)}
	if err := os.Mkdir(in.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	make_ := func(j job) (box, process, error) {
		p := &plainProcess{args: j.cfg.Spec.Process.Args, io: j.io}
		return in.box, p, p.keep()
	}
	go func() { in.ended <- serve(&wire{Socket: other}, make_, func(string) {}) }()
	if in.Shim, err = (&booted{wire: &wire{Socket: ours}}).adopt(t.Context(), "c", in.dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = in.Delete(background) })
	return in
}

func (in *inside) start(script string, change func(*Config)) Config {
	in.t.Helper()
	cfg := Config{
		Spec: &specs.Spec{
			Process: &specs.Process{Args: []string{"sh", "-c", script}},
			Linux:   &specs.Linux{Namespaces: []specs.LinuxNamespace{{Type: specs.PIDNamespace}}},
		},
		Log: logs.Config{Driver: logs.Local, Path: filepath.Join(filepath.Dir(in.dir), "log")},
	}
	if change != nil {
		change(&cfg)
	}
	if _, err := in.Create(in.t.Context(), cfg); err != nil {
		in.t.Fatal(err)
	}
	if err := in.Start(in.t.Context()); err != nil {
		in.t.Fatal(err)
	}
	return cfg
}

func (in *inside) supervisorEnds() {
	in.t.Helper()
	select {
	case err := <-in.ended:
		if err != nil {
			in.t.Error(err)
		}
	case <-time.After(30 * time.Second):
		in.t.Error("the supervisor does not end")
	}
	select {
	case <-in.box.destroyed:
	default:
		in.t.Error("the container was not destroyed")
	}
}

func TestSupervisor(t *testing.T) {
	in := newInside(t)
	stream, err := in.Attach(t.Context(), "", AttachOptions{Stdin: true, Stdout: true, Stderr: true})
	if err != nil {
		t.Fatal(err)
	}
	in.start(`cat; echo e >&2; exit 11`, func(c *Config) { c.Stdin, c.StdinOnce = true, true })
	fmt.Fprint(stream, "hello")
	_ = stream.CloseWrite()
	stdout, stderr, err := split(stream)
	if string(stdout) != "hello" || string(stderr) != "e\n" || err != nil {
		t.Errorf("%q %q %v", stdout, stderr, err)
	}
	if exit, err := in.Wait(t.Context()); exit.Code != 11 || err != nil {
		t.Errorf("%+v %v", exit, err)
	}
	if err := in.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	in.supervisorEnds()
	if _, err := os.Stat(in.dir); err == nil {
		t.Error("the folder is left")
	}
}

// TestKillOfWhoLeft: a container whose first process has left its control group can be killed all the same.
func TestKillOfWhoLeft(t *testing.T) {
	in := newInside(t)
	in.start(`exec sleep 60`, nil)
	if err := in.Kill(t.Context(), int(syscall.SIGKILL), true); err != nil {
		t.Fatal(err)
	}
	if exit, err := in.Wait(t.Context()); exit.Signal != int(syscall.SIGKILL) || err != nil {
		t.Errorf("%+v %v", exit, err)
	}
}

// TestAlone: without a daemon the supervisor records the exit and ends.
func TestAlone(t *testing.T) {
	in := newInside(t)
	in.start(`sleep .2; exit 12`, nil)
	_ = in.Close()
	in.supervisorEnds()
	var end record
	if err := readJSON(in.dir, exitName, &end); err != nil || end.Exit.Code != 12 {
		t.Errorf("%+v %v", end, err)
	}
}

// TestAloneBeforeTheStart: what was not started is not kept.
func TestAloneBeforeTheStart(t *testing.T) {
	in := newInside(t)
	cfg := Config{
		Spec: &specs.Spec{Process: &specs.Process{Args: []string{"sh", "-c", "exit 0"}}},
		Log:  logs.Config{Driver: logs.None},
	}
	if _, err := in.Create(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	_ = in.Close()
	in.supervisorEnds()
	if _, err := os.Stat(in.dir); err == nil {
		t.Error("the folder is left")
	}
}

// TestExecsOfAnEndedContainer: clients of execs that will never start are not left waiting.
func TestExecsOfAnEndedContainer(t *testing.T) {
	in := newInside(t)
	in.start(`read x`, func(c *Config) { c.Stdin, c.StdinOnce = true, true })
	if err := in.Exec(t.Context(), "x", ExecConfig{Process: specs.Process{Args: []string{"sh"}}}); err != nil {
		t.Fatal(err)
	}
	if err := in.Exec(t.Context(), "x", ExecConfig{}); !errdefs.IsAlreadyExists(err) {
		t.Errorf("the same exec again: %v", err)
	}
	if _, err := in.Attach(t.Context(), "y", outputs); !errdefs.IsNotFound(err) {
		t.Errorf("attach to nothing: %v", err)
	}
	stream, err := in.Attach(t.Context(), "x", outputs)
	if err != nil {
		t.Fatal(err)
	}
	main, err := in.Attach(t.Context(), "", AttachOptions{Stdin: true})
	if err != nil {
		t.Fatal(err)
	}
	_ = main.Close() // ends the input, and so the container
	if _, _, err := split(stream); err != nil {
		t.Error(err)
	}
	if _, err := in.ExecStart(t.Context(), "x"); !errdefs.IsConflict(err) {
		t.Errorf("start of an exec after the end: %v", err)
	}
	if err := in.Delete(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := in.ExecWait(t.Context(), "x"); err == nil {
		t.Error("an exec that never ran has an exit")
	}
}

// TestErrorsKeepTheirMeaning over the wire: kind, code and words.
func TestErrorsKeepTheirMeaning(t *testing.T) {
	for _, kind := range kinds {
		err := toWire(fmt.Errorf("do it: %w", kind.err)).err()
		if !errors.Is(err, kind.err) || err.Error() != fmt.Errorf("do it: %w", kind.err).Error() {
			t.Errorf("%s became %v", kind.name, err)
		}
	}
	var start *runtime.StartError
	err := toWire(fmt.Errorf("run: %w", &runtime.StartError{Code: 126, Err: errdefs.ErrInvalidArgument})).err()
	if !errors.As(err, &start) || start.Code != 126 || !errdefs.IsInvalidArgument(err) || err.Error() != "run: invalid argument" {
		t.Errorf("became %v", err)
	}
	if err := toWire(nil).err(); err != nil {
		t.Errorf("nothing became %v", err)
	}
}

// TestInputIsHeldBack: a client's input waits while the process does not read, and its hang-up is noticed all the same.
func TestInputIsHeldBack(t *testing.T) {
	in := newInside(t)
	in.start(`sleep .5; wc -c`, func(c *Config) { c.Stdin, c.StdinOnce = true, true })
	stream, err := in.Attach(t.Context(), "", AttachOptions{Stdin: true, Stdout: true})
	if err != nil {
		t.Fatal(err)
	}
	data := bytes.Repeat([]byte("x"), 3_000_000)
	begin := time.Now()
	if n, err := stream.Write(data); n != len(data) || err != nil {
		t.Errorf("%d %v", n, err)
	}
	if took := time.Since(begin); took < 300*time.Millisecond {
		t.Errorf("3 MB were taken in %s", took)
	}
	_ = stream.CloseWrite()
	if out, _, err := split(stream); strings.TrimSpace(string(out)) != "3000000" || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

// FuzzReceive: whatever comes over a connection, receiving ends with an error or a frame.
func FuzzReceive(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x07\x00\x00\x00\x02{\"i\":1}{}"))
	f.Add([]byte("\xff\xff\xff\xff\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs, err := sys.SocketPair()
		if err != nil {
			t.Fatal(err)
		}
		defer ours.Close()
		if len(data) > 60000 {
			data = data[:60000]
		}
		if _, err := theirs.Write(data); err != nil {
			t.Fatal(err)
		}
		_ = theirs.Close()
		w := &wire{Socket: ours}
		for {
			_, _, file, err := w.receive()
			closeFile(file)
			if err != nil {
				return
			}
		}
	})
}
