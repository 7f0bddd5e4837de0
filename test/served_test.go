package test

import (
	"bytes"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/crypto/bcrypt"
)

// served is a "coved registry serve" of a test's own.
type served struct {
	Host string // HOST:PORT
	Root string
	args []string
	bin  string
	cmd  *exec.Cmd
	done chan struct{}
	log  lockedBuffer
}

// lockedBuffer is written by a process and read by a test.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// serve starts a registry with its data in root, on a port that was free; it ends with the test.
func serve(t testing.TB, root string, args ...string) *served {
	t.Helper()
	s, err := startServed(root, args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.Stop()
		if t.Failed() {
			t.Logf("the registry's log:\n%s", s.log.String())
		}
	})
	return s
}

func startServed(root string, args ...string) (*served, error) {
	bin, err := binaries()
	if err != nil {
		return nil, err
	}
	s := &served{Host: freeAddress(), Root: root, bin: bin, args: args}
	return s, s.Start()
}

// freeAddress is an address on loopback that nobody has.
func freeAddress() string { return fmt.Sprintf("127.0.0.1:%d", freePorts(1)[0]) }

// Start starts the registry, for the first time or again, and waits until it answers.
func (s *served) Start() error {
	args := append([]string{"registry", "serve", "--listen", s.Host, "--root", s.Root, "--log-level", "debug"}, s.args...)
	s.cmd = exec.Command(filepath.Join(s.bin, "coved"), args...)
	s.cmd.Stdout, s.cmd.Stderr = &s.log, &s.log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		return err
	}
	done := make(chan struct{})
	s.done = done
	go func() {
		s.cmd.Wait()
		close(done)
	}()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		select {
		case <-done:
			return fmt.Errorf("the registry ended: %s", s.log.String())
		default:
		}
		if conn, err := net.Dial("tcp", s.Host); err == nil {
			conn.Close()
			return nil
		}
	}
	s.Stop()
	return fmt.Errorf("the registry does not answer: %s", s.log.String())
}

// Stop ends the registry in peace, Kill at once.
func (s *served) Stop() { s.end(syscall.SIGTERM) }
func (s *served) Kill() { s.end(syscall.SIGKILL) }

func (s *served) end(signal os.Signal) {
	if s.cmd == nil || s.cmd.Process == nil {
		return
	}
	s.cmd.Process.Signal(signal)
	<-s.done
}

// URL is where a call below /v2/ is made.
func (s *served) URL(path string) string { return "http://" + s.Host + "/v2/" + path }

// get makes a call and reads the answer whole.
func get(t testing.TB, url string, header ...string) (*http.Response, []byte, error) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range header {
		k, v, _ := strings.Cut(h, ": ")
		r.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(resp.Body)
	return resp, body.Bytes(), err
}

// account is a line of an htpasswd file.
func account(user, password string) string {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		panic(err)
	}
	return user + ":" + string(hash) + "\n"
}

// serveScript starts a registry and sets R to its address: serve [OPTION...]; "serve stop|kill|start" is done to the last one, or with
// an address behind it to that one.
// The data of the first is in $T/registry, that of others in $T/registry2 and so on.
func serveScript(ts *testscript.TestScript, neg bool, args []string) {
	box := ts.Value("registries").(*registryBox)
	if len(args) > 0 && !strings.HasPrefix(args[0], "-") {
		s := box.served[ts.Getenv("R")]
		if len(args) > 1 {
			s = box.served[args[1]]
		}
		if s == nil {
			ts.Fatalf("no registry is served there")
		}
		switch args[0] {
		case "stop":
			s.Stop()
		case "kill":
			s.Kill()
		case "start":
			ts.Check(s.Start())
		default:
			ts.Fatalf("usage: serve [OPTION...] | serve stop|kill|start [ADDRESS]")
		}
		return
	}
	root := ts.MkAbs("registry")
	for n := 2; ; n++ {
		if _, err := os.Stat(root); err != nil {
			break
		}
		root = ts.MkAbs(fmt.Sprintf("registry%d", n))
	}
	s, err := startServed(root, args...)
	ts.Check(err)
	ts.Defer(s.Stop)
	if box.served == nil {
		box.served = map[string]*served{}
	}
	box.served[s.Host] = s
	ts.Setenv("R", s.Host)
}

// accounts writes an htpasswd file: accounts FILE USER=PASSWORD...
func accounts(ts *testscript.TestScript, neg bool, args []string) {
	var text strings.Builder
	for _, pair := range args[1:] {
		user, password, _ := strings.Cut(pair, "=")
		text.WriteString(account(user, password))
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(text.String()), 0o600))
}
