package shim

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"github.com/cove-containers/cove/runtime"
)

// rounds is how often what was born meanwhile is looked for.
const rounds = 20

// killTree ends a process of a cgroup with whatever it has started and what has come of that: its children's children, and
// those in its session whose parents have ended. Who has both left the session and lost his parent is on his own.
func killTree(cgroup string, first int) error {
	group, err := runtime.OpenCgroup(cgroup)
	if err != nil {
		return err
	}
	for range rounds {
		pids, err := group.Pids()
		if err != nil {
			return err
		}
		tree := treeOf(first, pids)
		if len(tree) == 0 {
			return nil
		}
		for _, pid := range tree {
			if err := syscall.Kill(pid, sigkill); err != nil && !errors.Is(err, syscall.ESRCH) {
				return err
			}
		}
	}
	return nil
}

// treeOf picks those of the processes that belong to first, and are not dead yet.
func treeOf(first int, pids []int) []int {
	kin := map[int]kinship{}
	for _, pid := range pids {
		if k, err := kinshipOf(pid); err == nil {
			kin[pid] = k
		}
	}
	return pick(first, kin)
}

// pick follows everybody's parents. They are not read at one moment, so that by numbers that were given again two may each be the
// other's parent.
func pick(first int, kin map[int]kinship) (tree []int) {
	for pid, k := range kin {
		at := pid
		for steps := 0; !k.dead && steps <= len(kin); steps++ {
			if at == first || kin[at].session == first {
				tree = append(tree, pid)
				break
			}
			at = kin[at].parent
		}
	}
	return tree
}

type kinship struct {
	parent, session int
	dead            bool
}

func kinshipOf(pid int) (k kinship, err error) {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return k, err
	}
	// The name in parentheses may hold anything; what follows the last one are fields 3 and up.
	f := bytes.Fields(text[bytes.LastIndexByte(text, ')')+1:])
	if len(f) < 4 {
		return k, fmt.Errorf("read /proc/%d/stat: %q", pid, text)
	}
	k.dead = f[0][0] == 'Z' || f[0][0] == 'X'
	if k.parent, err = strconv.Atoi(string(f[1])); err == nil {
		k.session, err = strconv.Atoi(string(f[3]))
	}
	return k, err
}
