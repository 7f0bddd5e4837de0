package network

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
)

// Remove removes a user's network. One that running containers are on is errdefs.ErrPermissionDenied, as in Docker; one
// that stopped containers want is removed, and they start no more.
func (k *Keeper) Remove(ctx context.Context, ref string) error {
	k.making.Lock()
	defer k.making.Unlock()
	name, err := k.find(ref)
	if err != nil {
		return err
	}
	if predefined(name) {
		return errdefs.ErrPermissionDenied.WithMessage(name + " is a pre-defined network and cannot be removed")
	}
	return k.remove(name)
}

// remove removes a network; k.making is held. From the first moment on no container can join it.
func (k *Keeper) remove(name string) error {
	k.mu.Lock()
	l, r := k.lans[name], k.records[name]
	delete(k.lans, name)
	k.mu.Unlock()
	back := func(err error) error {
		k.mu.Lock()
		defer k.mu.Unlock()
		if l != nil {
			k.lans[name] = l
		}
		k.records[name] = r
		return err
	}
	if err := k.busy(name); err != nil {
		return back(err)
	}
	if err := k.store.Delete(name); err != nil {
		return back(err)
	}
	k.mu.Lock()
	delete(k.records, name)
	k.mu.Unlock()
	if l == nil {
		return nil
	}
	return errors.Join(k.closeLan(l, true), k.forgetWalls(l))
}

// Prune removes the users' networks that no running container is on and that the filters (until, label, label!) match.
// wanted tells whether a container that does not run will want the network when it starts; such ones stay.
func (k *Keeper) Prune(ctx context.Context, filters api.Filters) (nt.PruneReport, error) {
	var report nt.PruneReport
	if err := filters.Check("until", "label", "label!"); err != nil {
		return report, err
	}
	until, err := filters.Until(time.Now())
	if err != nil {
		return report, err
	}
	k.making.Lock()
	defer k.making.Unlock()
	k.mu.Lock()
	records := maps.Clone(k.records)
	k.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(records)) {
		r := records[name]
		if predefined(name) || !until.IsZero() && r.Created.After(until) || !filters.Labels("label", r.Labels) || !filters.NotLabels("label!", r.Labels) || k.busy(name) != nil {
			continue
		}
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		if err := k.remove(name); err != nil {
			k.log.Warn("prune network", "network", name, "error", err)
			continue
		}
		report.NetworksDeleted = append(report.NetworksDeleted, name)
	}
	return report, nil
}
