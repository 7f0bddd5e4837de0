package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"

	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/secrets"
	"github.com/moby/buildkit/session/sshforward"
	"github.com/moby/buildkit/solver/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cove-containers/cove/build/step"
	"github.com/cove-containers/cove/spec"
	"github.com/cove-containers/cove/sys"
)

// ask finds a client of the builds that can answer. One that is there but cannot is as none.
func ask(ctx context.Context, env *step.Env, question func(ctx context.Context, c session.Caller) error) (found bool, err error) {
	if env.Sessions == nil || env.Group == nil {
		return false, nil
	}
	err = env.Sessions.Any(ctx, env.Group, func(ctx context.Context, _ string, c session.Caller) error {
		found = true
		return question(ctx, c)
	})
	if errors.Is(err, session.ErrNoActiveSessions) {
		return false, nil
	}
	return found, err
}

// secretValue asks the clients for a secret; nil where none has it and it is optional.
func secretValue(ctx context.Context, env *step.Env, id string, optional bool) ([]byte, error) {
	var value []byte
	found, err := ask(ctx, env, func(ctx context.Context, c session.Caller) (err error) {
		if value, err = secrets.GetSecret(ctx, c, id); err == nil && value == nil {
			value = []byte{}
		}
		return err
	})
	if !found && err == nil {
		err = fmt.Errorf("secret %s: %w", id, secrets.ErrNotFound)
	}
	if errors.Is(err, secrets.ErrNotFound) && optional {
		return nil, nil
	}
	return value, err
}

// secretEnv are the variables that hold secrets.
func secretEnv(ctx context.Context, env *step.Env, wanted []*pb.SecretEnv) (out []string, err error) {
	for _, s := range wanted {
		if s.GetID() == "" {
			return nil, invalid("secret ID missing for %q environment variable", s.GetName())
		}
		value, err := secretValue(ctx, env, s.GetID(), s.GetOptional())
		if err != nil {
			return nil, err
		}
		out = append(out, s.GetName()+"="+string(value))
	}
	return out, nil
}

// keep puts something into a file system of its own, which is in memory only, and mounts it.
func (b *box) keep(at string, mode, uid, gid uint32, readOnly bool, put func(path string) error) error {
	vault, err := sys.MountMemory(map[string]string{"mode": "0700"})
	if err != nil {
		return fmt.Errorf("make a file system for secrets: %w", err)
	}
	defer vault.Close()
	const name = "kept"
	path := fmt.Sprintf("/proc/self/fd/%d/%s", vault.Fd(), name)
	err = put(path)
	if err == nil {
		err = b.own(path, uid, gid)
	}
	if err == nil {
		err = os.Chmod(path, fs.FileMode(mode&0o777)|special(mode))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", at, err)
	}
	file, err := sys.CopyBelow(vault, name, b.runner.parts.Config.Dir)
	if err != nil {
		return fmt.Errorf("mount %s: %w", at, err)
	}
	b.push(file.Close)
	b.detached(file, spec.Mount{Target: at, ReadOnly: readOnly})
	return nil
}

// special are the bits of a mode that package fs has elsewhere.
func special(mode uint32) (m fs.FileMode) {
	for _, bit := range []struct {
		unix uint32
		mode fs.FileMode
	}{{0o4000, fs.ModeSetuid}, {0o2000, fs.ModeSetgid}, {0o1000, fs.ModeSticky}} {
		if mode&bit.unix != 0 {
			m |= bit.mode
		}
	}
	return m
}

// secret mounts a secret; one that is optional and not there is not mounted.
func (b *box) secret(ctx context.Context, m *pb.Mount, at string) error {
	o := m.GetSecretOpt()
	switch {
	case o == nil:
		return invalid("invalid secret mount options")
	case o.GetID() == "":
		return invalid("secret ID missing from mount options")
	}
	value, err := secretValue(ctx, b.env, o.GetID(), o.GetOptional())
	if err != nil || value == nil {
		return err
	}
	return b.keep(at, o.GetMode(), o.GetUid(), o.GetGid(), true, func(path string) error {
		return os.WriteFile(path, value, 0o600)
	})
}

// agent mounts a socket that leads to an agent of the client's.
func (b *box) agent(ctx context.Context, m *pb.Mount, at string) error {
	o := m.GetSSHOpt()
	if o == nil {
		return invalid("invalid SSH mount options")
	}
	id := o.GetID()
	var caller session.Caller
	_, err := ask(ctx, b.env, func(ctx context.Context, c session.Caller) error {
		err := sshforward.CheckSSHID(ctx, c, id)
		if err == nil {
			caller = c
		}
		return err
	})
	if caller == nil {
		if o.GetOptional() {
			return nil
		}
		if err == nil || status.Code(errors.Unwrap(err)) == codes.Unimplemented || status.Code(err) == codes.Unimplemented {
			err = invalid("no SSH key %q forwarded from the client", id)
		}
		return err
	}
	if id == "" {
		id = sshforward.DefaultID
	}
	return b.keep(at, o.GetMode(), o.GetUid(), o.GetGid(), false, func(path string) error {
		l, err := net.Listen("unix", path)
		if err != nil {
			return err
		}
		l.(*net.UnixListener).SetUnlinkOnClose(false) // it goes with the vault
		b.forward(ctx, l, caller, id)
		return nil
	})
}

// forward connects whoever comes with the agent, until the box is closed.
func (b *box) forward(ctx context.Context, l net.Listener, caller session.Caller, id string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var busy sync.WaitGroup
	busy.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			busy.Go(func() {
				defer conn.Close()
				rpc := metadata.NewOutgoingContext(caller.Context(ctx), metadata.Pairs(sshforward.KeySSHID, id))
				stream, err := sshforward.NewSSHClient(caller.Conn()).ForwardAgent(rpc)
				if err == nil {
					_ = sshforward.Copy(rpc, conn, stream, stream.CloseSend) // whoever asked sees it end
				}
			})
		}
	})
	b.push(func() error {
		cancel()
		err := l.Close()
		busy.Wait()
		return err
	})
}
