package view

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"
	ct "github.com/moby/moby/api/types/container"

	"github.com/cove-containers/cove/container"
	"github.com/cove-containers/cove/runtime"
)

// ContainerTop lists the container's processes as the host's ps shows them with the arguments given ("" is -ef).
func (v *View) ContainerTop(ctx context.Context, ref, psArgs string) (ct.TopResponse, error) {
	c, err := v.parts.Containers.Get(ref)
	if err != nil {
		return ct.TopResponse{}, err
	}
	if psArgs == "" {
		psArgs = "-ef"
	}
	if err := checkPs(psArgs); err != nil {
		return ct.TopResponse{}, err
	}
	if err := running(c); err != nil {
		return ct.TopResponse{}, err
	}
	group, err := runtime.OpenCgroup(v.parts.CgroupPath(c))
	if err != nil {
		return ct.TopResponse{}, err
	}
	pids, err := group.Pids()
	if err != nil {
		return ct.TopResponse{}, err
	}
	output, err := ps(ctx, strings.Fields(psArgs), pids)
	if err != nil {
		return ct.TopResponse{}, err
	}
	top, err := parsePs(output, pids)
	if err == nil {
		v.parts.Told(c, "top")
	}
	return top, err
}

// running refuses what only a running container can do.
func running(c *container.Container) error {
	switch {
	case c.State.Status == ct.StateRestarting:
		return errdefs.ErrConflict.WithMessage("Container " + c.ID + " is restarting, wait until the container is running")
	case !c.State.Alive():
		return errdefs.ErrConflict.WithMessage("container " + c.ID + " is not running")
	}
	return nil
}

// renamed finds an option of ps that gives a column, perhaps that of the process IDs, another title.
var renamed = regexp.MustCompile(`\s+(\S*)=\s*(PID\S*)`)

func checkPs(args string) error {
	// A title of PID over another column would let processes of others pass for the container's.
	for _, m := range renamed.FindAllStringSubmatch(args, -1) {
		if column := m[1]; column != "pid" {
			return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("specifying \"%s=%s\" is not allowed", column, m[2]))
		}
	}
	return nil
}

// ps runs the host's ps for these processes; where its arguments do not go together with a choice of processes, for all.
func ps(ctx context.Context, args []string, pids []int) ([]byte, error) {
	list := make([]string, len(pids))
	for i, p := range pids {
		list[i] = strconv.Itoa(p)
	}
	output, err := exec.CommandContext(ctx, "ps", append(slices.Clone(args), "-q"+strings.Join(list, ","))...).Output()
	if err == nil {
		return output, nil
	}
	output, err = exec.CommandContext(ctx, "ps", args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		if first, _, _ := bytes.Cut(exit.Stderr, []byte("\n")); len(first) > 0 {
			err = errors.New(string(first))
		}
	}
	if err != nil {
		return nil, fmt.Errorf("ps: %w", err)
	}
	return output, nil
}

// parsePs takes the rows of these processes out of what ps printed. A row without a process ID ("-") is a thread
// and belongs to the process above.
func parsePs(output []byte, pids []int) (ct.TopResponse, error) {
	lines := strings.Split(string(output), "\n")
	top := ct.TopResponse{Titles: asciiFields(lines[0]), Processes: [][]string{}}
	column := slices.Index(top.Titles, "PID")
	if column < 0 {
		return ct.TopResponse{}, errors.New("Couldn't find PID field in ps output")
	}
	ours := false
	for _, line := range lines[1:] {
		fields := asciiFields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) <= column {
			return ct.TopResponse{}, fmt.Errorf("unexpected line of ps: %q", line)
		}
		if fields[column] != "-" {
			pid, err := strconv.Atoi(fields[column])
			if err != nil {
				return ct.TopResponse{}, fmt.Errorf("unexpected pid '%s': %w", fields[column], err)
			}
			ours = slices.Contains(pids, pid)
		}
		if !ours {
			continue
		}
		// What is more than there are titles is one command with spaces.
		if last := len(top.Titles) - 1; len(fields) > last {
			fields = append(slices.Clone(fields[:last]), strings.Join(fields[last:], " "))
		}
		top.Processes = append(top.Processes, fields)
	}
	return top, nil
}

// asciiFields splits at ASCII white space only: other kinds may be part of a name.
func asciiFields(s string) []string {
	return strings.FieldsFunc(s, func(r rune) bool { return strings.ContainsRune(" \t\n\v\f\r", r) })
}
