package shim

import (
	"errors"
	"syscall"

	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/runtime"
)

// makeContainer makes a container by Cove's own runtime or by the external one that is asked for.
func makeContainer(j job) (box, process, error) {
	if j.cfg.Runtime != "" {
		return makeExternal(j)
	}
	cfg := runtime.Config{
		ID: j.id, Spec: j.cfg.Spec, User: j.cfg.User, Groups: j.cfg.Groups,
		NetNS: j.cfg.NetNS, UserNS: j.cfg.users, Rooms: j.cfg.rooms, SeccompCache: j.cfg.SeccompCache, Init: j.cfg.Init,
	}
	if o := j.cfg.Overlay; o != nil {
		cfg.Overlay = &runtime.Overlay{Lower: o.Lower, Upper: o.Upper, Work: o.Work, Mapped: j.cfg.users != nil}
	}
	c, err := makeOwn(j, cfg)
	if err != nil {
		return nil, nil, err
	}
	return &own{c}, c, nil
}

func makeOwn(j job, cfg runtime.Config) (*runtime.Container, error) {
	if j.cfg.Checkpoint == nil {
		return runtime.Create(cfg, j.io)
	}
	o := *j.cfg.Checkpoint
	o.Work = j.dir
	return runtime.Restore(cfg, j.io, o)
}

// own is a container of Cove's runtime.
type own struct{ c *runtime.Container }

func (o *own) Exec(cfg ExecConfig, io runtime.IO) (process, error) {
	p, err := o.c.Exec(cfg.Process, cfg.User, cfg.Groups, io)
	if err != nil {
		return nil, err
	}
	return p, nil
}

func (o *own) KillAll(sig syscall.Signal) error { return killAll(o.c.Cgroup(), sig) }

func (o *own) OOMKilled() bool {
	kills, err := o.c.Cgroup().OOMKills()
	return err == nil && kills > 0
}

func (o *own) Cgroup() string { return o.c.Cgroup().Path() }

func (o *own) Checkpoint(how runtime.CheckpointOptions) error { return o.c.Checkpoint(how) }

func (o *own) Destroy() error { return o.c.Destroy() }

// killAll signals every process in a cgroup. Those that are born meanwhile are met too when the signal is SIGKILL.
func killAll(group *runtime.Cgroup, sig syscall.Signal) error {
	if sig == sigkill {
		return group.KillAll()
	}
	pids, err := group.Pids()
	if err != nil {
		return err
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			return err
		}
	}
	return nil
}

// ownPIDs tells whether a document gives the container a pid namespace of its own.
func ownPIDs(spec *specs.Spec) bool {
	if spec.Linux == nil {
		return false
	}
	for _, ns := range spec.Linux.Namespaces {
		if ns.Type == specs.PIDNamespace {
			return ns.Path == ""
		}
	}
	return false
}
