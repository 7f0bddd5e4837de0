package commandline

import (
	"bytes"
	"encoding/csv"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/network"
)

// networks are the networks the container is on, with the names and addresses it asked for there.
func (w *writer) networks() {
	c, h := w.config, w.host
	if !w.ownName() {
		w.option("--hostname", c.Hostname)
	}
	w.option("--domainname", c.Domainname)
	mode := string(h.NetworkMode)
	var endpoints map[string]*network.EndpointSettings
	if w.container.NetworkSettings != nil {
		endpoints = w.container.NetworkSettings.Networks
	}
	plain := h.NetworkMode.IsDefault() || h.NetworkMode.IsBridge()
	names := []string{}
	for _, name := range slices.Sorted(maps.Keys(endpoints)) {
		if name != mode && !(plain && name == network.NetworkBridge) {
			names = append(names, name)
		}
	}
	switch {
	case plain:
		w.network(network.NetworkBridge, endpoints[network.NetworkBridge], len(names) == 0)
	case mode != "":
		w.network(mode, endpoints[mode], false)
	}
	for _, name := range names {
		w.network(name, endpoints[name], false)
	}
	for _, link := range h.Links { // "other:alias", or as dockerd has it "/other:/this/alias"
		other, alias, _ := strings.Cut(strings.TrimPrefix(link, "/"), ":")
		if alias = alias[strings.LastIndexByte(alias, '/')+1:]; alias != "" {
			other += ":" + alias
		}
		w.option("--link", other)
	}
	w.options("--dns", texts(h.DNS)...)
	w.options("--dns-option", h.DNSOptions...)
	w.options("--dns-search", h.DNSSearch...)
	w.options("--add-host", h.ExtraHosts...)
}

// network adds one network: by its name where that says all, else with a field for each wish. silent leaves out a
// network that is there anyway.
func (w *writer) network(name string, e *network.EndpointSettings, silent bool) {
	fields := []string{"name=" + name}
	if e != nil {
		for _, alias := range e.Aliases {
			fields = append(fields, "alias="+alias)
		}
		if ipam := e.IPAMConfig; ipam != nil {
			if ipam.IPv4Address.IsValid() {
				fields = append(fields, "ip="+ipam.IPv4Address.String())
			}
			if ipam.IPv6Address.IsValid() {
				fields = append(fields, "ip6="+ipam.IPv6Address.String())
			}
			for _, ip := range ipam.LinkLocalIPs {
				fields = append(fields, "link-local-ip="+ip.String())
			}
		}
		if len(e.MacAddress) > 0 && !isRunning(w.container) {
			fields = append(fields, "mac-address="+e.MacAddress.String())
		}
		for _, key := range sorted(e.DriverOpts) {
			fields = append(fields, "driver-opt="+key+"="+e.DriverOpts[key])
		}
		if e.GwPriority != 0 {
			fields = append(fields, "gw-priority="+strconv.Itoa(e.GwPriority))
		}
	}
	switch {
	case len(fields) > 1:
		w.option("--network", record(fields))
	case !silent:
		w.option("--network", name)
	}
	if e != nil && len(w.host.Links) == 0 {
		w.options("--link", e.Links...)
	}
}

// ports are those that are published, and those that are only exposed.
func (w *writer) ports() {
	byPort := func(a, b network.Port) int {
		if a.Num() != b.Num() {
			return int(a.Num()) - int(b.Num())
		}
		return strings.Compare(a.String(), b.String())
	}
	for _, port := range slices.SortedFunc(maps.Keys(w.host.PortBindings), byPort) {
		inside := strings.TrimSuffix(port.String(), "/tcp")
		bindings := w.host.PortBindings[port]
		if len(bindings) == 0 {
			bindings = []network.PortBinding{{}}
		}
		for _, b := range bindings {
			address := ""
			if b.HostIP.IsValid() {
				address = b.HostIP.String()
				if b.HostIP.Is6() {
					address = "[" + address + "]"
				}
			}
			switch {
			case address != "":
				w.option("-p", address+":"+b.HostPort+":"+inside)
			case b.HostPort != "":
				w.option("-p", b.HostPort+":"+inside)
			default:
				w.option("-p", inside)
			}
		}
	}
	w.flag("--publish-all", w.host.PublishAllPorts)
	for _, port := range slices.SortedFunc(maps.Keys(w.config.ExposedPorts), byPort) {
		_, published := w.host.PortBindings[port]
		if _, image := w.from.ports[port.String()]; !published && !image {
			w.option("--expose", strings.TrimSuffix(port.String(), "/tcp"))
		}
	}
}

func texts(addresses []netip.Addr) []string {
	var out []string
	for _, a := range addresses {
		out = append(out, a.String())
	}
	return out
}

// record writes fields as one line of comma-separated values, as options with several fields take them.
func record(fields []string) string {
	var b bytes.Buffer
	c := csv.NewWriter(&b)
	_ = c.Write(fields) // into memory
	c.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
