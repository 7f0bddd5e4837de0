package etc

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
)

// link is another container on the default network that one is linked to.
type link struct {
	alias   string
	other   *container.Container
	address netip.Addr
}

// links are those of a container. At start the others must run. On a user's network links are a matter of the name server.
func (s Settings) links(c *container.Container, starting bool) ([]link, error) {
	if c.HostConfig.NetworkMode.IsUserDefined() {
		return nil, nil
	}
	var all []link
	for _, text := range c.HostConfig.Links {
		ref, alias, aliased := strings.Cut(text, ":")
		if ref = strings.TrimPrefix(ref, "/"); !aliased {
			alias = ref
		}
		alias = alias[strings.LastIndexByte(alias, '/')+1:] // as dockerd has it: "/other:/this/alias"
		other, err := s.Containers.Get(ref)
		switch {
		case err != nil:
			return nil, errdefs.ErrInvalidArgument.WithMessage("could not get container for " + ref + ": " + err.Error())
		case !starting:
			continue
		case !other.State.Alive():
			return nil, errdefs.ErrConflict.WithMessage("Cannot link to a non running container: /" + other.Name + " AS /" + c.Name + "/" + alias)
		}
		if endpoint := other.Networks[nt.NetworkBridge]; endpoint != nil && endpoint.IPAddress.IsValid() {
			all = append(all, link{alias, other, endpoint.IPAddress})
		}
	}
	return all, nil
}

// Linked are the lines of /etc/hosts for --link: the alias, ID and name of each other container with its address.
func (s Settings) Linked(c *container.Container, starting bool) ([]string, error) {
	all, err := s.links(c, starting)
	var lines []string
	for _, l := range all {
		for _, name := range []string{l.alias, l.other.ShortID(), l.other.Name} {
			lines = append(lines, name+":"+l.address.String())
		}
	}
	return lines, err
}

// LinkedEnv are the variables that tell a container of those it is linked to, by Docker's names: where their ports are, and
// what their own variables say. Others than are running are passed over.
func (s Settings) LinkedEnv(c *container.Container) []string {
	all, err := s.links(c, true)
	if err != nil {
		return nil // its start has failed by then, or it runs already
	}
	var env []string
	for _, l := range all {
		prefix := strings.ToUpper(strings.ReplaceAll(l.alias, "-", "_"))
		set := func(name, format string, args ...any) {
			env = append(env, prefix+name+"="+fmt.Sprintf(format, args...))
		}
		ports := slices.SortedFunc(maps.Keys(l.other.Config.ExposedPorts), func(a, b nt.Port) int {
			if a.Num() != b.Num() {
				return int(a.Num()) - int(b.Num())
			}
			return strings.Compare(string(a.Proto()), string(b.Proto()))
		})
		for i, p := range ports {
			at := fmt.Sprintf("%s://%s:%d", p.Proto(), l.address, p.Num())
			if i == 0 {
				set("_PORT", "%s", at)
			}
			port := fmt.Sprintf("_PORT_%d_%s", p.Num(), strings.ToUpper(string(p.Proto())))
			set(port, "%s", at)
			set(port+"_ADDR", "%s", l.address)
			set(port+"_PORT", "%d", p.Num())
			set(port+"_PROTO", "%s", p.Proto())
		}
		set("_NAME", "/%s/%s", c.Name, l.alias)
		for _, entry := range l.other.Config.Env {
			name, value, ok := strings.Cut(entry, "=")
			if ok && name != "HOME" && name != "PATH" {
				set("_ENV_"+name, "%s", value)
			}
		}
	}
	return env
}
