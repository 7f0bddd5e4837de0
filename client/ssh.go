package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// far is an ssh:// address: where to sign in, and which socket is meant there.
type far struct {
	user, host, port string
	socket           string // path on the other host, empty for the one its own command line uses
}

// parseSSH reads an address such as ssh://me@host:2222/run/cove/cove.sock.
func parseSSH(address string) (far, error) {
	u, err := url.Parse(address)
	var password bool
	if err == nil && u.User != nil {
		_, password = u.User.Password()
	}
	switch {
	case err != nil:
	case password:
		err = errors.New("plain-text password is not supported")
	case u.Hostname() == "":
		err = errors.New("hostname is empty")
	case strings.HasPrefix(u.Hostname(), "-") || strings.HasPrefix(u.User.Username(), "-"): // ssh would read an option
		err = errors.New("user and hostname cannot begin with a dash")
	case u.RawQuery != "":
		err = fmt.Errorf("query parameters are not allowed: %q", u.RawQuery)
	case u.Fragment != "":
		err = fmt.Errorf("fragments are not allowed: %q", u.Fragment)
	}
	if err != nil {
		return far{}, fmt.Errorf("ssh host connection is not valid: invalid SSH URL: %w", err)
	}
	return far{user: u.User.Username(), host: u.Hostname(), port: u.Port(), socket: strings.TrimSuffix(u.Path, "/")}, nil
}

// forward is run by the other host's shell: it joins its standard streams with the daemon there. What is installed there is
// asked first, so that it need not be the program that this one is.
const forward = `if command -v cove >/dev/null 2>&1; then exec cove "$@"; else exec docker "$@"; fi`

// args are those of ssh.
func (f far) args() []string {
	args := []string{"-o", "ConnectTimeout=30", "-T"}
	if f.user != "" {
		args = append(args, "-l", f.user)
	}
	if f.port != "" {
		args = append(args, "-p", f.port)
	}
	args = append(args, "--", f.host, "sh", "-c", quoted(forward), "cove")
	if f.socket != "" {
		args = append(args, "--host", quoted("unix://"+f.socket))
	}
	return append(args, "system", "dial-stdio")
}

// quoted keeps the other host's shell from reading anything into s.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// sshConn is a connection to a daemon through ssh's standard streams.
type sshConn struct {
	host     string
	cmd      *exec.Cmd
	in       *os.File // what ssh reads
	out      *os.File // what it writes
	complain *tail
	ended    chan struct{} // closed when ssh has ended
	status   error         // how; valid when ended is closed
	closing  sync.Once
	got      atomic.Bool // something has been read: what goes wrong then is the daemon's or the network's doing
}

// dial starts ssh. That it cannot sign in shows when something is read.
func (f far) dial(ctx context.Context, host string) (net.Conn, error) {
	path, err := exec.LookPath("ssh")
	if err != nil {
		return nil, fmt.Errorf("the address %s needs the program ssh, which is not installed: %w", host, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	inRead, inWrite, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outRead, outWrite, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inRead.Close(), inWrite.Close())
	}
	c := &sshConn{host: host, in: inWrite, out: outRead, complain: &tail{}, ended: make(chan struct{})}
	c.cmd = exec.Command(path, f.args()...)
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = inRead, outWrite, c.complain
	c.cmd.WaitDelay = time.Second // a connection that ssh shares with later ones keeps standard error open
	apart(c.cmd)
	err = c.cmd.Start()
	inRead.Close()
	outWrite.Close()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start ssh: %w", err), inWrite.Close(), outRead.Close())
	}
	go func() {
		c.status = c.cmd.Wait()
		close(c.ended)
	}()
	return c, nil
}

func (c *sshConn) Read(p []byte) (int, error) {
	n, err := c.out.Read(p)
	if n > 0 {
		c.got.Store(true)
	}
	if errors.Is(err, io.EOF) && !c.got.Load() {
		return n, c.failure()
	}
	return n, err
}

// failure is why nothing came.
func (c *sshConn) failure() error {
	select {
	case <-c.ended:
	case <-time.After(3 * time.Second):
		return io.EOF
	}
	said := strings.TrimSpace(c.complain.String())
	if c.status == nil && said == "" {
		return io.EOF
	}
	why := "it has ended"
	if c.status != nil {
		why = c.status.Error()
	}
	if said != "" {
		why += ": " + said
	}
	return &ConnectError{Host: c.host, Err: farError("Cannot connect to the daemon at " + c.host + ": ssh: " + why +
		"\nMake sure that `ssh` signs in there without asking, and that cove or docker is installed and its daemon runs there.")}
}

// farError is what ssh, or the program it has started, says of a daemon that cannot be reached.
type farError string

func (e farError) Error() string { return string(e) }

func (c *sshConn) Write(p []byte) (int, error) {
	n, err := c.in.Write(p)
	if errors.Is(err, syscall.EPIPE) && !c.got.Load() {
		return n, c.failure()
	}
	return n, err
}

// CloseWrite tells the daemon that there is no more input.
func (c *sshConn) CloseWrite() error { return c.in.Close() }

// Close ends ssh, which has nothing more to do once its input ends; one that does not end is killed.
func (c *sshConn) Close() error {
	c.closing.Do(func() {
		_ = c.in.Close() // may have been closed by CloseWrite
		_ = c.out.Close()
		select {
		case <-c.ended:
		case <-time.After(3 * time.Second):
			_ = c.cmd.Process.Kill()
			<-c.ended
		}
	})
	return nil
}

type sshAddr string

func (sshAddr) Network() string  { return "ssh" }
func (a sshAddr) String() string { return string(a) }

func (c *sshConn) LocalAddr() net.Addr  { return sshAddr("local") }
func (c *sshConn) RemoteAddr() net.Addr { return sshAddr(c.host) }

func (c *sshConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *sshConn) SetReadDeadline(t time.Time) error  { return ignoreNoDeadline(c.out.SetDeadline(t)) }
func (c *sshConn) SetWriteDeadline(t time.Time) error { return ignoreNoDeadline(c.in.SetDeadline(t)) }

// ignoreNoDeadline is for files of systems that know no deadlines.
func ignoreNoDeadline(err error) error {
	if errors.Is(err, os.ErrNoDeadline) {
		return nil
	}
	return err
}

// tail keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if over := len(t.text) - 4096; over > 0 {
		t.text = bytes.Clone(t.text[over:])
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.text)
}
