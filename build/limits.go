package build

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/build/step"
)

// limitsOf reads what binds RUN steps out of the options of a front end, where Cove's own clients and the classic API put what
// BuildKit has no words for: "run:memory" and so on, sizes in bytes. Nil is no limit.
func limitsOf(options map[string]string) (*step.Limits, error) {
	l := &step.Limits{}
	numbers := map[string]*int64{
		"memory": &l.Memory, "memory-swap": &l.MemorySwap, "cpu-shares": &l.CPUShares, "cpu-period": &l.CPUPeriod, "cpu-quota": &l.CPUQuota,
	}
	texts := map[string]*string{"cpuset-cpus": &l.CPUSetCPUs, "cpuset-mems": &l.CPUSetMems, "network": &l.NetworkMode}
	given := false
	for _, key := range slices.Sorted(maps.Keys(options)) {
		name, ok := strings.CutPrefix(key, "run:")
		if !ok {
			continue
		}
		given = true
		val := options[key]
		switch {
		case numbers[name] != nil:
			n, err := strconv.ParseInt(val, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("limit of RUN %s=%q is no number: %w", name, val, errdefs.ErrInvalidArgument)
			}
			*numbers[name] = n
		case texts[name] != nil:
			*texts[name] = val
		default:
			return nil, fmt.Errorf("unknown limit of RUN %q: %w", name, errdefs.ErrInvalidArgument)
		}
	}
	if !given {
		return nil, nil
	}
	return l, nil
}
