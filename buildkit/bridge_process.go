package buildkit

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	gwclient "github.com/moby/buildkit/frontend/gateway/client"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/util/grpcerrors"
	"github.com/moby/sys/signal"
	rpc "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/status"
)

// processes are what one client runs over one stream: it may run several at once, in one container or in more.
type processes struct {
	build   *steering
	running sync.WaitGroup
	byID    map[string]*process

	mu     sync.Mutex // one message at a time
	stream gateway.LLBBridge_ExecProcessServer
}

// process is one of them, as far as the client still speaks to it.
type process struct {
	gwclient.ContainerProcess
	stdin *io.PipeWriter // nil when it has none
}

// ExecProcess runs processes in containers of the build until the client hangs up; what runs then is ended.
func (s *bridgeServer) ExecProcess(stream gateway.LLBBridge_ExecProcessServer) error {
	b, err := s.build(stream.Context())
	if err != nil {
		return err
	}
	all := &processes{build: b, byID: map[string]*process{}, stream: stream}
	ctx, cancel := context.WithCancel(stream.Context())
	defer all.running.Wait()
	defer cancel()
	defer func() {
		for _, p := range all.byID {
			p.closeInput(io.ErrClosedPipe)
		}
	}()
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			all.running.Wait() // the client has nothing more to say, and still listens
			return nil
		}
		if err != nil {
			return err
		}
		if err := all.obey(ctx, message); err != nil {
			return err
		}
	}
}

func (all *processes) obey(ctx context.Context, m *gateway.ExecMessage) error {
	id := m.ProcessID
	if id == "" {
		return errdefs.ErrInvalidArgument.WithMessage("ProcessID required")
	}
	p := all.byID[id]
	if init := m.GetInit(); init != nil {
		if p != nil {
			return errdefs.ErrAlreadyExists.WithMessage("process " + id + " already exists")
		}
		return all.start(ctx, id, init)
	}
	if p == nil {
		return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("process %q is not known", id))
	}
	switch input := m.GetInput().(type) {
	case *gateway.ExecMessage_File:
		return p.feed(input.File)
	case *gateway.ExecMessage_Resize:
		// A process that has just ended has no terminal any more: nothing is lost.
		_ = p.Resize(ctx, gwclient.WinSize{Rows: input.Resize.Rows, Cols: input.Resize.Cols})
	case *gateway.ExecMessage_Signal:
		number, ok := signal.SignalMap[input.Signal.Name]
		if !ok {
			return errdefs.ErrInvalidArgument.WithMessage("unknown signal " + input.Signal.Name)
		}
		_ = p.Signal(ctx, number)
	}
	return nil
}

// start begins a process. The client is told so before its first output.
func (all *processes) start(ctx context.Context, id string, init *gateway.InitMessage) error {
	if init.Meta == nil {
		return errdefs.ErrInvalidArgument.WithMessage("process meta is required")
	}
	in, err := all.build.container(init.ContainerID)
	if err != nil {
		return err
	}
	p := &process{}
	wish := gwclient.StartRequest{
		Args: init.Meta.Args, Env: init.Meta.Env, SecretEnv: init.Secretenv, User: init.Meta.User, Cwd: init.Meta.Cwd,
		Tty: init.Tty, SecurityMode: init.Security, RemoveMountStubsRecursive: init.Meta.RemoveMountStubsRecursive,
	}
	told := make(chan struct{})
	var outputs []uint32
	for _, fd := range init.Fds {
		switch fd {
		case 0:
			var reader *io.PipeReader
			reader, p.stdin = io.Pipe()
			wish.Stdin = reader
		case 1:
			wish.Stdout = &output{all: all, id: id, fd: fd, told: told}
			outputs = append(outputs, fd)
		case 2:
			wish.Stderr = &output{all: all, id: id, fd: fd, told: told}
			outputs = append(outputs, fd)
		}
	}
	if p.ContainerProcess, err = in.Start(ctx, wish); err != nil {
		p.closeInput(err)
		return err
	}
	all.byID[id] = p
	stop := context.AfterFunc(ctx, func() { p.kill() })
	err = all.send(&gateway.ExecMessage{ProcessID: id, Input: &gateway.ExecMessage_Started{Started: &gateway.StartedMessage{}}})
	close(told)
	all.running.Go(func() {
		defer stop()
		all.wait(ctx, id, p, outputs)
	})
	return err
}

// wait tells the client how a process ended, after the ends of its outputs. A client that cannot be told has gone,
// which the reader of the stream finds out.
func (all *processes) wait(ctx context.Context, id string, p *process, outputs []uint32) {
	err := p.Wait()
	p.closeInput(io.ErrClosedPipe)
	for _, fd := range outputs {
		_ = all.send(&gateway.ExecMessage{ProcessID: id, Input: &gateway.ExecMessage_File{File: &gateway.FdMessage{Fd: fd, EOF: true}}})
	}
	_ = all.send(&gateway.ExecMessage{ProcessID: id, Input: &gateway.ExecMessage_Exit{Exit: exitOf(ctx, err)}})
	_ = all.send(&gateway.ExecMessage{ProcessID: id, Input: &gateway.ExecMessage_Done{Done: &gateway.DoneMessage{}}})
}

func exitOf(ctx context.Context, err error) *gateway.ExitMessage {
	if err == nil {
		return &gateway.ExitMessage{}
	}
	told, _ := status.FromError(grpcerrors.ToGRPC(ctx, err))
	exit := &gateway.ExitMessage{Code: gateway.UnknownExitStatus, Error: &rpc.Status{
		Code: told.Proto().GetCode(), Message: told.Message(), Details: told.Proto().GetDetails(),
	}}
	var ended *gateway.ExitError
	if errors.As(err, &ended) {
		exit.Code = ended.ExitCode
	}
	return exit
}

func (all *processes) send(m *gateway.ExecMessage) error {
	all.mu.Lock()
	defer all.mu.Unlock()
	return all.stream.Send(m)
}

// feed gives a process what the client types. One that no longer reads is not the client's fault.
func (p *process) feed(file *gateway.FdMessage) error {
	if file.Fd != 0 || p.stdin == nil {
		return errdefs.ErrOutOfRange.WithMessage(fmt.Sprintf("fd %d unavailable to write", file.Fd))
	}
	if len(file.Data) > 0 {
		_, _ = p.stdin.Write(file.Data)
	}
	if file.EOF {
		return p.stdin.Close()
	}
	return nil
}

// kill ends a process whose client has gone, whether it reads what it is given or not.
func (p *process) kill() {
	p.closeInput(io.ErrClosedPipe)
	_ = p.Signal(context.Background(), syscall.SIGKILL) // one that has ended needs none
}

func (p *process) closeInput(err error) {
	if p.stdin != nil {
		_ = p.stdin.CloseWithError(err)
	}
}

// output sends what a process writes.
type output struct {
	all  *processes
	id   string
	fd   uint32
	told chan struct{} // closed when the client knows of the process
}

func (o *output) Write(data []byte) (int, error) {
	<-o.told
	// The stream may hold on to the message after Send has returned.
	kept := append([]byte(nil), data...)
	err := o.all.send(&gateway.ExecMessage{ProcessID: o.id, Input: &gateway.ExecMessage_File{File: &gateway.FdMessage{Fd: o.fd, Data: kept}}})
	if err != nil {
		return 0, err
	}
	return len(data), nil
}

// Close does nothing: the end of an output is told when the process has ended.
func (o *output) Close() error { return nil }
