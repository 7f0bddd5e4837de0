package runtime

import "github.com/opencontainers/runtime-spec/specs-go"

// guardDevices completes the device rules of a document the way other runtimes do: what no rule names is denied, and
// the devices every container has are allowed, whatever the document says.
func guardDevices(linux *specs.Linux) {
	if linux.Resources == nil {
		linux.Resources = &specs.LinuxResources{}
	}
	rules := append([]specs.LinuxDeviceCgroup{{Allow: false, Access: "rwm"}}, linux.Resources.Devices...)
	for _, kind := range []string{"c", "b"} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: kind, Access: "m"})
	}
	// null, zero, full, random, urandom, tty, ptmx
	for _, n := range [][2]int64{{1, 3}, {1, 5}, {1, 7}, {1, 8}, {1, 9}, {5, 0}, {5, 2}} {
		rules = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &n[0], Minor: &n[1], Access: "rwm"})
	}
	terminals := int64(136)
	linux.Resources.Devices = append(rules, specs.LinuxDeviceCgroup{Allow: true, Type: "c", Major: &terminals, Access: "rwm"})
}
