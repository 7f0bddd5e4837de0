package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/engine"
	"github.com/cove-containers/cove/image"
	"github.com/cove-containers/cove/network"
	"github.com/cove-containers/cove/runtime"
)

// reload reads the file again, on SIGHUP, below the same arguments. What can change in a running daemon does, for what begins from
// then on; the rest counts from the next start on. Where anything in it is wrong nothing changes.
func (d *daemon) reload(args []string, level *slog.LevelVar, log *slog.Logger) error {
	fresh, err := readSettings(args)
	if err != nil {
		return err
	}
	allowed, err := network.ParseRanges(strings.Join(fresh.publishAllow, ","))
	if err != nil {
		return err
	}
	next, err := engineConfig(fresh)
	if err != nil {
		return err
	}
	if err := d.registries.Configure(fresh.insecure, fresh.mirrors); err != nil {
		return err
	}
	if err := d.networks.Allow(allowed); err != nil { // the kernel's refusal: what the file says is right
		return err
	}
	level.Set(fresh.level.Level())
	d.images.Limit(cmp.Or(fresh.downloads, image.Downloads), cmp.Or(fresh.uploads, image.Uploads), cmp.Or(fresh.attempts, image.Attempts))
	told := fresh.told()
	log.Info("reload the configuration", "file", fresh.configFile, "settings", told)
	d.engine.Reload(func(c *engine.Config) {
		c.Labels, c.Debug = next.Labels, next.Debug
		c.Runtimes, c.DefaultRuntime = next.Runtimes, next.DefaultRuntime
		c.ShmSize, c.IpcMode, c.CgroupnsMode = next.ShmSize, next.IpcMode, next.CgroupnsMode
		c.InsecureRegistries, c.Mirrors = next.InsecureRegistries, next.Mirrors
	}, told)
	return nil
}

// told are the settings that the event of a reload has, in dockerd's words.
func (s *settings) told() map[string]string {
	list := func(all []string) string {
		raw, _ := json.Marshal(append([]string{}, all...)) // texts can be written
		return string(raw)
	}
	passed := map[string]*passed{}
	for _, p := range s.passed {
		passed[p.name] = p
	}
	paths, _ := s.runtimePaths() // it was checked when the settings were read
	var runtimes []string
	for _, name := range slices.Sorted(maps.Keys(paths)) {
		runtimes = append(runtimes, name+":"+paths[name])
	}
	size, _ := s.shmBytes()
	return map[string]string{
		"debug":                            strconv.FormatBool(s.debug),
		"labels":                           list(s.labels),
		"features":                         fmt.Sprint(features(passed["feature"].given)),
		"allow-nondistributable-artifacts": list(passed["allow-nondistributable-artifacts"].given),
		"insecure-registries":              list(s.insecure),
		"registry-mirrors":                 list(s.mirrors),
		"max-concurrent-downloads":         strconv.Itoa(cmp.Or(s.downloads, image.Downloads)),
		"max-concurrent-uploads":           strconv.Itoa(cmp.Or(s.uploads, image.Uploads)),
		"max-download-attempts":            strconv.Itoa(cmp.Or(s.attempts, image.Attempts)),
		"shutdown-timeout":                 passed["shutdown-timeout"].String(),
		"live-restore":                     "true",
		"runtimes":                         strings.Join(runtimes, " "),
		"default-runtime":                  cmp.Or(s.defaultRuntime, engine.OwnRuntime),
		"default-shm-size":                 strconv.FormatInt(size, 10),
		"default-ipc-mode":                 cmp.Or(s.ipcMode, string(ct.IPCModePrivate)),
		"default-cgroupns-mode":            cmp.Or(s.cgroupnsMode, string(usualCgroupns(runtime.UnifiedCgroups()))),
	}
}

// features are those that were given, by name.
func features(given []string) map[string]string {
	out := map[string]string{}
	for _, text := range given {
		name, value, _ := strings.Cut(text, "=")
		out[name] = cmp.Or(value, "true")
	}
	return out
}

// surround gives the daemon what it does by its process: the proxies that it asks others through, and how likely the kernel is to kill it
// when there is no memory.
func (s *settings) surround(log *slog.Logger) error {
	for name, value := range map[string]string{"HTTP_PROXY": s.httpProxy, "HTTPS_PROXY": s.httpsProxy, "NO_PROXY": s.noProxy} {
		if value == "" {
			continue
		}
		for _, variable := range []string{name, strings.ToLower(name)} {
			if old := os.Getenv(variable); old != "" && old != value {
				log.Warn("the configured proxy counts, not that of the environment", "variable", variable, "old", masked(old), "new", masked(value))
			}
			if err := os.Setenv(variable, value); err != nil {
				return err
			}
		}
	}
	if s.oomScore == 0 {
		return nil
	}
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(strconv.Itoa(s.oomScore)), 0); err != nil {
		return fmt.Errorf("--oom-score-adjust: %w", err)
	}
	return nil
}
