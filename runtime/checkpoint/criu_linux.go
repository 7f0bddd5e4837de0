package checkpoint

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/cove-containers/cove/sys"
)

// call is one request to a criu of its own.
type call struct {
	options Options
	kind    uint64
	log     string
	// files are what criu inherits, under these names.
	files []inherited
	// ask writes the options that only this kind of request has.
	ask func(m *message)
	// on is told what criu is at; its error ends the request.
	on func(step string, pid int) error
}

type inherited struct {
	key  string
	file *os.File
}

// firstInherited is the number of the first descriptor that criu inherits, after standard error and the connection.
const firstInherited = 4

// do starts criu on this thread, in whatever namespaces that is, and returns its answer.
func (c *call) do() (answer, error) {
	images, err := os.Open(c.options.Images)
	if err != nil {
		return answer{}, err
	}
	defer images.Close()
	work := images
	if c.options.Work != "" {
		if work, err = os.Open(c.options.Work); err != nil {
			return answer{}, err
		}
		defer work.Close()
	}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return answer{}, fmt.Errorf("make socket pair: %w", err)
	}
	ours := sys.FD(fds[0])
	defer ours.Close()
	theirs := sys.FD(fds[1]).File("criu")
	cmd := exec.Command(c.options.Criu, "swrk", "3")
	cmd.Dir = "/"
	var last bytes.Buffer // what it says that has no log yet
	cmd.Stderr, cmd.WaitDelay = &last, waitForWords
	cmd.ExtraFiles = []*os.File{theirs}
	for _, f := range c.files {
		cmd.ExtraFiles = append(cmd.ExtraFiles, f.file)
	}
	err = cmd.Start()
	theirs.Close()
	if err != nil {
		return answer{}, fmt.Errorf("start criu: %w", err)
	}
	a, err := c.talk(ours, c.request(images, work))
	if err != nil {
		_ = cmd.Process.Kill()
	}
	// How it ends says nothing that its answer does not.
	_ = cmd.Wait()
	switch {
	case err == nil && a.success:
		return a, nil
	case errors.Is(err, errSilent) && last.Len() > 0:
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(last.String()))
	}
	return answer{}, c.explain(a, err)
}

// waitForWords is how long the end of standard error is waited for when criu has ended.
const waitForWords = time.Second

var errSilent = errors.New("criu ended without an answer")

func (c *call) request(images, work *os.File) message {
	var m, o message
	m.number(requestType, c.kind)
	o.number(optImages, uint64(images.Fd()))
	o.number(optWork, uint64(work.Fd()))
	o.number(optLogLevel, logErrors)
	o.text(optLogFile, c.log)
	o.yes(optUnixSockets, c.options.ExternalSockets)
	o.yes(optTCP, c.options.TCPEstablished)
	o.yes(optShellJob, c.options.ShellJob)
	o.yes(optFileLocks, c.options.FileLocks)
	o.yes(optNotify, c.on != nil)
	o.yes(optSharing, true)
	o.yes(optMasters, true)
	o.number(optCgroups, cgroupsIgnored)
	o.number(optLockNetwork, lockByNftables)
	for i, f := range c.files {
		o.inherit(f.key, firstInherited+i)
	}
	c.ask(&o)
	m.text(requestOptions, string(o))
	return m
}

// talk sends the request and answers what criu tells until the last answer.
func (c *call) talk(s sys.FD, request message) (answer, error) {
	if _, err := s.Write(request); err != nil {
		return answer{}, errSilent
	}
	buf := make([]byte, 64<<10)
	var failed error
	for {
		n, err := s.Read(buf)
		if err != nil {
			return answer{}, cmp.Or(failed, errSilent)
		}
		a, err := readAnswer(buf[:n])
		if err != nil || a.kind != typeNotify {
			return a, errors.Join(failed, err)
		}
		if failed == nil {
			failed = c.on(a.step, a.pid)
		}
		var m message
		m.number(requestType, typeNotify)
		m.yes(requestNotified, failed == nil)
		if _, err := s.Write(m); err != nil {
			return answer{}, cmp.Or(failed, errSilent)
		}
	}
}

// explain says why a request failed: by what criu has in its log, else by its answer.
func (c *call) explain(a answer, err error) error {
	dir := c.options.Work
	if dir == "" {
		dir = c.options.Images
	}
	said := errorsIn(filepath.Join(dir, c.log))
	switch {
	case said == "" && err != nil:
		return err
	case said == "":
		said = a.message
	}
	return errors.Join(fmt.Errorf("criu failed: %s", said), err)
}
