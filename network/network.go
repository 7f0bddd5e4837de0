// Package network gives containers their network: namespaces made ahead, addresses on the default bridge, published
// ports, and the files that name hosts.
//
// What it makes on the host carries the instance's mark, and only that is ever removed: the bridge (cove0, or cove and
// the mark), the firewall table (see network/nft), and one veth per container whose name says which instance and
// address it is for: "cv", five digits of the mark, eight of the IPv4 address. Namespaces are mounted nowhere; they live
// as long as somebody has them open or a process in them, so nothing is left of the unused ones when the daemon is killed.
//
//	cove.db
//	    networks           bucket: name → record as JSON (ID, creation, subnet), format 1
package network

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/bridge"
	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/state"
)

// Pool is a range that networks without a subnet of their own take one from.
type Pool struct {
	Base netip.Prefix
	// Size is the prefix length of the subnets cut from Base.
	Size int
}

// Config is how an instance's networks are set up. The zero value is the default instance's.
type Config struct {
	// Mark tells this instance's names on the host from those of others; empty for the default instance.
	Mark string
	// Bridge is the name of the default bridge; empty for one made from the mark, "none" for no default network.
	Bridge string
	// BIP is the bridge's address and subnet; the zero value picks one from Pools.
	BIP netip.Prefix
	// Pools are the ranges to pick from; nil for Docker's.
	Pools []Pool
	// MTU of the containers' devices; 0 takes the host's.
	MTU int
	// HostIP is where ports are published that name no host address; the zero value is 0.0.0.0.
	HostIP netip.Addr
	// HostGateway is what "host-gateway" means in extra hosts; the zero value is the bridge's address.
	HostGateway netip.Addr
	// Warm is how many namespaces are kept ready; 0 for the default, negative for none.
	Warm int
	// Log takes what goes wrong where nobody waits for an answer; nil for slog.Default.
	Log *slog.Logger
}

// disabled is the name of a bridge that is not wanted.
const disabled = "none"

func (c Config) bridgeName() string {
	if c.Bridge != "" {
		return c.Bridge
	}
	if c.Mark == "" {
		return "cove0"
	}
	if name := "cove" + c.Mark; len(name) <= 15 {
		return name
	}
	sum := sha256.Sum256([]byte(c.Mark))
	return "cove" + hex.EncodeToString(sum[:5])
}

func (c Config) tableName() string {
	if c.Mark == "" {
		return "cove"
	}
	return "cove-" + c.Mark
}

// vethPrefix begins the names of the host's ends of this instance's devices.
func (c Config) vethPrefix() string {
	return "cv" + (c.Mark + "00000")[:5]
}

// Keeper owns the networks of one instance. It is safe for concurrent use.
type Keeper struct {
	cfg     Config
	log     *slog.Logger
	records map[string]record

	device  bridge.Device
	gateway netip.Addr
	mtu     int
	subnet  *ipam.Subnet
	table   *nft.Table
	watch   *nft.Watch
	ports   *ports
	warm    *pool
	bare    *pool
	graves  *graves

	mu      sync.Mutex
	members map[string]*member
	found   map[string]netip.Addr // veths that were there at Open and no container has claimed
}

// member is a container on a network.
type member struct {
	id, name  string
	network   string
	endpoint  string // ID
	sandbox   string // ID
	veth      string
	address   netip.Addr
	mac       nt.HardwareAddr
	published []binding
}

// record is what is remembered of a network.
type record struct {
	ID      string
	Created time.Time
	Driver  string
	// Bridge is the bridge's address and subnet.
	Bridge netip.Prefix `json:",omitzero"`
}

// Open sets up the default bridge and the instance's firewall table, and begins to make namespaces ahead. Containers
// and published ports of an earlier engine are left as they are, see Restore and Sweep.
func Open(cfg Config, db *state.DB) (*Keeper, error) {
	k := &Keeper{cfg: cfg, log: cfg.Log, members: map[string]*member{}, found: map[string]netip.Addr{}, mtu: cfg.MTU}
	if k.log == nil {
		k.log = slog.Default()
	}
	if k.mtu == 0 {
		k.mtu = bridge.DefaultMTU()
	}
	table, err := state.NewTable[record](db, "networks")
	if err != nil {
		return nil, err
	}
	if k.records, err = loadRecords(table); err != nil {
		return nil, err
	}
	k.graves = newGraves(k.log, k.buried)
	k.bare = newPool(k.log, min(2, k.warmSize()), k.makeBare, k.drop)
	if cfg.Bridge != disabled {
		if err := k.openBridge(table); err != nil {
			k.bare.close()
			k.graves.close()
			return nil, fmt.Errorf("open networks: %w", err)
		}
	}
	return k, nil
}

func (k *Keeper) warmSize() int {
	switch {
	case k.cfg.Warm < 0:
		return 0
	case k.cfg.Warm == 0:
		return 6
	}
	return k.cfg.Warm
}

// loadRecords reads the records of the networks every engine has, making those that are missing.
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

// openBridge makes the default network real: its subnet, bridge, table and the namespaces on it.
func (k *Keeper) openBridge(table *state.Table[record]) error {
	name := k.cfg.bridgeName()
	r := k.records[nt.NetworkBridge]
	address, err := k.chooseAddress(name, r.Bridge)
	if err != nil {
		return err
	}
	if address != r.Bridge {
		r.Bridge = address
		if err := table.Put(nt.NetworkBridge, r); err != nil {
			return fmt.Errorf("record network bridge: %w", err)
		}
		k.records[nt.NetworkBridge] = r
	}
	k.gateway = address.Addr()
	if k.subnet, err = ipam.NewSubnet(address, k.gateway); err != nil {
		return err
	}
	if k.device, err = bridge.Ensure(name, address, k.mtu); err != nil {
		return err
	}
	if err := k.findVeths(); err != nil {
		return err
	}
	k.table, err = nft.Open(k.cfg.tableName(), []nft.Bridge{{Name: name, Subnet: address.Masked(), Masquerade: true}})
	if err != nil {
		return err
	}
	if k.watch, err = nft.NewWatch(k.tableGone); err != nil {
		k.table.Close()
		return err
	}
	k.ports = newPorts(reservePort)
	k.warm = newPool(k.log, k.warmSize(), k.makeOnBridge, k.drop)
	return nil
}

// chooseAddress decides the bridge's address: as configured, else as last time where the host routes nothing there
// since, else from the pools.
func (k *Keeper) chooseAddress(name string, last netip.Prefix) (netip.Prefix, error) {
	taken, err := bridge.Taken(name)
	if err != nil {
		return netip.Prefix{}, err
	}
	if k.cfg.BIP.IsValid() {
		if !k.cfg.BIP.Addr().Is4() || k.cfg.BIP.Bits() > 30 || k.cfg.BIP.Addr() == k.cfg.BIP.Masked().Addr() {
			return netip.Prefix{}, fmt.Errorf("bridge address %s: want an IPv4 address with its prefix length, such as 10.20.0.1/24: %w", k.cfg.BIP, errdefs.ErrInvalidArgument)
		}
		if other, clash := ipam.Overlap(k.cfg.BIP, taken); clash {
			return netip.Prefix{}, fmt.Errorf("bridge address %s overlaps the host's route to %s: %w", k.cfg.BIP, other, errdefs.ErrConflict)
		}
		return k.cfg.BIP, nil
	}
	// Containers that kept running hold on to the bridge as it is.
	for _, known := range []netip.Prefix{bridge.Address(name), last} {
		if _, clash := ipam.Overlap(known, taken); known.IsValid() && !clash {
			return known, nil
		}
	}
	pools := ipam.Defaults()
	if k.cfg.Pools != nil {
		pools = nil
		for _, p := range k.cfg.Pools {
			pools = append(pools, ipam.Pool(p))
		}
	}
	subnet, err := ipam.Choose(pools, taken)
	if err != nil {
		return netip.Prefix{}, err
	}
	return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits()), nil
}

// findVeths notes the devices that an earlier engine left on the bridge and keeps their addresses from being given away.
func (k *Keeper) findVeths() error {
	names, err := k.device.Ports(k.cfg.vethPrefix())
	if err != nil {
		return err
	}
	for _, name := range names {
		address, ok := addressOfVeth(name)
		if ok && k.subnet.Take(address) == nil {
			k.found[name] = address
		}
	}
	return nil
}

func (k *Keeper) vethName(a netip.Addr) string {
	b := a.As4()
	return k.cfg.vethPrefix() + hex.EncodeToString(b[:])
}

func addressOfVeth(name string) (netip.Addr, bool) {
	b, err := hex.DecodeString(name[max(0, len(name)-8):])
	if err != nil || len(b) != 4 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom4([4]byte(b)), true
}

// tableGone is called when a table was deleted: a reload of the host's firewall may have taken ours with it.
func (k *Keeper) tableGone() {
	if k.table.Present() {
		return
	}
	if err := k.table.Restore(); err != nil {
		k.log.Error("put back the firewall table", "table", k.cfg.tableName(), "err", err)
		return
	}
	k.log.Warn("the firewall table had been removed and was put back", "table", k.cfg.tableName())
}

// makeOnBridge makes a namespace with an address and a device on the default bridge.
func (k *Keeper) makeOnBridge() (*ready, error) {
	address, err := k.subnet.Next()
	if err != nil {
		return nil, err
	}
	ns, err := bridge.NewNamespace()
	if err != nil {
		k.subnet.Free(address)
		return nil, err
	}
	port := bridge.Port{
		Name: k.vethName(address), MTU: k.mtu, Address: netip.PrefixFrom(address, k.subnet.Prefix().Bits()),
		MAC: ipam.MAC(address), Gateway: k.gateway,
	}
	if err := k.device.Attach(ns, port); err != nil {
		ns.Close()
		k.subnet.Free(address)
		return nil, err
	}
	return &ready{ns: ns, port: port}, nil
}

func (k *Keeper) makeBare() (*ready, error) {
	ns, err := bridge.NewNamespace()
	if err != nil {
		return nil, err
	}
	return &ready{ns: ns}, nil
}

// drop lets go of a namespace that no container got.
func (k *Keeper) drop(r *ready) {
	r.ns.Close()
	if r.port.Name != "" {
		k.graves.add(grave{veth: r.port.Name, address: r.port.Address.Addr()})
	}
}

// buried gives back the address of a device that is gone from the host.
func (k *Keeper) buried(address netip.Addr) { k.subnet.Free(address) }

// Close stops making namespaces. Containers keep their network; without any, the bridge and the table are removed.
func (k *Keeper) Close() error {
	k.bare.close()
	if k.table == nil {
		k.graves.close()
		return nil
	}
	k.warm.close()
	k.graves.close()
	k.watch.Close()
	k.ports.close()
	err := k.table.Close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.members) == 0 && len(k.found) == 0 {
		err = errors.Join(err, nft.Remove(k.cfg.tableName()), bridge.Remove(k.device.Name))
	}
	return err
}

// HostGateway is what the name host-gateway stands for in extra hosts: the host as its containers see it.
func (k *Keeper) HostGateway() netip.Addr {
	if k.cfg.HostGateway.IsValid() {
		return k.cfg.HostGateway
	}
	return k.gateway
}

// newID is a random identifier of 64 hexadecimal digits.
func newID() string {
	b := make([]byte, 32)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// Create makes a user's network.
func (k *Keeper) Create(ctx context.Context, req nt.CreateRequest) (nt.CreateResponse, error) {
	if strings.TrimSpace(req.Name) == "" {
		return nt.CreateResponse{}, errdefs.ErrInvalidArgument.WithMessage("invalid network name: name is empty")
	}
	if _, err := k.find(req.Name); err == nil {
		return nt.CreateResponse{}, errdefs.ErrConflict.WithMessage("network with name " + req.Name + " already exists")
	}
	return nt.CreateResponse{}, errdefs.ErrNotImplemented.WithMessage("user-defined networks are not implemented by this engine")
}
