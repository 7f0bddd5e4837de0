package engine

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/mount"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
	"github.com/cove-containers/cove/engine/storage"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/runtime"
)

const (
	// beside is how many containers are taken up, or started, at a time when the daemon starts.
	beside = 8
	// answerTime is how long a supervisor may take to answer before the daemon starts without its container.
	answerTime = 5 * time.Second
)

var errSilent = errors.New("the container's supervisor does not answer")

// keepAddresses has the networks give nobody else what is the container's, as long as there are other addresses.
func (e *Engine) keepAddresses(c *container.Container) {
	four, six := c.AddressesHad()
	e.networks.Remember(c.ID, four)
	if len(six) > 0 {
		e.networks.Remember(c.ID, six)
	}
}

// reconcile brings records, supervisors, networks and files in step.
func (e *Engine) reconcile(ctx context.Context) error {
	all := e.containers.List()
	for _, busy := range []bool{false, true} { // an address that two have had is his who had it when the daemon ended
		for _, c := range all {
			if c.State.Busy() == busy {
				e.keepAddresses(c)
			}
		}
	}
	for _, c := range all {
		for _, m := range c.Mounts {
			if m.Type != mount.TypeVolume {
				continue
			}
			if err := e.volumes.Use(m.Name, c.ID); err != nil {
				e.log_.Warn("a container's volume is gone", "container", c.ID, "volume", m.Name, "error", err)
			}
		}
	}
	if images := e.parts.Images; images != nil {
		images.SetUsers(e.imageUsers)
	}
	found, err := e.shims.Leftovers()
	if err != nil {
		return fmt.Errorf("look for running containers: %w", err)
	}
	err = eachOf(found, beside, func(id string) error {
		err := e.takeUp(ctx, id)
		if errors.Is(err, errSilent) {
			e.runs.expectLate(id)
			if c, err := e.containers.Get(id); err == nil {
				e.restoreNetwork(ctx, c, nil)
			}
			return nil
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("take up running containers: %w", err)
	}
	e.closeRecords(ctx)
	e.forwardAll()
	if err := e.networks.Sweep(); err != nil {
		return fmt.Errorf("remove unused networks: %w", err)
	}
	e.sweepFiles(ctx)
	e.followPolicies(ctx)
	for id, reached := range e.runs.late {
		e.takeUpLate(id, reached)
	}
	return nil
}

// forwardAll goes on sending the logs of containers, the rest of those that ended meanwhile, too.
func (e *Engine) forwardAll() {
	if e.forwarding == nil {
		return
	}
	for _, c := range e.containers.List() {
		e.forward(c, e.outputEnds(c.ID))
	}
	e.forwarding.Sweep(func(id string) bool {
		_, err := e.containers.Get(id)
		return err == nil
	})
}

// takeUpLate goes on asking for a supervisor that did not answer (a stopped process, a machine out of memory), so that
// one container does not keep the others without a daemon.
func (e *Engine) takeUpLate(id string, reached chan struct{}) {
	e.log_.Error("a container's supervisor does not answer; asking on", "container", id)
	e.work.Go(func() {
		err := errSilent
		for ; errors.Is(err, errSilent); err = e.takeUp(e.closing, id) {
		}
		close(reached)
		if err != nil {
			e.log_.Error("could not take up a container", "container", id, "error", err)
			return
		}
		e.closeRecord(e.closing, id) // where the supervisor turned out to be gone
	})
}

// imageUsers are all containers as the image keeper sees them.
func (e *Engine) imageUsers() []image.User {
	var out []image.User
	for _, c := range e.containers.List() {
		u := image.User{ID: c.ID, Image: c.Image, Running: c.State.Busy()}
		if c.Manifest != nil {
			u.Manifest = c.Manifest.Digest
		}
		out = append(out, u)
		for _, m := range c.Mounts {
			if m.Image != "" {
				out = append(out, image.User{ID: c.ID, Image: m.Image, Running: c.State.Busy()})
			}
		}
	}
	return out
}

// takeUp connects to the supervisor of id: a running container goes on, one that ended meanwhile is recorded, and
// what was never started, or has no record, is removed.
func (e *Engine) takeUp(ctx context.Context, id string) error {
	patience, cancel := context.WithTimeout(ctx, answerTime)
	sup, err := e.shims.Reconnect(patience, id)
	cancel()
	switch {
	case errdefs.IsNotFound(err):
		return nil
	case err != nil && patience.Err() != nil && ctx.Err() == nil:
		return errSilent
	case err != nil:
		return fmt.Errorf("reconnect to %s: %w", id, err)
	}
	c, err := e.containers.Get(id)
	if err != nil || !sup.Started() {
		e.log_.Info("removing a container that was never started", "container", id)
		if err := sup.Delete(ctx); err != nil {
			return fmt.Errorf("remove leftover %s: %w", id, err)
		}
		if c != nil {
			e.containers.Note(id, func(c *container.Container) error {
				c.LeaveNetworks()
				return nil
			})
		}
		return nil
	}
	e.restoreNetwork(ctx, c, sup)
	if err := storage.Resume(ctx, c, e.volumes, sup); err != nil {
		e.log_.Error("could not take up a container's volumes", "container", id, "error", err)
	}
	c, err = e.containers.Note(id, func(c *container.Container) error {
		health := c.State.Health
		if health == nil || !c.State.Alive() {
			health = initialHealth(c)
		}
		paused := e.frozen(c)
		starved := c.State.OOMKilled
		c.State = c.State.Begin(sup.Pid(), c.State.StartedAt, health)
		c.State.OOMKilled = starved
		c.Started = true
		if paused {
			c.State = c.State.With(ct.StatePaused)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := e.runs.of(id)
	e.takeUpCommands(ctx, c, sup)
	r.launch(sup, nil)
	e.work.Go(func() { e.watch(e.closing, r) })
	e.watchHealth(r, c)
	return nil
}

// frozen tells whether the container's processes are paused. The kernel knows; the record, which is written a moment later, may be
// of before the last pause or of before its end, and counts only where the kernel cannot be asked.
func (e *Engine) frozen(c *container.Container) bool {
	group, err := runtime.OpenCgroup(e.cgroupPath(c))
	if err == nil {
		frozen, failed := group.Frozen()
		if failed == nil {
			return frozen
		}
	}
	return c.State.Status == ct.StatePaused
}

// takeUpCommands finds the commands that ran in the container while there was no daemon.
func (e *Engine) takeUpCommands(ctx context.Context, c *container.Container, sup supervisor) {
	states, err := sup.Execs(ctx)
	if err != nil {
		return
	}
	for _, s := range states {
		x := &command{}
		if err := x.read(s.Note); err != nil || s.Pid == 0 {
			sup.ExecDelete(ctx, s.ID)
			continue
		}
		x.state, x.pid = running, s.Pid
		e.commands.add(x)
		if s.Exit != nil {
			x.end(s.Exit.Code)
			sup.ExecDelete(ctx, s.ID)
			continue
		}
		e.work.Go(func() { e.watchCommand(e.closing, c, sup, x) })
	}
}

// closeRecords ends the records that say running though there is no supervisor: the machine went down. What was taken
// up may have ended since, and wait for its policy; each record is looked at while nobody else decides about it.
func (e *Engine) closeRecords(ctx context.Context) {
	for _, c := range e.containers.List() {
		if !e.runs.isLate(c.ID) {
			e.closeRecord(ctx, c.ID)
		}
	}
}

// closeRecord ends a record that says running though there is no supervisor.
func (e *Engine) closeRecord(ctx context.Context, id string) {
	c, release, err := e.hold(ctx, id)
	if err != nil {
		return
	}
	defer release()
	if e.runs.followed(c.ID) {
		return
	}
	// What still runs though its supervisor's folder was taken away would go on beside the next run, on the same files. The
	// record may not say that it does: it is written a moment later.
	if group, err := runtime.OpenCgroup(e.cgroupPath(c)); err == nil {
		group.Clear(answerTime)
	}
	if !c.State.Busy() {
		return
	}
	e.networks.Leave(c.ID)
	e.containers.Note(c.ID, func(c *container.Container) error {
		c.LeaveNetworks()
		code := 255
		if c.State.Status == ct.StateRestarting {
			code = c.State.ExitCode
		}
		c.State = c.State.End(code, false, time.Now().UTC(), false)
		return nil
	})
}

// sweepFiles finishes removals that a crash cut short, and removes what belongs to no record.
func (e *Engine) sweepFiles(ctx context.Context) {
	writable := e.layers.Writable()
	for _, c := range e.containers.List() {
		e.finishRemoval(ctx, c.ID, !slices.Contains(writable, c.ID))
	}
	for _, id := range writable {
		if _, err := e.containers.Get(id); err == nil {
			continue
		}
		if err := e.layers.Delete(ctx, id); err != nil {
			e.log_.Error("could not remove a leftover layer", "layer", id, "error", err)
		}
	}
	folder := filepath.Join(e.parts.Config.Root, "containers")
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		e.log_.Error("could not look for leftovers", "error", err)
	}
	for _, entry := range entries {
		if _, err := e.containers.Get(entry.Name()); err == nil {
			continue
		}
		e.removeDoomed(ctx, filepath.Join(folder, entry.Name()))
		if err := os.RemoveAll(filepath.Join(folder, entry.Name())); err != nil {
			e.log_.Error("could not remove a leftover folder", "folder", entry.Name(), "error", err)
		}
	}
}

// finishRemoval removes a container whose removal was begun, or that removes itself and has ended, or whose files are
// gone. Others stay, and so do their volumes.
func (e *Engine) finishRemoval(ctx context.Context, id string, gone bool) {
	c, release, err := e.hold(ctx, id)
	if err != nil {
		return
	}
	defer release()
	folder := c.Dir(e.parts.Config.Root)
	half := gone || c.AutoRemove() || c.State.Status == ct.StateDead || c.State.Status == ct.StateRemoving
	if !half || e.runs.followed(c.ID) || e.runs.isLate(c.ID) {
		storage.Spare(folder)
		return
	}
	e.log_.Info("finishing the removal of a container", "container", c.ID, "name", c.Name)
	_, doomed := storage.Doomed(folder)
	if err := e.eraseHeld(ctx, c, c.AutoRemove() || doomed); err != nil {
		e.log_.Error("could not remove a container", "container", c.ID, "error", err)
	}
}

// followPolicies starts what restart policies ask for, first what others share a namespace with. It does not wait.
func (e *Engine) followPolicies(ctx context.Context) {
	var first, then []*container.Container
	for _, c := range e.containers.List() {
		if c.State.Alive() || !plan.AtBoot(c.HostConfig.RestartPolicy, c.Started, c.StoppedByHand, c.State.ExitCode, c.RestartCount) {
			continue
		}
		h := c.HostConfig
		if h.NetworkMode.IsContainer() || h.PidMode.IsContainer() || h.IpcMode.IsContainer() {
			then = append(then, c)
		} else {
			first = append(first, c)
		}
	}
	if len(first)+len(then) == 0 {
		return
	}
	e.work.Go(func() {
		for _, wave := range [][]*container.Container{first, then} {
			eachOf(wave, beside, func(c *container.Container) error {
				if e.closing.Err() == nil {
					e.startAtBoot(e.closing, c.ID)
				}
				return nil
			})
		}
	})
}

func (e *Engine) startAtBoot(ctx context.Context, id string) {
	c, release, err := e.hold(ctx, id)
	if err != nil {
		return
	}
	defer release()
	if c.State.Busy() {
		return
	}
	if err := e.startHeld(context.WithoutCancel(ctx), c, startMode{}); err != nil {
		e.log_.Warn("could not start a container by its restart policy", "container", id, "name", c.Name, "error", err)
	}
}
