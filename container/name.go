package container

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"
)

// Reserve takes name for the container id, or fails with errdefs.ErrConflict naming the container that has it.
// An empty name takes a free one of two words. The name is given back by Release or by Delete.
func (s *Store) Reserve(id, name string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name == "" {
		name = s.inventName(id)
		s.names[name] = id
		return name, nil
	}
	name = strings.TrimPrefix(name, "/")
	if !validName(name) {
		return "", invalid("Invalid container name (%s), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed", name)
	}
	if owner, taken := s.names[name]; taken {
		return "", errdefs.ErrConflict.WithMessage(fmt.Sprintf("Conflict. The container name \"/%s\" is already in use by container \"%s\". "+
			"You have to remove (or rename) that container to be able to reuse that name.", name, owner))
	}
	s.names[name] = id
	return name, nil
}

// Release gives back a name reserved for id whose container was not made.
func (s *Store) Release(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.names[name] == id {
		delete(s.names, name)
	}
}

// Rename gives the container id another name, durably; the old one is free afterwards.
func (s *Store) Rename(id, name string) (*Container, error) {
	taken, err := s.Reserve(id, name)
	if err != nil {
		return nil, err
	}
	var old string
	c, err := s.Change(id, func(c *Container) error {
		old, c.Name = c.Name, taken
		c.Networks = renamed(c.Networks, old, taken)
		return nil
	})
	if err != nil {
		s.Release(id, taken)
		return nil, err
	}
	s.Release(id, old)
	return c, nil
}

// renamed are the endpoints of a container that others find by another name now.
func renamed(endpoints map[string]*nt.EndpointSettings, old, name string) map[string]*nt.EndpointSettings {
	out := maps.Clone(endpoints)
	for network, e := range endpoints {
		if e != nil && slices.Contains(e.DNSNames, old) {
			e = e.Copy()
			e.DNSNames[slices.Index(e.DNSNames, old)] = name
			out[network] = e
		}
	}
	return out
}

// validName wants a letter or digit, then letters, digits, '_', '.' and '-'. Unlike dockerd it lets one letter do.
func validName(name string) bool {
	if name == "" || strings.ContainsRune("_.-", rune(name[0])) {
		return false
	}
	for _, r := range name {
		word := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
		if !word && !strings.ContainsRune("_.-", r) {
			return false
		}
	}
	return true
}

// inventName finds a free name; s.mu is held.
func (s *Store) inventName(id string) string {
	for try := range 64 {
		name := adjectives[rand.IntN(len(adjectives))] + "_" + nouns[rand.IntN(len(nouns))]
		if try > 8 {
			name += strconv.Itoa(rand.IntN(1000))
		}
		if _, taken := s.names[name]; !taken {
			return name
		}
	}
	return id
}

var adjectives = [...]string{
	"amber", "ample", "azure", "balmy", "bold", "brave", "breezy", "bright", "brisk", "calm", "candid", "cheery",
	"clear", "clever", "coastal", "cosy", "crisp", "curious", "daring", "deep", "dewy", "eager", "early", "easy",
	"fair", "fleet", "fond", "fresh", "gentle", "glad", "golden", "grand", "happy", "hardy", "hazel", "honest",
	"humble", "jolly", "keen", "kind", "lively", "lucid", "lucky", "lunar", "mellow", "merry", "misty", "modest",
	"nimble", "noble", "open", "patient", "placid", "plucky", "polite", "proud", "quick", "quiet", "rapid",
	"ready", "robust", "rosy", "sandy", "serene", "sharp", "shiny", "silver", "snug", "solid", "spry", "stable",
	"steady", "stout", "sunny", "swift", "tidal", "tidy", "trusty", "upbeat", "vivid", "warm", "wavy", "windy",
	"wise", "witty", "young", "zesty",
}

var nouns = [...]string{
	"anchor", "atoll", "bay", "beach", "beacon", "boat", "bollard", "breaker", "buoy", "canoe", "cape", "capstan",
	"cliff", "coast", "compass", "coral", "crab", "creek", "current", "cutter", "deck", "delta", "dinghy", "dock",
	"dolphin", "dory", "dune", "eddy", "estuary", "ferry", "fjord", "fleet", "float", "foam", "galley", "gannet",
	"gull", "harbour", "haven", "heron", "hull", "inlet", "island", "isthmus", "jetty", "kayak", "keel", "kelp",
	"ketch", "lagoon", "lantern", "limpet", "lugger", "mast", "moor", "mussel", "nacre", "oar", "osprey", "otter",
	"oyster", "paddle", "pearl", "pelican", "petrel", "pier", "pilot", "plover", "porpoise", "prow", "puffin",
	"quay", "raft", "reef", "ripple", "rudder", "sail", "sandbar", "schooner", "seal", "shell", "shoal", "shore",
	"skiff", "sloop", "sound", "spray", "squall", "strait", "surf", "swell", "tern", "tide", "tiller", "tug",
	"wave", "wharf", "whelk", "yawl",
}
