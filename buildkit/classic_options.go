package buildkit

import (
	"encoding/csv"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/ref"
)

// optionsOf puts the parameters of the classic call into the front end's words. Those that BuildKit knows no word for,
// the limits of RUN, begin with "run:".
func optionsOf(o api.BuildOptions) map[string]string {
	out := map[string]string{"image-resolve-mode": "default"}
	set := func(name, value string) {
		if value != "" {
			out[name] = value
		}
	}
	number := func(name string, value int64) {
		if value != 0 {
			out[name] = strconv.FormatInt(value, 10)
		}
	}
	if o.Dockerfile != "." {
		set("filename", o.Dockerfile)
	}
	set("target", o.Target)
	set("platform", o.Platform)
	set("cgroup-parent", o.CgroupParent)
	if o.NoCache {
		out["no-cache"] = ""
	}
	if o.Pull {
		out["image-resolve-mode"] = "pull"
	}
	for k, v := range o.Args {
		if v != nil {
			out["build-arg:"+k] = *v
		}
	}
	for k, v := range o.Labels {
		out["label:"+k] = v
	}
	switch o.Network {
	case "", "default", "bridge":
	case "host", "none":
		out["force-network-mode"] = o.Network
	default:
		out["run:network"] = o.Network
	}
	var limits []string
	for _, u := range o.Ulimits {
		limits = append(limits, fmt.Sprintf("%s=%d:%d", u.Name, u.Soft, u.Hard))
	}
	set("ulimit", strings.Join(limits, ","))
	number("shm-size", o.ShmSize)
	number("run:memory", o.Memory)
	number("run:memory-swap", o.MemorySwap)
	number("run:cpu-shares", o.CPUShares)
	number("run:cpu-period", o.CPUPeriod)
	number("run:cpu-quota", o.CPUQuota)
	set("run:cpuset-cpus", o.CPUSetCPUs)
	set("run:cpuset-mems", o.CPUSetMems)
	return out
}

// exportersOf says where the result goes: to the images, unless the client wants it elsewhere, or nowhere ("cacheonly").
func exportersOf(o api.BuildOptions) []build.Exporter {
	var out []build.Exporter
	for _, wish := range o.Outputs {
		if wish.Type != "cacheonly" {
			out = append(out, build.Exporter{Type: wish.Type, Attrs: wish.Attrs})
		}
	}
	if len(o.Outputs) == 0 {
		out = []build.Exporter{{Type: "moby"}}
	}
	for i := range out {
		if out[i].Type != "moby" && out[i].Type != "image" {
			continue
		}
		attrs := map[string]string{}
		for k, v := range out[i].Attrs {
			attrs[k] = v
		}
		var names []string
		for _, tag := range o.Tags {
			if name, err := ref.ParseTagged(tag); err == nil {
				names = append(names, name.String())
			}
		}
		if len(names) > 0 {
			attrs["name"] = strings.Join(names, ",")
		}
		if o.Squash {
			attrs["squash"] = "true"
		}
		if epoch := o.Args["SOURCE_DATE_EPOCH"]; epoch != nil && attrs["source-date-epoch"] == "" {
			attrs["source-date-epoch"] = *epoch
		}
		out[i].Attrs = attrs
	}
	return out
}

// gatewayLabel is where a worker says at which address its containers reach the host.
const gatewayLabel = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"

// hosts puts names for /etc/hosts into the front end's words: "name=address", with the host's own address for
// "host-gateway".
func (d *Door) hosts(wishes []string, options map[string]string) error {
	var fields []string
	for _, wish := range wishes {
		name, address, ok := strings.Cut(wish, "=")
		if !ok {
			name, address, ok = strings.Cut(wish, ":")
		}
		if !ok || name == "" {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("bad format for add-host: %q", wish))
		}
		address = strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
		if address == "host-gateway" {
			for _, w := range d.Builder.Workers() {
				address = w.Labels[gatewayLabel]
			}
		}
		if _, err := netip.ParseAddr(address); err != nil {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid IP address in add-host: %q", address))
		}
		fields = append(fields, name+"="+address)
	}
	if len(fields) == 0 {
		return nil
	}
	var line strings.Builder
	w := csv.NewWriter(&line)
	_ = w.Write(fields)
	w.Flush()
	options["add-hosts"] = strings.TrimSuffix(line.String(), "\n")
	return nil
}
