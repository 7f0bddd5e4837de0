package build

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/cli/command"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/solver/pb"
	spb "github.com/moby/buildkit/sourcepolicy/pb"
	"github.com/moby/buildkit/util/entitlements"
	"google.golang.org/protobuf/encoding/protojson"
)

// hostGateway is the label of a worker that tells the address by which what it runs reaches the host.
const hostGateway = "org.mobyproject.buildkit.worker.moby.host-gateway-ip"

// frontend fills the attributes by which the Dockerfile front end is told what is asked for.
func (o *options) frontend(a *command.App, host string, opt *client.SolveOpt) error {
	attrs := opt.FrontendAttrs
	set := func(key, val string) {
		if val != "" {
			attrs[key] = val
		}
	}
	number := func(key string, n int64) {
		if n != 0 {
			attrs[key] = strconv.FormatInt(n, 10)
		}
	}
	platforms, err := parsePlatforms(o.platforms)
	if err != nil {
		return err
	}
	attests, err := o.parseAttests()
	if err != nil {
		return err
	}
	for key, val := range attests {
		set(key, val)
	}
	set("platform", platforms)
	set("target", o.target)
	set("cgroup-parent", o.cgroupParent)
	set("ulimit", strings.Join(o.ulimits, ","))
	set("no-cache", strings.Join(o.noCacheFilter, ","))
	set("run:cpuset-cpus", o.cpusetCPUs)
	set("run:cpuset-mems", o.cpusetMems)
	number("shm-size", o.shmSize)
	number("run:memory", o.memory)
	number("run:memory-swap", o.memorySwap)
	number("run:cpu-shares", o.cpuShares)
	number("run:cpu-period", o.cpuPeriod)
	number("run:cpu-quota", o.cpuQuota)
	if o.noCache {
		attrs["no-cache"] = ""
	}
	attrs["image-resolve-mode"] = pb.AttrImageResolveModePreferLocal
	if o.pull {
		attrs["image-resolve-mode"] = pb.AttrImageResolveModeForcePull
	}
	if err := o.arguments(a, host, attrs); err != nil {
		return err
	}
	return o.permissions(opt)
}

// arguments adds build arguments, which proxies of the configuration are too, and labels.
func (o *options) arguments(a *command.App, host string, attrs map[string]string) error {
	args, err := pairs(o.buildArgs, true)
	if err != nil {
		return err
	}
	for _, env := range a.ConfigFile().ProxyEnv(host, o.buildArgs) {
		key, val, _ := strings.Cut(env, "=")
		attrs["build-arg:"+key] = val
	}
	for key, val := range args {
		attrs["build-arg:"+key] = val
	}
	if isTrue(args["BUILDKIT_MULTI_PLATFORM"]) {
		attrs["multi-platform"] = "true"
	}
	labels, err := pairs(o.labels, false)
	for key, val := range labels {
		attrs["label:"+key] = val
	}
	return err
}

// permissions are what the user lets the build do that others may not: the network of RUN, and entitlements.
func (o *options) permissions(opt *client.SolveOpt) error {
	for _, right := range o.allow {
		if right == "" {
			continue
		}
		if _, _, err := entitlements.Parse(right); err != nil {
			return err
		}
		opt.AllowedEntitlements = append(opt.AllowedEntitlements, right)
	}
	switch o.network {
	case "", "default":
	case "none":
		opt.FrontendAttrs["force-network-mode"] = "none"
	case "host":
		opt.FrontendAttrs["force-network-mode"] = "host"
		if host := entitlements.EntitlementNetworkHost.String(); !slices.Contains(opt.AllowedEntitlements, host) {
			opt.AllowedEntitlements = append(opt.AllowedEntitlements, host)
		}
	default:
		opt.FrontendAttrs["run:network"] = o.network
	}
	return nil
}

// addHosts is what --add-host means to BuildKit. Only "host-gateway" has the daemon asked.
func (o *options) addHosts(ctx context.Context, daemon *client.Client) (string, error) {
	var out []string
	for _, h := range o.hosts {
		name, ip, ok := strings.Cut(h, "=")
		if !ok {
			name, ip, ok = strings.Cut(h, ":")
		}
		if !ok || name == "" || ip == "" {
			return "", fmt.Errorf("invalid host %s", h)
		}
		if ip == "host-gateway" {
			var err error
			if ip, err = gatewayAddress(ctx, daemon); err != nil {
				return "", fmt.Errorf("unable to derive the IP value for host-gateway: %w", err)
			}
		} else if len(ip) > 2 && ip[0] == '[' && ip[len(ip)-1] == ']' {
			ip = ip[1 : len(ip)-1]
		}
		if net.ParseIP(ip) == nil {
			return "", fmt.Errorf("invalid host %s", h)
		}
		out = append(out, name+"="+ip)
	}
	return strings.Join(out, ","), nil
}

func gatewayAddress(ctx context.Context, daemon *client.Client) (string, error) {
	workers, err := daemon.ListWorkers(ctx)
	if err != nil {
		return "", err
	}
	for _, w := range workers {
		if ip := w.Labels[hostGateway]; ip != "" {
			return ip, nil
		}
	}
	return "", errors.New("the daemon does not tell it")
}

// caches sets where the cache is taken from and where to. The build argument for a cache inside the image is an older way
// to ask for that.
func (o *options) caches(opt *client.SolveOpt) (err error) {
	if opt.CacheImports, err = parseCaches(o.cacheFrom); err != nil {
		return err
	}
	if opt.CacheExports, err = parseCaches(o.cacheTo); err != nil {
		return err
	}
	if isTrue(opt.FrontendAttrs["build-arg:BUILDKIT_INLINE_CACHE"]) {
		opt.CacheExports = append(opt.CacheExports, client.CacheOptionsEntry{Type: "inline", Attrs: map[string]string{}})
	}
	return nil
}

// sourcePolicy reads the rules for sources that EXPERIMENTAL_BUILDKIT_SOURCE_POLICY names, nil when it names none.
func sourcePolicy() (*spb.Policy, error) {
	path := os.Getenv("EXPERIMENTAL_BUILDKIT_SOURCE_POLICY")
	if path == "" {
		return nil, nil
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("failed to read policy file: %w", err)
	}
	var policy spb.Policy
	if err := protojson.Unmarshal(raw, &policy); err != nil {
		return nil, fmt.Errorf("failed to parse policy %s: %w", path, err)
	}
	return &policy, nil
}
