package runtime

import (
	"fmt"
	"time"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/hook"
	"github.com/cove-containers/cove/sys"
)

// runHooks runs the hooks of a container in the making: those of the runtime in the host's namespaces, those of the
// container on this thread, which is in the container's and still sees the host's programs.
func (c *creation) runHooks() error {
	h := c.spec.Hooks
	if h == nil {
		return nil
	}
	state := specs.State{
		Version: specs.Version, ID: c.cfg.ID, Status: specs.StateCreating, Pid: c.container.pid,
		Bundle: c.cfg.Bundle, Annotations: c.spec.Annotations,
	}
	for _, kind := range []struct {
		name  string
		hooks []specs.Hook
		//lint:ignore SA1019 bundles written for older versions of the specification still have them
	}{{"prestart", h.Prestart}, {"createRuntime", h.CreateRuntime}} {
		told := state
		if kind.name == "prestart" {
			told.Status = specs.StateCreated // as it was before there were hooks inside the creation
		}
		err := sys.OnOtherThread(func() error { return hook.Run(kind.name, kind.hooks, told) })
		if err != nil {
			return err
		}
	}
	return hook.Run("createContainer", h.CreateContainer, state)
}

// runStartHooks runs the hooks that belong between Start and the program, inside the container but with the
// runtime's privileges.
func (c *Container) runStartHooks(hooks []specs.Hook, state specs.State) error {
	return hook.Each("startContainer", hooks, state, c.runStartHook)
}

func (c *Container) runStartHook(h specs.Hook, state []byte) error {
	ours, theirs, err := sys.WritePipe(len(state))
	if err != nil {
		return err
	}
	defer ours.Close()
	defer theirs.Close()
	all := sys.Capabilities()
	process := specs.Process{
		Args: append([]string{h.Path}, h.Args[min(1, len(h.Args)):]...), Env: h.Env, Cwd: "/",
		Capabilities: &specs.LinuxCapabilities{Bounding: all, Effective: all, Permitted: all},
	}
	p, err := c.exec(process, "", nil, IO{Stdin: theirs}, filter{}, noInjection)
	if err != nil {
		return err
	}
	if err := p.Start(); err != nil {
		return err
	}
	theirs.Close()
	// A hook need not read what it is told.
	_, err = ours.Write(state)
	discard(err)
	ours.Close()
	if h.Timeout != nil {
		timer := time.AfterFunc(time.Duration(*h.Timeout)*time.Second, func() { discard(p.Kill(unix.SIGKILL)) })
		defer timer.Stop()
	}
	status, err := p.Wait()
	if err != nil {
		return err
	}
	if status.Code != 0 {
		return fmt.Errorf("exit status %d", status.Code)
	}
	return nil
}
