package etc

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/network"
)

// link is another container on the default network that one is linked to.
type link struct {
	alias   string
	other   *container.Container
	address netip.Addr
}

// names are those by which the container finds the other.
func (l link) names() []string { return []string{l.alias, l.other.ShortID(), l.other.Name} }

// links are those of a container. At start the others must run. On a user's network links are a matter of the name server.
func (s Settings) links(c *container.Container, starting bool) ([]link, error) {
	if c.HostConfig.NetworkMode.IsUserDefined() {
		return nil, nil
	}
	var all []link
	for _, text := range c.HostConfig.Links {
		ref, alias := splitLink(text)
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

// splitLink reads "container:alias", or "/container:/this/alias" as dockerd has it.
func splitLink(text string) (ref, alias string) {
	ref, alias, aliased := strings.Cut(text, ":")
	if ref = strings.TrimPrefix(ref, "/"); !aliased {
		alias = ref
	}
	return ref, alias[strings.LastIndexByte(alias, '/')+1:]
}

// Linked are the lines of /etc/hosts for --link: the alias, ID and name of each other container with its address.
func (s Settings) Linked(c *container.Container, starting bool) ([]string, error) {
	all, err := s.links(c, starting)
	var lines []string
	for _, l := range all {
		for _, name := range l.names() {
			lines = append(lines, name+":"+l.address.String())
		}
	}
	return lines, err
}

// Kin are those that the container is linked to, with the ports that they expose.
func (s Settings) Kin(c *container.Container) (all []network.Linked) {
	if c.HostConfig.NetworkMode.IsUserDefined() {
		return nil
	}
	for _, text := range c.HostConfig.Links {
		ref, _ := splitLink(text)
		if other, err := s.Containers.Get(ref); err == nil {
			all = append(all, network.Linked{ID: other.ID, Ports: slices.Collect(maps.Keys(other.Config.ExposedPorts))})
		}
	}
	return all
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

// Relink tells containers that run, and are linked to c on the default network, where it is now: where it has another address than
// when they started, their lines of /etc/hosts for it get that.
func (s Settings) Relink(c *container.Container) error {
	endpoint := c.Networks[nt.NetworkBridge]
	if endpoint == nil || !endpoint.IPAddress.IsValid() {
		return nil
	}
	s.Amending.Lock()
	defer s.Amending.Unlock()
	var errs []error
	for _, p := range s.Containers.List() {
		if !p.State.Alive() || p.HostConfig.NetworkMode.IsUserDefined() || p.Networks[nt.NetworkBridge] == nil {
			continue
		}
		var names []string
		for _, text := range p.HostConfig.Links {
			ref, alias := splitLink(text)
			if other, err := s.Containers.Get(ref); err == nil && other.ID == c.ID {
				names = append(names, link{alias: alias, other: c}.names()...)
			}
		}
		if len(names) == 0 {
			continue
		}
		path := s.Paths(p).Hosts
		text, err := os.ReadFile(path)
		if err == nil {
			err = overwrite(path, text, MoveHosts(text, names, endpoint.IPAddress, p.HostConfig.ExtraHosts))
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
