package shim

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/runtime"
	"github.com/cove-containers/cove/sys"
)

// Keeper starts supervisors and finds them again. It keeps one spare running, so that a container's start does not wait
// for a process to boot; a spare whose daemon goes away before it is needed ends by itself.
type Keeper struct {
	dir, binary string

	booting sync.Mutex // held while a spare is booted; taken before mu

	mu     sync.Mutex
	spare  *booted
	refill *time.Timer
	closed bool
}

// booted is a supervisor process that belongs to no container yet.
type booted struct {
	wire    *wire
	process *os.Process
}

// The next spare boots once the container that got the last one runs, and has had time to end if it has little to do:
// until then the processor is the container's. One that is created and not started does not hold it up for long.
const (
	refillAfterStart  = 8 * time.Millisecond
	refillAfterLaunch = 100 * time.Millisecond
)

// Open takes the folder of the supervisors, made if absent, and the path of the cove-runtime binary.
func Open(dir string, runtimeBinary string) (*Keeper, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open supervisors: %w", err)
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open supervisors: %w", err)
	}
	k := &Keeper{dir: dir, binary: runtimeBinary}
	k.refill = time.AfterFunc(0, k.bootSpare)
	return k, nil
}

// Close ends the spare and lets go of all supervisors, which go on by themselves.
func (k *Keeper) Close() error {
	k.mu.Lock()
	k.closed = true
	k.refill.Stop()
	spare := k.spare
	k.spare = nil
	k.mu.Unlock()
	if spare != nil {
		spare.end()
	}
	k.booting.Lock() // one that was on its way has ended, too
	defer k.booting.Unlock()
	return nil
}

func (b *booted) end() {
	_ = b.wire.Close()
	_, _ = b.process.Wait()
}

// bootSpare boots one if there is none.
func (k *Keeper) bootSpare() {
	k.booting.Lock()
	defer k.booting.Unlock()
	k.mu.Lock()
	wanted := k.spare == nil && !k.closed
	k.mu.Unlock()
	if !wanted {
		return
	}
	b, err := boot(k.dir, k.binary, verbShim, smallEnv())
	if err != nil {
		return // the next Launch boots its own, and says what is wrong
	}
	k.mu.Lock()
	if k.spare == nil && !k.closed {
		k.spare, b = b, nil
	}
	k.mu.Unlock()
	if b != nil {
		b.end()
	}
}

// programVariable tells a supervisor where its program's file is.
const programVariable = "COVE_RUNTIME_PROGRAM"

// What cove-runtime is called with, to be a supervisor of either kind.
const (
	verbShim  = "shim"
	verbSteps = "steps"
)

// titleRoom is argument space for the title a supervisor gives itself: its name and an id.
const titleRoom = 64

// boot starts a supervisor process. What it says when it crashes goes to a file, because whoever reads our own output
// must not be kept waiting by a process that outlives us.
func boot(dir, binary, verb string, env []string) (*booted, error) {
	words, err := os.OpenFile(filepath.Join(dir, logName), os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("boot supervisor: %w", err)
	}
	defer words.Close()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("boot supervisor: %w", err)
	}
	defer null.Close()
	ours, theirs, err := sys.SocketPair()
	if err != nil {
		return nil, fmt.Errorf("boot supervisor: %w", err)
	}
	defer theirs.Close()
	program, err := sys.OpenProgram(binary)
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("boot supervisor: %w", err)
	}
	defer program.Close()
	// Named as ours: the new process moves its own descriptors about before it executes the program.
	process, err := os.StartProcess(procPath(program), []string{binary, verb, strings.Repeat("-", titleRoom)}, &os.ProcAttr{
		Dir:   "/",
		Env:   append(env, "PATH="+os.Getenv("PATH"), programVariable+"="+binary),
		Files: []*os.File{null, null, words, theirs},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		_ = ours.Close()
		return nil, fmt.Errorf("boot supervisor: %w", err)
	}
	return &booted{&wire{Socket: ours}, process}, nil
}

// smallEnv makes Go keep a supervisor small: one processor instead of two saves 0.5 MB, and it need not look for limits
// on processors.
func smallEnv() []string {
	return []string{"GOGC=25", "GOMAXPROCS=1", "GODEBUG=containermaxprocs=0,updatemaxprocs=0"}
}

const logName = "shim.log"

// folder of one container's supervisor.
func (k *Keeper) folder(id string) (string, error) {
	if id == "" || id == "." || id == ".." || id == logName || strings.ContainsRune(id, '/') {
		return "", errdefs.ErrInvalidArgument.WithMessage("no container id: " + id)
	}
	return filepath.Join(k.dir, id), nil
}

// Launch gives the container a supervisor: nothing runs in it yet, but clients can attach.
func (k *Keeper) Launch(ctx context.Context, id string) (*Shim, error) {
	dir, err := k.folder(id)
	if err != nil {
		return nil, err
	}
	if err := k.clear(ctx, dir); err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("launch supervisor: %w", err)
	}
	k.mu.Lock()
	b := k.spare
	k.spare = nil
	k.refill.Stop()
	k.mu.Unlock()
	var s *Shim
	if b != nil {
		if s, err = b.adopt(ctx, id, dir); err != nil {
			b.end()
		}
	}
	if s == nil {
		s, err = k.launchNew(ctx, id, dir)
	}
	k.refillIn(refillAfterLaunch)
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	s.running = func() { k.refillIn(refillAfterStart) }
	return s, nil
}

// refillIn sees to a spare after a while.
func (k *Keeper) refillIn(wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.closed {
		k.refill.Reset(wait)
	}
}

func (k *Keeper) launchNew(ctx context.Context, id, dir string) (*Shim, error) {
	b, err := boot(k.dir, k.binary, verbShim, smallEnv())
	if err != nil {
		return nil, err
	}
	s, err := b.adopt(ctx, id, dir)
	if err != nil {
		b.end()
		return nil, fmt.Errorf("launch supervisor: %w", err)
	}
	return s, nil
}

// adopt makes a booted process the supervisor of a container.
func (b *booted) adopt(ctx context.Context, id, dir string) (*Shim, error) {
	if deadline, ok := ctx.Deadline(); ok {
		_ = b.wire.SetDeadline(deadline)
		defer func() { _ = b.wire.SetDeadline(time.Time{}) }()
	}
	if err := b.wire.send(head{ID: 1, Op: opAdopt}, adoption{id, dir}, nil); err != nil {
		return nil, err
	}
	h, _, _, err := b.wire.receive()
	if err == nil {
		err = h.Error.err()
	}
	if err != nil {
		return nil, err
	}
	s := newShim(id, dir, b.wire)
	s.process = b.process
	go s.listen()
	return s, nil
}

// clear removes what a finished supervisor left in its folder. One that lives is in the way.
func (k *Keeper) clear(ctx context.Context, dir string) error {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if socket, err := sys.ConnectSocket(ctx, dir, socketName); err == nil {
		_ = socket.Close()
		return fmt.Errorf("container %s has a supervisor: %w", filepath.Base(dir), errdefs.ErrAlreadyExists)
	}
	bury(dir)
	return os.RemoveAll(dir)
}

// Reconnect finds the supervisor of a container that an earlier daemon launched. If it has ended, or was killed, the
// Shim still tells the Exit; what a killed one left running is killed first. errdefs.ErrNotFound: there is nothing.
func (k *Keeper) Reconnect(ctx context.Context, id string) (*Shim, error) {
	dir, err := k.folder(id)
	if err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); err != nil {
		return nil, fmt.Errorf("no supervisor of container %s: %w", id, errdefs.ErrNotFound)
	}
	if socket, err := sys.ConnectSocket(ctx, dir, socketName); err == nil {
		s := newShim(id, dir, &wire{Socket: socket})
		go s.listen()
		err := s.hello(ctx)
		if err == nil {
			return s, nil
		}
		if ctx.Err() != nil {
			_ = s.Close()
			return nil, err
		}
		<-s.lost // it ended in this moment, and its record is there now
		return s, nil
	}
	end, ok := bury(dir)
	if !ok { // it never got as far as a container
		_ = os.RemoveAll(dir)
		return nil, fmt.Errorf("no supervisor of container %s: %w", id, errdefs.ErrNotFound)
	}
	s := newShim(id, dir, nil)
	s.started = true
	s.settleAll(end)
	close(s.lost)
	return s, nil
}

// Leftovers lists the containers that have a supervisor or a record of how they ended.
func (k *Keeper) Leftovers() ([]string, error) {
	entries, err := os.ReadDir(k.dir)
	if err != nil {
		return nil, fmt.Errorf("list supervisors: %w", err)
	}
	var ids []string
	for _, entry := range entries {
		if entry.IsDir() {
			ids = append(ids, entry.Name())
		}
	}
	return ids, nil
}

// bury reads how a container ended whose supervisor is gone. If the supervisor was killed, it left no word: then what
// is left of the container is killed. false: there never was a container.
func bury(dir string) (record, bool) {
	var end record
	if readJSON(dir, exitName, &end) == nil {
		return end, true
	}
	var s state
	if err := readJSON(dir, stateName, &s); err != nil {
		return end, false
	}
	if s.Cgroup != "" {
		if group, err := runtime.OpenCgroup(s.Cgroup); err == nil {
			_ = errors.Join(group.KillAll(), group.Remove()) // nobody can be told; the exit says what happened
		}
	}
	end.Exit = Exit{Code: 128 + int(sigkill), Signal: int(sigkill), At: time.Now(), Error: "the container's supervisor was killed"}
	_ = writeJSON(dir, exitName, end) // only saves doing this again
	return end, true
}

// decode reads an answer's body, if there is one.
func decode(body []byte, v any) error {
	if v == nil || len(body) == 0 {
		return nil
	}
	return json.Unmarshal(body, v)
}
