package spec

import (
	"strings"

	ct "github.com/moby/moby/api/types/container"
	"github.com/opencontainers/runtime-spec/specs-go"
)

// rlimits gives the user's limits over the engine's defaults. A limit nobody sets is left as the engine found it.
func rlimits(s Settings, doc *specs.Spec) error {
	at := map[string]int{}
	for _, list := range [][]*ct.Ulimit{s.Ulimits, s.HostConfig.Ulimits} {
		for _, u := range list {
			limit := specs.POSIXRlimit{Type: "RLIMIT_" + strings.ToUpper(u.Name), Soft: uint64(u.Soft), Hard: uint64(u.Hard)}
			if i, again := at[u.Name]; again {
				doc.Process.Rlimits[i] = limit
				continue
			}
			at[u.Name] = len(doc.Process.Rlimits)
			doc.Process.Rlimits = append(doc.Process.Rlimits, limit)
		}
	}
	return nil
}
