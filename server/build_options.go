package server

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/moby/moby/api/types/registry"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/ref"
)

// buildOptions reads the parameters of a build.
func buildOptions(c *call) (api.BuildOptions, error) {
	q := c.query
	o := api.BuildOptions{
		BuildKit: q.get("version") == "2", ID: q.get("buildid"), Session: q.get("session"),
		Dockerfile: q.get("dockerfile"), Remote: q.get("remote"), Target: q.get("target"), Platform: q.get("platform"),
		NoCache: q.bool("nocache"), Pull: q.bool("pull"), Quiet: q.bool("q"), Squash: q.bool("squash"),
		Network: q.get("networkmode"), ExtraHosts: q["extrahosts"], CgroupParent: q.get("cgroupparent"),
		CPUSetCPUs: q.get("cpusetcpus"), CPUSetMems: q.get("cpusetmems"), Auth: registryConfig(c.Header.Get("X-Registry-Config")),
	}
	if version := q.get("version"); version != "" && version != "1" && version != "2" {
		return o, bad("invalid version " + version)
	}
	if len(q["securityopt"]) > 0 && q.get("securityopt") != "[]" && q.get("securityopt") != "null" {
		return o, bad("The daemon on linux does not support setting security options on build")
	}
	if isolation := q.get("isolation"); isolation != "" && isolation != "default" {
		return o, bad(fmt.Sprintf("Invalid isolation: %q", isolation))
	}
	for _, tag := range q["t"] {
		if tag == "" {
			continue
		}
		if _, err := ref.ParseTagged(tag); err != nil {
			return o, err
		}
		o.Tags = append(o.Tags, tag)
	}
	for name, to := range map[string]*int64{
		"memory": &o.Memory, "memswap": &o.MemorySwap, "cpushares": &o.CPUShares, "cpuperiod": &o.CPUPeriod,
		"cpuquota": &o.CPUQuota, "shmsize": &o.ShmSize,
	} {
		if err := q.int64(name, to); err != nil {
			return o, err
		}
	}
	for _, p := range []struct {
		name, what string
		to         any
	}{
		{"buildargs", "build args", &o.Args}, {"labels", "labels", &o.Labels}, {"cachefrom", "cache-from", &o.CacheFrom},
		{"ulimits", "ulimit settings", &o.Ulimits}, {"outputs", "outputs", &o.Outputs},
	} {
		if raw := q.get(p.name); raw != "" {
			if err := json.Unmarshal([]byte(raw), p.to); err != nil {
				return o, bad(fmt.Sprintf("error reading %s: %v", p.what, err))
			}
		}
	}
	for _, u := range o.Ulimits {
		if u == nil {
			return o, bad("error reading ulimit settings: one is missing")
		}
	}
	return o, nil
}

// int64 reads a number; one that is absent or empty leaves the value as it is.
func (q query) int64(name string, to *int64) error {
	raw := q.get(name)
	if raw == "" {
		return nil
	}
	n, err := strconv.ParseInt(raw, 10, 64)
	if err != nil {
		return bad(fmt.Sprintf("invalid value for %s: %v", name, err))
	}
	*to = n
	return nil
}

// registryConfig reads the header X-Registry-Config: credentials by registry, JSON in base64url. What cannot be read
// counts as nothing given, as with a single registry's.
func registryConfig(raw string) map[string]registry.AuthConfig {
	encoding := base64.RawURLEncoding
	if strings.ContainsAny(raw, "+/") {
		encoding = base64.RawStdEncoding
	}
	text, err := encoding.DecodeString(strings.TrimRight(raw, "="))
	var all map[string]registry.AuthConfig
	if err != nil || json.Unmarshal(text, &all) != nil {
		return nil
	}
	return all
}
