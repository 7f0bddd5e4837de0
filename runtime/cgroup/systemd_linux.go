package cgroup

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/runtime-spec/specs-go"

	"github.com/cove-containers/cove/sys"
)

// systemdSocket is where systemd answers root without a message bus.
const systemdSocket = "/run/systemd/private"

// answerPatience is how long systemd may take for one thing.
const answerPatience = 30 * time.Second

// A Placeholder starts a process that does nothing until stop is called. systemd makes a scope around a process, and
// the container's own is not there yet.
type Placeholder func() (pid int, stop func(), err error)

// scope is a path of the form SLICE:PREFIX:NAME, which asks for a group made by systemd.
type scope struct{ slice, unit string }

// parseScope tells whether a path asks for systemd.
func parseScope(groupPath string) (s scope, asked bool, err error) {
	parts := strings.Split(groupPath, ":")
	if len(parts) != 3 {
		return scope{}, false, nil
	}
	s = scope{slice: parts[0], unit: parts[2] + ".scope"}
	if parts[1] != "" {
		s.unit = parts[1] + "-" + s.unit
	}
	if s.slice == "" {
		s.slice = "system.slice"
	}
	if parts[2] == "" || strings.Contains(s.unit, "/") || !strings.HasSuffix(s.slice, ".slice") || strings.Contains(s.slice, "/") {
		return scope{}, true, fmt.Errorf("cgroup path %q: %w", groupPath, errdefs.ErrInvalidArgument)
	}
	return s, true, nil
}

// path is where systemd puts the scope: a-b.slice lies in a.slice.
func (s scope) path() string {
	name := strings.TrimSuffix(s.slice, ".slice")
	if name == "-" {
		return "/" + s.unit
	}
	place, prefix := "/", ""
	for _, part := range strings.Split(name, "-") {
		prefix += part
		place = path.Join(place, prefix+".slice")
		prefix += "-"
	}
	return path.Join(place, s.unit)
}

// createScope has systemd make the group; what systemd has no property for is written afterwards like elsewhere.
func createScope(h host, s scope, r *specs.LinuxResources, hold Placeholder, socket string) (*Cgroup, error) {
	pid, stop, err := hold()
	if err != nil {
		return nil, fmt.Errorf("create scope %s: %w", s.unit, err)
	}
	defer stop()
	c, err := dialSystemd(socket)
	if err != nil {
		return nil, fmt.Errorf("create scope %s: %w", s.unit, err)
	}
	defer c.socket.Close()
	list := []property{
		{"Description", "container " + s.unit}, {"Slice", s.slice}, {"Delegate", true}, {"DefaultDependencies", false},
		{"CollectMode", "inactive-or-failed"}, {"PIDs", []uint32{uint32(pid)}},
	}
	if err := c.startTransient(s.unit, append(list, unitLimits(r, h.unified)...)); err != nil {
		return nil, fmt.Errorf("create scope %s: %w", s.unit, err)
	}
	g := &Cgroup{host: h, path: s.path(), scope: s.unit}
	err = g.make()
	if err == nil && r != nil {
		err = g.update(r)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("create scope %s: %w", s.unit, err), g.Remove())
	}
	return g, nil
}

// unitLimits are the limits systemd knows itself: it would reset them whenever it reloads its configuration.
func unitLimits(r *specs.LinuxResources, unified bool) []property {
	if r == nil {
		return nil
	}
	var all []property
	number := func(name string, v *int64) {
		if v == nil || *v == 0 {
			return
		}
		n := uint64(*v)
		if *v < 0 {
			n = ^uint64(0)
		}
		all = append(all, property{name, n})
	}
	if m := r.Memory; m != nil && unified {
		number("MemoryMax", m.Limit)
		number("MemoryLow", m.Reservation)
		if m.Swap != nil && m.Limit != nil && *m.Swap > 0 && *m.Limit > 0 {
			swap := max(*m.Swap-*m.Limit, 0)
			all = append(all, property{"MemorySwapMax", uint64(swap)})
		}
	} else if m != nil {
		number("MemoryLimit", m.Limit)
	}
	if c := r.CPU; c != nil {
		if c.Shares != nil && *c.Shares != 0 && unified {
			all = append(all, property{"CPUWeight", cpuWeight(*c.Shares)})
		} else if c.Shares != nil && *c.Shares != 0 {
			all = append(all, property{"CPUShares", *c.Shares})
		}
		if c.Quota != nil && *c.Quota > 0 {
			all = append(all, property{"CPUQuotaPerSecUSec", perSecond(*c.Quota, c.Period)})
		}
	}
	if r.Pids != nil {
		number("TasksMax", r.Pids.Limit)
	}
	return all
}

// perSecond turns a quota into microseconds a second, in systemd's steps of ten milliseconds, rounded up.
func perSecond(quota int64, period *uint64) uint64 {
	const step = 10_000
	p := uint64(100_000)
	if period != nil && *period != 0 {
		p = *period
	}
	n := uint64(quota) * 1_000_000 / p
	return (n + step - 1) / step * step
}

// updateScope tells systemd of new limits.
func (c *Cgroup) updateScope(r *specs.LinuxResources) error {
	list := unitLimits(r, c.host.unified)
	if c.scope == "" || len(list) == 0 {
		return nil
	}
	s, err := dialSystemd(systemdSocket)
	if err != nil {
		return fmt.Errorf("update scope %s: %w", c.scope, err)
	}
	defer s.socket.Close()
	var w writer
	w.text(c.scope)
	w.uint32(1) // until the unit ends, not for ever
	w.properties(list)
	if _, err := s.call("SetUnitProperties", "sba(sv)", w.b); err != nil {
		return fmt.Errorf("update scope %s: %w", c.scope, err)
	}
	return nil
}

// scopeOf finds the scope a group at path belongs to, where systemd runs here.
func scopeOf(groupPath string) string {
	dir, unit := path.Split(groupPath)
	if !strings.HasSuffix(unit, ".scope") || !strings.Contains(dir, ".slice/") && dir != "/" {
		return ""
	}
	if _, err := os.Lstat(systemdSocket); err != nil {
		return ""
	}
	return unit
}

// systemd is a connection to it.
type systemd struct {
	socket *sys.Socket
	in     *bufio.Reader
	serial uint32
	// ended holds how the jobs ended whose signals came while something else was awaited.
	ended map[string]string
}

// dialSystemd connects and says who we are, which the kernel vouches for.
func dialSystemd(socket string) (*systemd, error) {
	dir, name := filepath.Split(socket)
	raw, err := sys.ConnectSocket(context.Background(), dir, name)
	if err != nil {
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	s := &systemd{socket: raw, in: bufio.NewReader(raw), ended: map[string]string{}}
	if err := s.introduce(); err != nil {
		raw.Close()
		return nil, fmt.Errorf("connect to systemd: %w", err)
	}
	return s, nil
}

func (s *systemd) introduce() error {
	if err := s.socket.SetDeadline(time.Now().Add(answerPatience)); err != nil {
		return err
	}
	uid := hex.EncodeToString([]byte(strconv.Itoa(os.Getuid())))
	if _, err := s.socket.Write([]byte("\x00AUTH EXTERNAL " + uid + "\r\n")); err != nil {
		return err
	}
	line, err := s.in.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(line, "OK ") {
		return fmt.Errorf("systemd refuses: %s", strings.TrimSpace(line))
	}
	_, err = s.socket.Write([]byte("BEGIN\r\n"))
	return err
}

// call calls a method of systemd's manager and gives the answer's body.
func (s *systemd) call(method, signature string, body []byte) ([]byte, error) {
	s.serial++
	m := message{kind: messageCall, serial: s.serial, body: body, fields: map[byte]string{
		fieldPath: "/org/freedesktop/systemd1", fieldDestination: "org.freedesktop.systemd1",
		fieldInterface: "org.freedesktop.systemd1.Manager", fieldMember: method,
	}}
	if signature != "" {
		m.fields[fieldSignature] = signature
	}
	if _, err := s.socket.Write(m.encode()); err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	for {
		answer, err := s.next()
		switch {
		case err != nil:
			return nil, fmt.Errorf("call %s: %w", method, err)
		case answer.replySerial != s.serial:
		case answer.kind == messageReturn:
			return answer.body, nil
		case answer.kind == messageError:
			r := &reader{b: answer.body}
			return nil, fmt.Errorf("call %s: %s: %s", method, answer.fields[fieldError], r.text())
		}
	}
}

// next reads a message and notes the ends of jobs.
func (s *systemd) next() (*message, error) {
	m, err := readMessage(s.in)
	if err != nil {
		return nil, err
	}
	if m.kind == messageSignal && m.fields[fieldMember] == "JobRemoved" {
		r := &reader{b: m.body}
		r.uint32()
		job := r.text()
		r.text()
		if result := r.text(); !r.bad {
			s.ended[job] = result
		}
	}
	return m, nil
}

// startTransient makes a unit and returns once it stands.
func (s *systemd) startTransient(unit string, list []property) error {
	if _, err := s.call("Subscribe", "", nil); err != nil {
		return err
	}
	var w writer
	w.text(unit)
	w.text("fail")
	w.properties(list)
	w.array(8, func() {})
	body, err := s.call("StartTransientUnit", "ssa(sv)a(sa(sv))", w.b)
	if err != nil {
		return err
	}
	r := &reader{b: body}
	job := r.text()
	for {
		if result, ended := s.ended[job]; ended {
			if result != "done" {
				return fmt.Errorf("job for unit %s: %s", unit, result)
			}
			return nil
		}
		if _, err := s.next(); err != nil {
			return fmt.Errorf("wait for unit %s: %w", unit, err)
		}
	}
}
