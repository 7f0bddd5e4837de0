package runtime

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/runtime/rootfs"
)

// madeFilesystem is a file system that the child makes, and where its descriptors show while they are open.
type madeFilesystem struct {
	rootfs.Filesystem
	context, mount *uintptr
}

// plan writes down what the child does before it waits for its root.
func (c *creation) plan() error {
	shared, err := newArena()
	if err != nil {
		return err
	}
	c.undo.push(shared.close)
	p := &c.program
	p.share(shared) // for the list of what is made
	for _, f := range c.root.Inside() {
		c.made = append(c.made, madeFilesystem{f, shared.slot(), shared.slot()})
	}
	c.undo.push(c.dropMade)
	c.second = (*int32)(shared.take(4))
	p.shared = nil
	if c.namespaces.users != nil {
		c.joinUsers(p)
	}
	c.birth.prologue(p)
	if c.namespaces.ownUsers() {
		c.takeUsers(p)
	}
	for _, f := range c.made {
		f.plan(p)
	}
	p.mark(markPrepared)
	p.wait(int(c.pipes.childStart.Fd()))
	p.share(shared)
	return nil
}

// takeUsers waits until the new user namespace has its mappings and becomes its root.
func (c *creation) takeUsers(p *program) {
	p.wait(int(c.pipes.childStart.Fd()))
	p.add("become the root of the user namespace", unix.SYS_SETRESGID, 0, 0, 0).check = ignoreError
	p.add("become the root of the user namespace", unix.SYS_SETRESUID, 0, 0, 0).check = ignoreError
}

// planRest writes down what it does then.
func (c *creation) planRest() error {
	if !c.namespaces.has(unix.CLONE_NEWNS) {
		var err error
		if c.birth.chroot, err = aboveStandard(c.root.Dir(), c.birth.preserve); err != nil {
			return err
		}
	}
	if err := c.birth.epilogue(&c.program); err != nil {
		return err
	}
	return c.program.publish()
}

// Registers of what the child opens.
const (
	registerContext = iota
	registerMount
)

// plan has the child make a file system. What it has open shows in the slots.
func (f madeFilesystem) plan(p *program) {
	name := fmt.Sprintf("error mounting %q to rootfs at %q: ", f.Source, f.Destination)
	open := p.add(name+"open file system "+f.Kind, unix.SYS_FSOPEN, p.text(f.Kind), unix.FSOPEN_CLOEXEC)
	open.into, open.out = registerContext, f.context
	set := func(about string, command uintptr, key, value uintptr) {
		p.add(name+about, unix.SYS_FSCONFIG, registerContext, command, key, value, 0).refs = 1
	}
	if f.Source != "" {
		set("source", unix.FSCONFIG_SET_STRING, p.text("source"), p.text(f.Source))
	}
	for _, o := range f.Options {
		about := fmt.Sprintf("option %q of file system %s", o.Key, f.Kind)
		if o.Flag {
			set(about, unix.FSCONFIG_SET_FLAG, p.text(o.Key), 0)
		} else {
			set(about, unix.FSCONFIG_SET_STRING, p.text(o.Key), p.text(o.Value))
		}
	}
	set("make file system "+f.Kind, unix.FSCONFIG_CMD_CREATE, 0, 0)
	mount := p.add(name+"mount file system "+f.Kind, unix.SYS_FSMOUNT, registerContext, unix.FSMOUNT_CLOEXEC, uintptr(f.Attributes))
	mount.refs, mount.out = 1, f.mount
	closed := p.add("close file system", unix.SYS_CLOSE, registerContext)
	closed.refs, closed.out = 1, f.context
}

// dropMade closes what the child made for a container that does not come into being; it is gone.
func (c *creation) dropMade() {
	for _, f := range c.made {
		for _, slot := range []*uintptr{f.context, f.mount} {
			if *slot != 0 {
				discard(unix.Close(int(*slot)))
				*slot = 0
			}
		}
	}
}
