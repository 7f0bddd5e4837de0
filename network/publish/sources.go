package publish

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	nt "github.com/moby/moby/api/types/network"

	"github.com/cove-containers/cove/api"
)

// Sources are who may connect to published ports: by the container's port, and for all others. A port that has none is for
// everybody.
type Sources struct {
	all []netip.Prefix
	of  map[nt.Port][]netip.Prefix
}

// Of is who may connect to what leads to this port of the container; nobody in particular is everybody.
func (s Sources) Of(inside nt.Port) []netip.Prefix {
	if own := s.of[inside]; len(own) > 0 {
		return own
	}
	return s.all
}

// ReadSources reads them from the annotations of a container. Errors are errdefs.ErrInvalidArgument.
func ReadSources(annotations map[string]string) (Sources, error) {
	var s Sources
	for _, name := range slices.Sorted(maps.Keys(annotations)) {
		rest, ours := strings.CutPrefix(name, api.PublishFrom)
		if !ours || rest != "" && rest[0] != '.' {
			continue
		}
		ranges, err := Ranges(annotations[name])
		if err != nil {
			return Sources{}, fmt.Errorf("invalid annotation %s: %w", name, err)
		}
		if rest == "" {
			s.all = ranges
			continue
		}
		inside, err := nt.ParsePort(rest[1:])
		if err != nil {
			return Sources{}, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("invalid annotation %s: no port of a container: %q", name, rest[1:]))
		}
		if s.of == nil {
			s.of = map[nt.Port][]netip.Prefix{}
		}
		s.of[inside] = ranges
	}
	return s, nil
}

// Ranges reads addresses and ranges of addresses, separated by commas, each once and none that lies in another. Errors are
// errdefs.ErrInvalidArgument.
func Ranges(text string) ([]netip.Prefix, error) {
	var all []netip.Prefix
	for word := range strings.SplitSeq(text, ",") {
		word = strings.TrimSpace(word)
		p, err := netip.ParsePrefix(word)
		if a, e := netip.ParseAddr(word); e == nil {
			p, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		if err != nil || p.Addr().Is4In6() {
			return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("%q is no range of addresses: want one such as 10.0.0.0/8 or 2001:db8::/32", word))
		}
		all = append(all, p.Masked())
	}
	// The wider ones first: what lies in one of them is left out.
	slices.SortFunc(all, func(a, b netip.Prefix) int {
		if a.Bits() != b.Bits() {
			return a.Bits() - b.Bits()
		}
		return a.Addr().Compare(b.Addr())
	})
	var out []netip.Prefix
	for _, p := range all {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Contains(p.Addr()) }) {
			out = append(out, p)
		}
	}
	return out, nil
}
