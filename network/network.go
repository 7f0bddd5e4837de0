// Package network gives containers their network: the default one and those of users, namespaces made ahead, addresses,
// published ports, who is called what, and the files that name hosts.
//
// What it makes on the host carries the instance's mark, and only that is ever removed: the bridges (cove0, or cove and
// the mark; "cb", five digits of the mark and eight of the ID for a user's network that names none; the table's name is
// written on each as its alias, and a bridge without it that a user names is somebody else's), the firewall table
// (see network/nft), and one veth per endpoint whose name says which instance and address it is for: "cv", five digits
// of the mark, eight of the IPv4 address, or of the hash of the IPv6 one where that is all it has; an IPv6 address is the
// veth's alias. Namespaces are mounted nowhere; they live as long as somebody has them open or
// a process in them, so nothing is left of the unused ones when the daemon is killed.
//
//	cove.db
//	    networks           bucket: name → record as JSON (ID, creation, settings, subnet), format 1
package network

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/near"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/publish"
	"github.com/cove-containers/cove/network/setup"
	"github.com/cove-containers/cove/network/warm"
	"github.com/cove-containers/cove/state"
)

// Config is how an instance's networks are set up. The zero value is the default instance's.
type Config = setup.Config

// Pool is a range that networks without a subnet of their own take one from.
type Pool = setup.Pool

// Mark is a firewall mark by which others tell packets.
type Mark = nft.Mark

// CheckDefaults refuses options of networks that cannot be, by driver.
func CheckDefaults(all map[string]map[string]string) error { return setup.CheckDefaults(all) }

// Keeper owns the networks of one instance. Its methods are safe for concurrent use; those for one container come one at
// a time.
type Keeper struct {
	cfg    Config
	log    *slog.Logger
	store  *state.Table[record]
	mtu    int
	table  *nft.Table
	watch  *nft.Watch
	ports  *publish.Taken
	bare   *warm.Pool[*ready]
	graves *graves
	near   *near.Server
	tell   func(action, id string, attributes map[string]string)

	linking sync.Mutex // links are told to the table one after another
	making  sync.Mutex // networks are made and removed one at a time

	mu      sync.Mutex // guards what follows
	records map[string]record
	lans    map[string]*lan
	members map[string]*member
	found   map[string]stray // veths that were there at Open and no container has claimed
	coming  map[string]int   // how many containers are about to be on a network
	swept   bool             // what ran when the engine started has been taken up
	// neighbours is how many containers the host's table of neighbours is known to have room for.
	neighbours int
}

// record is what is remembered of a network.
type record struct {
	ID      string
	Created time.Time
	Driver  string
	// Bridge and Bridge6 are the bridge's addresses and subnets; the zero value where it has not the family.
	Bridge, Bridge6 netip.Prefix `json:",omitzero"`
	// What the user asked for; Config and Config6 are the zero value where the subnet was left to the engine.
	Labels, Options, IPAMOptions map[string]string `json:",omitempty"`
	Config, Config6              nt.IPAMConfig     `json:",omitzero"`
	Internal, Attachable         bool              `json:",omitempty"`
	// Shape is what was asked of a configuration, From the one by which the network was made.
	Shape *nt.CreateRequest `json:",omitempty"`
	From  string            `json:",omitempty"`
}

// Open sets up the networks and the instance's firewall table, and begins to make namespaces ahead. Containers and
// published ports of an earlier engine are left as they are, see Restore and Sweep.
func Open(cfg Config, db *state.DB) (*Keeper, error) {
	k := &Keeper{
		cfg: cfg, log: cfg.Log, mtu: cfg.MTU,
		lans: map[string]*lan{}, members: map[string]*member{}, found: map[string]stray{}, coming: map[string]int{},
	}
	if k.log == nil {
		k.log = slog.Default()
	}
	if k.mtu == 0 {
		k.mtu = bridge.DefaultMTU()
	}
	var err error
	if k.store, err = state.NewTable[record](db, "networks"); err != nil {
		return nil, err
	}
	if k.records, err = loadRecords(k.store); err != nil {
		return nil, err
	}
	k.graves = newGraves(k.log, k.buried)
	k.bare = warm.New(k.log, min(2, k.cfg.WarmSize()), 0, k.makeBare, k.drop)
	if err := k.openLans(); err != nil {
		k.bare.Close()
		k.graves.close()
		return nil, fmt.Errorf("open networks: %w", err)
	}
	return k, nil
}

// loadRecords reads the records of networks, making those every engine has where they are missing.
func loadRecords(table *state.Table[record]) (map[string]record, error) {
	records, err := table.All()
	if err != nil {
		return nil, err
	}
	for name, driver := range map[string]string{nt.NetworkBridge: "bridge", nt.NetworkHost: "host", nt.NetworkNone: "null"} {
		if _, ok := records[name]; ok {
			continue
		}
		records[name] = record{ID: newID(), Created: time.Now().UTC(), Driver: driver}
		if err := table.Put(name, records[name]); err != nil {
			return nil, fmt.Errorf("record network %s: %w", name, err)
		}
	}
	return records, nil
}

// Tell names who is told of networks that are made and removed. It is called once, before anything is.
func (k *Keeper) Tell(tell func(action, id string, attributes map[string]string)) { k.tell = tell }

// report tells what became of a network.
func (k *Keeper) report(action, name string, r record) {
	if k.tell != nil {
		k.tell(action, r.ID, map[string]string{"name": name, "type": r.Driver})
	}
}

// openLans makes the networks real: the default one must be, one of a user's that cannot is told of.
func (k *Keeper) openLans() error {
	if err := k.sweepBridges(); err != nil {
		return err
	}
	if k.cfg.Bridge != setup.Disabled {
		if err := k.openDefault(); err != nil {
			return err
		}
	}
	for name, r := range k.records {
		if predefined(name) || r.Shape != nil {
			continue
		}
		l, err := k.openLan(name, r)
		if err != nil {
			k.log.Error("a network cannot be set up: its containers will not start", "network", name, "error", err)
			continue
		}
		k.lans[name] = l
	}
	var walls []nft.Bridge
	for name, l := range k.lans {
		if err := k.findVeths(l); err != nil {
			// Addresses of containers that run could be given to others.
			k.log.Error("a network cannot be taken up: its containers will not start", "network", name, "error", err)
			delete(k.lans, name)
			continue
		}
		walls = append(walls, l.walls()...)
	}
	k.near = near.New(k.log)
	var err error
	if k.table, err = nft.Open(nft.Config{Name: k.cfg.TableName(), Prefix: k.cfg.VethPrefix(), Bridges: walls, Allowed: k.cfg.PublishAllow, Direct: k.cfg.Direct, Marked: k.cfg.Marked, Near: k.near}); err != nil {
		return err
	}
	if k.watch, err = nft.NewWatch(k.cfg.TableName(), k.tableGone); err != nil {
		k.table.Close()
		return err
	}
	k.ports = publish.NewTaken()
	if l := k.lans[nt.NetworkBridge]; l != nil {
		l.warm = k.pool(l, k.cfg.WarmSize(), 0)
	}
	return nil
}

// sweepBridges removes the bridges that an engine of this instance made for networks of which there is no record: it was
// killed while it made or removed them. Nobody can be on those. What has not the instance's tag is left alone.
func (k *Keeper) sweepBridges() error {
	made, err := bridge.Tagged(k.cfg.TableName())
	if err != nil {
		return err
	}
	if err := k.sweepParents(); err != nil {
		return err
	}
	for _, d := range made {
		known := slices.ContainsFunc(slices.Collect(maps.Keys(k.records)), func(name string) bool {
			r := k.records[name]
			return d.Name == k.deviceOf(name, r) || strings.HasPrefix(d.Name, k.cfg.SpanName(r.ID, 0)[:12])
		})
		if on, err := d.Ports(k.cfg.VethPrefix()); known || err != nil || len(on) > 0 {
			continue
		}
		k.log.Info("remove bridge that no network has", "device", d.Name)
		if err := d.Clear(); err != nil {
			return err
		}
	}
	return nil
}

// sweepParents removes the devices made for networks that are on one, of which there is no record.
func (k *Keeper) sweepParents() error {
	made, err := bridge.Parents(k.cfg.TableName())
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, r := range k.records {
		known[r.Options["parent"]], known[k.cfg.DummyName(r.ID)] = true, true
	}
	for _, name := range made {
		if known[name] {
			continue
		}
		k.log.Info("remove device that no network is on", "device", name)
		if err := bridge.Remove(name); err != nil {
			return err
		}
	}
	return nil
}

// openDefault makes the default network real.
func (k *Keeper) openDefault() error {
	name := k.cfg.BridgeName()
	r := k.records[nt.NetworkBridge]
	if err := k.chooseAddresses(name, &r); err != nil {
		return err
	}
	if !reflect.DeepEqual(r, k.records[nt.NetworkBridge]) {
		if err := k.store.Put(nt.NetworkBridge, r); err != nil {
			return fmt.Errorf("record network bridge: %w", err)
		}
		k.records[nt.NetworkBridge] = r
	}
	l, err := k.openLan(nt.NetworkBridge, r)
	if err != nil {
		return err
	}
	k.lans[nt.NetworkBridge] = l
	return nil
}

// tableGone is called when a table was deleted: a reload of the host's firewall may have taken ours with it.
func (k *Keeper) tableGone() {
	if k.table.Present() {
		return
	}
	if err := k.table.Restore(); err != nil {
		k.log.Error("put back the firewall table", "table", k.cfg.TableName(), "err", err)
		return
	}
	k.log.Warn("the firewall table had been removed and was put back", "table", k.cfg.TableName())
}

func (k *Keeper) makeBare(ipam.Pair) (*ready, error) {
	ns, err := bridge.NewNamespace()
	if err != nil {
		return nil, err
	}
	return &ready{ns: ns}, nil
}

// bareNamespace gives a namespace that is on no network.
func (k *Keeper) bareNamespace(own *os.File) (*bridge.Namespace, error) {
	if own != nil {
		return namespaceOf(own)
	}
	r, err := k.bare.Take(ipam.Pair{})
	if err != nil {
		return nil, err
	}
	return r.ns, nil
}

// namespaceOf sets up a container's own namespace, or a new one where it has none.
func namespaceOf(own *os.File) (*bridge.Namespace, error) {
	if own == nil {
		return bridge.NewNamespace()
	}
	file, err := bridge.Duplicate(own)
	if err != nil {
		return nil, err
	}
	ns, err := bridge.Furnish(file)
	if err != nil {
		file.Close()
	}
	return ns, err
}

// drop lets go of a namespace that no container got.
func (k *Keeper) drop(r *ready) {
	r.close()
	if r.lan != nil {
		k.graves.add(grave{veth: r.port.Name, lan: r.lan, addresses: r.Addresses()})
	}
}

// buried gives back the addresses of a device that is gone from the host.
func (k *Keeper) buried(g grave) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if g.lan == nil {
		return
	}
	for _, l := range k.lans {
		// Its network is gone, and another has the addresses now, perhaps a device of that name, too.
		if l != g.lan && l.space.Overlaps(g.addresses) {
			return
		}
	}
	k.free(g.lan, g.veth, g.addresses)
}

// Close stops making namespaces. Containers keep their network; what is on the host of networks without any is removed.
func (k *Keeper) Close() error {
	k.bare.Close()
	k.mu.Lock()
	lans, members := slices.Collect(maps.Values(k.lans)), slices.Collect(maps.Values(k.members))
	k.mu.Unlock()
	for _, m := range members {
		m.resolver.close()
	}
	for _, l := range lans {
		k.cool(l)
	}
	k.graves.close()
	k.watch.Close()
	k.ports.Close()
	k.near.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	inUse := map[*lan]bool{}
	for _, m := range k.members {
		for network := range m.endpoints {
			inUse[k.lans[network]] = true
		}
	}
	for _, s := range k.found {
		inUse[s.lan] = true
	}
	delete(inUse, nil)
	var err error
	for _, l := range lans {
		if !inUse[l] {
			err = errors.Join(err, k.forgetWalls(l), l.removeDevice())
		}
	}
	err = errors.Join(err, k.table.Close())
	if len(inUse) == 0 {
		err = errors.Join(err, nft.Remove(k.cfg.TableName()))
	}
	return err
}

// HostGateways are what the name host-gateway stands for in extra hosts: the host as its containers see it, in each family.
func (k *Keeper) HostGateways() []netip.Addr {
	if len(k.cfg.HostGateways) > 0 {
		return k.cfg.HostGateways
	}
	if l := k.lan(nt.NetworkBridge); l != nil {
		return l.gateways.All()
	}
	return nil
}

// newID is a random identifier of 64 hexadecimal digits.
func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}
