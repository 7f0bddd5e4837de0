// Package setup is how an instance's networks are set up: the daemon's settings of them, what its devices and tables are called, and
// how the default network is where they say so.
package setup

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strconv"

	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/network/ipam"
	"github.com/cove-containers/cove/network/nft"
	"github.com/cove-containers/cove/network/option"
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
	// BIP is the bridge's address and subnet, Range what containers get their addresses from; the zero values are the first
	// address of Range, and a subnet from Pools.
	BIP, Range netip.Prefix
	// IPv6 gives the default network IPv6, too, with BIP6 and Range6 in their places.
	IPv6         bool
	BIP6, Range6 netip.Prefix
	// Gateway is where containers of the default network send what is for others, in each family; the zero value is the bridge.
	Gateway ipam.Pair
	// Apart keeps the containers of the default network from talking to one another, Seen has their packets leave under their own
	// addresses.
	Apart, Seen bool
	// Pools are the ranges to pick from; those of a family that has none are Docker's.
	Pools []Pool
	// MTU of the containers' devices; 0 takes the host's.
	MTU int
	// HostIP is where ports are published from the default network that name no host address; the zero value is 0.0.0.0.
	HostIP netip.Addr
	// Defaults are options that networks have where who makes them says nothing else, by driver.
	Defaults map[string]map[string]string
	// PublishAllow are who may connect to published ports from outside; nil for everybody.
	PublishAllow []netip.Prefix
	// Direct lets published ports be reached from outside at the containers' own addresses, too.
	Direct bool
	// Marked are packets of others that are let into networks.
	Marked nft.Mark
	// NoForward leaves whether the host passes packets on as it is.
	NoForward bool
	// HostGateways are what "host-gateway" means in extra hosts, one of each family at most; nil for the bridge's addresses.
	HostGateways []netip.Addr
	// Warm is how many namespaces are kept ready; 0 for the default, negative for none.
	Warm int
	// Log takes what goes wrong where nobody waits for an answer; nil for slog.Default.
	Log *slog.Logger
}

// Disabled is the name of a bridge that is not wanted.
const Disabled = "none"

// BridgeName is the device of the default network.
func (c Config) BridgeName() string {
	if c.Bridge != "" {
		return c.Bridge
	}
	if c.Mark == "" {
		return "cove0"
	}
	if name := "cove" + c.Mark; len(name) <= 15 {
		return name
	}
	return "cove" + shortHash(c.Mark)
}

// TableName is the firewall table.
func (c Config) TableName() string {
	if c.Mark == "" {
		return "cove"
	}
	return "cove-" + c.Mark
}

// VethPrefix begins the names of the host's ends of this instance's devices.
func (c Config) VethPrefix() string { return "cv" + (c.Mark + "00000")[:5] }

// UserBridge is the device of a user's network that names none: "cb", five digits of the mark, eight of the ID.
func (c Config) UserBridge(id string) string { return "cb" + (c.Mark + "00000")[:5] + id[:8] }

// SpanName is the nth further bridge of a user's network, LinkName the device on the first that leads there: "cx" or
// "cl", five digits of the mark, five of the ID, two of the number.
func (c Config) SpanName(id string, n int) string {
	return fmt.Sprintf("cx%.5s%.5s%02x", c.Mark+"00000", id, n)
}

// LinkName is said with SpanName.
func (c Config) LinkName(id string, n int) string {
	return fmt.Sprintf("cl%.5s%.5s%02x", c.Mark+"00000", id, n)
}

// DummyName is the device of a network that is on a parent and names none: "cd", five digits of the mark, eight of the ID.
func (c Config) DummyName(id string) string { return "cd" + (c.Mark + "00000")[:5] + id[:8] }

// shortHash is for names that would be too long.
func shortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:5])
}

// WarmSize is how many namespaces are kept ready.
func (c Config) WarmSize() int {
	switch {
	case c.Warm < 0:
		return 0
	case c.Warm == 0:
		return 6
	}
	return c.Warm
}

// Complete gives a request the options that the driver's networks have by default.
func (c Config) Complete(req *nt.CreateRequest) {
	options := maps.Clone(c.Defaults[cmp.Or(req.Driver, "bridge")])
	if len(options) == 0 {
		return
	}
	maps.Copy(options, req.Options)
	req.Options = options
}

// CheckDefaults refuses options of networks that cannot be, by driver.
func CheckDefaults(all map[string]map[string]string) error {
	for driver, options := range all {
		if _, err := option.Read(driver, options); err != nil {
			return fmt.Errorf("default options of networks with the driver %s: %w", driver, err)
		}
	}
	return nil
}

// Options are those of a network: its own, or what the settings say of the default one.
func (c Config) Options(name string, own map[string]string) map[string]string {
	if name != nt.NetworkBridge {
		return own
	}
	return map[string]string{option.ICC: strconv.FormatBool(!c.Apart), option.Masquerade: strconv.FormatBool(!c.Seen)}
}

// Default is what is wanted of the default network in one family: the bridge's address, and the rest of what its user says. The zero values
// leave it to the engine.
func (c Config) Default(six bool) (bridge netip.Prefix, rest nt.IPAMConfig) {
	bridge, within, gateway, label := c.BIP, c.Range, c.Gateway.V4, "DefaultGatewayIPv4"
	if six {
		bridge, within, gateway, label = c.BIP6, c.Range6, c.Gateway.V6, "DefaultGatewayIPv6"
	}
	if within.IsValid() {
		if !bridge.IsValid() {
			bridge = netip.PrefixFrom(within.Masked().Addr().Next(), within.Bits())
		}
		if within = within.Masked(); within != bridge.Masked() {
			rest = nt.IPAMConfig{Subnet: bridge.Masked(), IPRange: within}
		}
	}
	if gateway.IsValid() {
		rest.AuxAddress = map[string]netip.Addr{label: gateway}
	}
	return bridge, rest
}
