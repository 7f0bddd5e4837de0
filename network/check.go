package network

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/publish"
	"github.com/cove-containers/cove/network/warm"
)

// Check compares the containers that are on networks with the devices, the firewall table and the published ports
// that are really there.
func (k *Keeper) Check(_ context.Context, _ bool) (api.Findings, error) {
	var found api.Findings
	if k.table == nil {
		return found, nil
	}
	if altered(k.table) {
		found.Add(api.Fault{
			Kind: "network", Name: k.cfg.TableName(), Problem: "the firewall table is gone or was changed by others", Remedy: "written anew",
			Persists: func() bool { return altered(k.table) },
			Mend:     func(context.Context) error { return k.table.Restore() },
		})
	}
	var devices []string
	for _, l := range k.all() {
		found.Count("networks", 1)
		kind, device := l.on()
		if !bridge.Exists(device) {
			found.Add(api.Fault{
				Kind: "network", Name: l.name, Problem: "its " + kind + " " + device + " is gone", Advice: "restart the engine",
				Persists: func() bool { return k.lan(l.name) == l && !bridge.Exists(device) },
			})
			continue
		}
		if l.parent != nil {
			continue
		}
		for _, device := range l.spans.Devices() {
			on, err := device.PortNames(k.cfg.VethPrefix())
			if errors.Is(err, fs.ErrNotExist) {
				continue // the network was removed meanwhile
			}
			if err != nil {
				return found, fmt.Errorf("check networks: %w", err)
			}
			devices = append(devices, on...)
		}
	}
	owned, expected := k.owned()
	for _, name := range devices {
		if !owned[name] {
			found.Add(k.strayDevice(name))
		}
	}
	for _, veth := range slices.Sorted(maps.Keys(expected)) {
		if !slices.Contains(devices, veth) {
			found.Add(k.lostDevice(veth, expected[veth]))
		}
	}
	found.Count("network devices", len(devices))
	return found, k.checkPorts(&found)
}

// all are the networks that are real on the host.
func (k *Keeper) all() []*lan {
	k.mu.Lock()
	defer k.mu.Unlock()
	return slices.Collect(maps.Values(k.lans))
}

// altered tells that the kernel does not have what was written.
func altered(t *nft.Table) bool {
	if !t.Present() {
		return true
	}
	agrees, err := t.Agrees()
	return err == nil && !agrees
}

// owned are the devices that somebody has: containers, those ready for the next ones, those that are going. expected are the
// containers' alone.
func (k *Keeper) owned() (owned map[string]bool, expected map[string]string) {
	owned, expected = map[string]bool{}, map[string]string{}
	k.mu.Lock()
	for _, m := range k.members {
		for _, e := range m.endpoints {
			if e.veth != "" {
				owned[e.veth], expected[e.veth] = true, m.id
			}
		}
	}
	for veth := range k.found {
		owned[veth] = true
	}
	var pools []*warm.Pool[*ready]
	for _, l := range k.lans {
		if l.warm != nil {
			pools = append(pools, l.warm)
		}
	}
	k.mu.Unlock()
	for _, p := range pools {
		for _, r := range p.Ready() {
			owned[r.port.Name] = true
		}
	}
	k.graves.mu.Lock()
	for _, g := range k.graves.open {
		owned[g.veth] = true
	}
	k.graves.mu.Unlock()
	return owned, expected
}

func (k *Keeper) strayDevice(name string) api.Fault {
	stray := func() bool {
		owned, _ := k.owned()
		return !owned[name] && bridge.Exists(name)
	}
	return api.Fault{
		Kind: "network", Name: name, Problem: "no container has this device", Remedy: "removed", Persists: stray,
		Mend: func(context.Context) error {
			// One that is only on its way to a container is soon there.
			for range 10 {
				if !stray() {
					return nil
				}
				time.Sleep(50 * time.Millisecond)
			}
			alias := bridge.Alias(name)
			if err := bridge.RemovePort(name); err != nil {
				return err
			}
			for _, l := range k.all() {
				if p := l.addressesOf(name, alias); p.IsValid() {
					k.graves.add(grave{veth: name, lan: l, addresses: p, forget: true})
				}
			}
			return nil
		},
	}
}

func (k *Keeper) lostDevice(name, container string) api.Fault {
	return api.Fault{
		Kind: "network", Name: name, Problem: "the device of container " + container + " is gone", Advice: "restart the container",
		Persists: func() bool {
			_, expected := k.owned()
			return expected[name] == container && !bridge.Exists(name)
		},
	}
}

// checkPorts compares what is published with what containers want published.
func (k *Keeper) checkPorts(found *api.Findings) error {
	stray := func() nft.Published { return k.table.Published().Without(k.wanted()) }
	missing := func() nft.Published { return k.wanted().Without(k.table.Published()) }
	found.Count("published ports", k.wanted().Count())
	for _, p := range stray().Ports {
		found.Add(api.Fault{
			Kind: "network", Name: p.Host.String(), Problem: "the port is published and no container has it", Remedy: "withdrawn",
			Persists: func() bool { return slices.Contains(stray().Ports, p) },
			Mend:     func(context.Context) error { return k.table.Withdraw(nft.Published{Ports: []nft.Publication{p}}) },
		})
	}
	for _, p := range missing().Ports {
		found.Add(api.Fault{
			Kind: "network", Name: p.Host.String(), Problem: "the port of a container is not published", Remedy: "published",
			Persists: func() bool { return slices.Contains(missing().Ports, p) },
			Mend:     func(context.Context) error { return k.table.Publish(missing()) },
		})
	}
	return nil
}

// wanted is what all containers have published.
func (k *Keeper) wanted() nft.Published {
	k.mu.Lock()
	defer k.mu.Unlock()
	var all nft.Published
	for _, m := range k.members {
		one := publish.Published(m.published, m.sources)
		all.Ports, all.Limits = append(all.Ports, one.Ports...), append(all.Limits, one.Limits...)
	}
	return all
}
