package format

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/moby/moby/api/types/system"
)

// line prints "name: value" unless there is nothing to say.
func line(w io.Writer, name, value string) {
	if value != "" {
		fmt.Fprintln(w, " "+name+":", value)
	}
}

// ServerInfo spells out what a daemon says of itself and its host.
func ServerInfo(w io.Writer, i *system.Info) {
	fmt.Fprintf(w, " Containers: %d\n  Running: %d\n  Paused: %d\n  Stopped: %d\n Images: %d\n",
		i.Containers, i.ContainersRunning, i.ContainersPaused, i.ContainersStopped, i.Images)
	line(w, "Server Version", i.ServerVersion)
	line(w, "Storage Driver", i.Driver)
	for _, pair := range i.DriverStatus {
		fmt.Fprintf(w, "  %s: %s\n", pair[0], pair[1])
	}
	line(w, "Logging Driver", i.LoggingDriver)
	line(w, "Cgroup Driver", i.CgroupDriver)
	line(w, "Cgroup Version", i.CgroupVersion)
	fmt.Fprintln(w, " Plugins:")
	fmt.Fprintln(w, "  Volume:", strings.Join(i.Plugins.Volume, " "))
	fmt.Fprintln(w, "  Network:", strings.Join(i.Plugins.Network, " "))
	if len(i.Plugins.Authorization) > 0 {
		fmt.Fprintln(w, "  Authorization:", strings.Join(i.Plugins.Authorization, " "))
	}
	fmt.Fprintln(w, "  Log:", strings.Join(i.Plugins.Log, " "))
	if len(i.CDISpecDirs) > 0 {
		fmt.Fprintln(w, " CDI spec directories:")
		for _, dir := range i.CDISpecDirs {
			fmt.Fprintf(w, "  %s\n", dir)
		}
	}
	if len(i.DiscoveredDevices) > 0 {
		fmt.Fprintln(w, " Discovered Devices:")
		for _, d := range i.DiscoveredDevices {
			fmt.Fprintf(w, "  %s: %s\n", d.Source, d.ID)
		}
	}
	fmt.Fprintln(w, " Swarm:", i.Swarm.LocalNodeState)
	if len(i.Runtimes) > 0 {
		fmt.Fprintln(w, " Runtimes:", strings.Join(slices.Sorted(maps.Keys(i.Runtimes)), " "))
		fmt.Fprintln(w, " Default Runtime:", i.DefaultRuntime)
	}
	if i.OSType == "linux" {
		fmt.Fprintf(w, " Init Binary: %s\n containerd version: %s\n runc version: %s\n init version: %s\n",
			i.InitBinary, i.ContainerdCommit.ID, i.RuncCommit.ID, i.InitCommit.ID)
		securityInfo(w, i.SecurityOptions)
	}
	hostInfo(w, i)
}

func securityInfo(w io.Writer, options []string) {
	if len(options) == 0 {
		return
	}
	fmt.Fprintln(w, " Security Options:")
	for _, opt := range options {
		for _, pair := range strings.Split(opt, ",") {
			switch key, val, _ := strings.Cut(pair, "="); key {
			case "name":
				fmt.Fprintln(w, "  "+val)
			case "profile":
				fmt.Fprintln(w, "   Profile:", val)
			}
		}
	}
}

func hostInfo(w io.Writer, i *system.Info) {
	line(w, "Kernel Version", i.KernelVersion)
	line(w, "Operating System", i.OperatingSystem)
	line(w, "OSType", i.OSType)
	line(w, "Architecture", i.Architecture)
	fmt.Fprintln(w, " CPUs:", i.NCPU)
	fmt.Fprintln(w, " Total Memory:", BinarySize(float64(i.MemTotal)))
	line(w, "Name", i.Name)
	line(w, "ID", i.ID)
	fmt.Fprintln(w, " Docker Root Dir:", i.DockerRootDir)
	fmt.Fprintln(w, " Debug Mode:", i.Debug)
	if i.Debug {
		fmt.Fprintf(w, "  File Descriptors: %d\n  Goroutines: %d\n  System Time: %s\n  EventsListeners: %d\n", i.NFd, i.NGoroutines, i.SystemTime, i.NEventsListener)
	}
	line(w, "HTTP Proxy", i.HTTPProxy)
	line(w, "HTTPS Proxy", i.HTTPSProxy)
	line(w, "No Proxy", i.NoProxy)
	if len(i.Labels) > 0 {
		fmt.Fprintln(w, " Labels:")
		for _, label := range i.Labels {
			fmt.Fprintln(w, "  "+label)
		}
	}
	fmt.Fprintln(w, " Experimental:", i.ExperimentalBuild)
	registryInfo(w, i)
	fmt.Fprintln(w, " Live Restore Enabled:", i.LiveRestoreEnabled)
	if i.ProductLicense != "" {
		fmt.Fprintln(w, " Product License:", i.ProductLicense)
	}
	if len(i.DefaultAddressPools) > 0 {
		fmt.Fprintln(w, " Default Address Pools:")
		for _, pool := range i.DefaultAddressPools {
			fmt.Fprintf(w, "   Base: %s, Size: %d\n", pool.Base, pool.Size)
		}
	}
	if i.FirewallBackend != nil {
		fmt.Fprintln(w, " Firewall Backend:", i.FirewallBackend.Driver)
		for _, pair := range i.FirewallBackend.Info {
			fmt.Fprintf(w, "  %s: %s\n", pair[0], pair[1])
		}
	}
	fmt.Fprintln(w)
}

func registryInfo(w io.Writer, i *system.Info) {
	r := i.RegistryConfig
	if r == nil {
		return
	}
	if len(r.InsecureRegistryCIDRs) > 0 || len(r.IndexConfigs) > 0 {
		fmt.Fprintln(w, " Insecure Registries:")
		for _, name := range slices.Sorted(maps.Keys(r.IndexConfigs)) {
			if index := r.IndexConfigs[name]; !index.Secure {
				fmt.Fprintln(w, "  "+index.Name)
			}
		}
		for _, cidr := range r.InsecureRegistryCIDRs {
			fmt.Fprintf(w, "  %s\n", cidr)
		}
	}
	if len(r.Mirrors) > 0 {
		fmt.Fprintln(w, " Registry Mirrors:")
		for _, mirror := range r.Mirrors {
			fmt.Fprintln(w, "  "+mirror)
		}
	}
}
