package spec

import (
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

// defaultCapabilities is Docker's default set.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID",
	"CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

func capabilities(s Settings, doc *specs.Spec) error {
	caps, err := Capabilities(s.HostConfig.CapAdd, s.HostConfig.CapDrop, s.HostConfig.Privileged)
	if err != nil {
		return err
	}
	doc.Process.Capabilities = &specs.LinuxCapabilities{Bounding: caps, Effective: caps, Permitted: caps}
	return nil
}

// Capabilities is the set a container gets: the defaults with add and drop applied ("ALL" is every capability
// the kernel and the engine itself have), or everything when privileged. Names go with or without "CAP_", in any case.
func Capabilities(add, drop []string, privileged bool) ([]string, error) {
	all := sys.Capabilities()
	if privileged {
		return all, nil
	}
	add, err := normalise("CapAdd", add, all)
	if err != nil {
		return nil, err
	}
	drop, err = normalise("CapDrop", drop, all)
	if err != nil {
		return nil, err
	}
	given := func(c string) bool {
		switch {
		case slices.Contains(add, "ALL"):
			return !slices.Contains(drop, c)
		case slices.Contains(drop, "ALL"):
			return slices.Contains(add, c)
		default:
			return slices.Contains(add, c) || (slices.Contains(defaultCapabilities, c) && !slices.Contains(drop, c))
		}
	}
	var out []string
	for _, c := range all {
		if given(c) {
			out = append(out, c)
		}
	}
	return out, nil
}

func normalise(field string, names, all []string) ([]string, error) {
	var out []string
	for _, n := range names {
		c := strings.ToUpper(n)
		if c != "ALL" && !strings.HasPrefix(c, "CAP_") {
			c = "CAP_" + c
		}
		if c != "ALL" && !slices.Contains(all, c) {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid %s: unknown capability: %q", field, c))
		}
		out = append(out, c)
	}
	return out, nil
}
