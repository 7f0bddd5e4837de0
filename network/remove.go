package network

import (
	"context"
	"errors"
	"fmt"
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

// remove removes a network; k.making is held. From the moment it is known to be unused on no container can join it.
func (k *Keeper) remove(name string) error {
	k.mu.Lock()
	l, r, err := k.lans[name], k.records[name], k.busy(name)
	if err == nil && r.Shape != nil && k.shapes(name) {
		err = errdefs.ErrPermissionDenied.WithMessage(fmt.Sprintf("configuration network %q is in use", name))
	}
	if err == nil {
		delete(k.lans, name)
		delete(k.records, name)
	}
	k.mu.Unlock()
	if err != nil {
		return err
	}
	if err := k.store.Delete(name); err != nil {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.records[name] = r; l != nil {
			k.lans[name] = l
		}
		return err
	}
	k.report("destroy", name, r)
	if l == nil {
		return nil
	}
	return errors.Join(k.closeLan(l), k.forgetWalls(l))
}

// Prune removes the users' networks that no running container is on and that the filters (until, label, label!) match.
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
		if predefined(name) || r.Shape != nil || !until.IsZero() && r.Created.After(until) || !filters.Labels("label", r.Labels) || !filters.NotLabels("label!", r.Labels) {
			continue
		}
		if ctx.Err() != nil {
			return report, context.Cause(ctx)
		}
		err := k.remove(name)
		if err != nil && !errdefs.IsPermissionDenied(err) {
			k.log.Warn("prune network", "network", name, "error", err)
		}
		if err != nil {
			continue
		}
		report.NetworksDeleted = append(report.NetworksDeleted, name)
	}
	if k.tell != nil {
		k.tell("prune", "", map[string]string{"reclaimed": "0"})
	}
	return report, nil
}
