package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	ct "github.com/moby/moby/api/types/container"
	et "github.com/moby/moby/api/types/events"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/engine/plan"
)

// initialHealth is the health of a container that was just started; nil without a health check.
func initialHealth(c *container.Container) *ct.Health {
	if _, ok := plan.HealthProbe(c.Config); !ok {
		return nil
	}
	return &ct.Health{Status: ct.Starting, Log: []*ct.HealthcheckResult{}}
}

// watchHealth probes a running container until its run ends.
func (e *Engine) watchHealth(r *run, c *container.Container) {
	probe, ok := plan.HealthProbe(c.Config)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(e.closing)
	r.mu.Lock()
	r.stopHealth = cancel
	r.mu.Unlock()
	e.work.Go(func() {
		defer cancel()
		e.probe(ctx, r, probe)
	})
}

// probe runs the check again and again; each wait begins when the check before it has ended.
func (e *Engine) probe(ctx context.Context, r *run, probe plan.Probe) {
	for {
		c, err := e.containers.Get(r.id)
		if err != nil || c.State.Health == nil {
			return
		}
		select {
		case <-time.After(probe.Wait(c.State.Health.Status, time.Since(c.State.StartedAt))):
		case <-ctx.Done():
			return
		case <-r.over:
			return
		}
		if c, err = e.containers.Get(r.id); err != nil {
			return
		}
		if c.State.Status != ct.StateRunning {
			continue
		}
		result := e.probeOnce(ctx, c, r, probe)
		if ctx.Err() != nil {
			return
		}
		e.recordHealth(c, probe, result)
	}
}

// probeOnce runs the check in the container, and ends it when it takes too long.
func (e *Engine) probeOnce(ctx context.Context, c *container.Container, r *run, probe plan.Probe) *ct.HealthcheckResult {
	result := &ct.HealthcheckResult{Start: time.Now()}
	x := &command{ID: newID(), ContainerID: c.ID, Request: ct.ExecCreateRequest{Cmd: probe.Args, AttachStdout: true, AttachStderr: true}}
	e.commands.add(x)
	defer e.commands.drop(x)
	e.event(c, et.Action("exec_create: "+strings.Join(probe.Args, " ")), "execID", x.ID)
	var stream Conn
	err := x.start()
	if err == nil {
		err = e.runCommand(ctx, c, r, x, nil, &stream)
	}
	if err != nil {
		result.End, result.ExitCode, result.Output = time.Now(), -1, err.Error()
		return result
	}
	defer stream.Close()
	output := begin(func() (string, error) { return plan.ProbeOutput(stream), nil })
	select {
	case <-x.ended:
		// What the probe leaves behind may hold its output open.
		late := time.AfterFunc(closeTime, func() { stream.Close() })
		result.Output, _ = output.wait()
		late.Stop()
		result.ExitCode = *x.code
	case <-time.After(probe.Timeout):
		r.sup.ExecKill(ctx, x.ID)
		stream.Close()
		text, _ := output.wait()
		result.ExitCode = -1
		result.Output = fmt.Sprintf("Health check exceeded timeout (%v)", probe.Timeout)
		if text != "" {
			result.Output += ": " + text
		}
	case <-ctx.Done():
	case <-r.over:
	}
	result.End = time.Now()
	return result
}

// recordHealth takes in one result and tells when the container became healthy or ceased to be.
func (e *Engine) recordHealth(c *container.Container, probe plan.Probe, result *ct.HealthcheckResult) {
	var before, after ct.HealthStatus
	c, err := e.containers.Keep(c.ID, func(c *container.Container) error {
		if c.State.Health == nil || !c.State.Alive() {
			return nil
		}
		before = c.State.Health.Status
		c.State.Health = probe.Next(c.State.Health, result, c.State.StartedAt)
		after = c.State.Health.Status
		return nil
	})
	if err == nil && before != after {
		e.event(c, et.Action("health_status: "+string(after)))
	}
}
