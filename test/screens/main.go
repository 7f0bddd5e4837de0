// Command screens runs the real cove, with an engine and a registry of its own, in a terminal, and draws what a user sees as
// pictures: docs/screens is made by it. It must be root; `scripts/screens` builds what it needs.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/cove-containers/cove/testkit"
)

func main() {
	bin := flag.String("bin", "bin", "folder of the programs")
	out := flag.String("out", "docs/screens", "where the pictures go")
	columns := flag.Int("columns", 136, "width of the terminal")
	rate := flag.Int("rate", 3<<20, "speed of the registry in bytes a second")
	flag.Parse()
	if err := draw(*bin, *out, *columns, *rate); err != nil {
		fmt.Fprintln(os.Stderr, "screens:", err)
		os.Exit(1)
	}
}

// studio is an engine, a registry and a folder to work in.
type studio struct {
	dir, out string
	env      []string
	columns  int
	registry *testkit.Registry
	undo     []func()
}

func draw(bin, out string, columns, rate int) (err error) {
	images, err := testkit.Images(".")
	if err != nil {
		return err
	}
	if bin, err = filepath.Abs(bin); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "cs")
	if err != nil {
		return err
	}
	s := &studio{dir: dir, out: out, columns: columns}
	s.undo = append(s.undo, func() { os.RemoveAll(dir) })
	defer func() {
		for i := len(s.undo) - 1; i >= 0; i-- {
			s.undo[i]()
		}
	}()
	socket := filepath.Join(dir, "run", "cove.sock")
	s.env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "COVE_HOST=unix://"+socket, "HOME="+dir, "TERM=xterm-256color", "NO_COLOR=", "DOCKER_CONFIG="+dir)
	if err := s.engine(bin, socket); err != nil {
		return err
	}
	if s.registry, err = testkit.NewRegistry("127.0.0.1:0", testkit.Faults{Rate: rate}, nil); err != nil {
		return err
	}
	s.undo = append(s.undo, s.registry.Close)
	if err := s.quiet("load", "-q", "-i", filepath.Join(images, "alpine.tar")); err != nil {
		return err
	}
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	return s.scenes()
}

// engine starts a daemon and waits until it answers.
func (s *studio) engine(bin, socket string) error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	cmd := exec.Command(filepath.Join(bin, "coved"), "--data-root", filepath.Join(s.dir, "data"), "--exec-root", filepath.Join(s.dir, "run"), "-H", "unix://"+socket)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return err
	}
	s.undo = append(s.undo, func() {
		if ids, err := s.cove("ps", "-aq").Output(); err == nil && len(ids) > 0 {
			_ = s.quiet(append([]string{"rm", "-f"}, strings.Fields(string(ids))...)...)
		}
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
	})
	for range 600 {
		if s.cove("version").Run() == nil {
			return nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	raw, _ := os.ReadFile(log.Name())
	return fmt.Errorf("the daemon does not answer: %s", raw)
}

func (s *studio) cove(args ...string) *exec.Cmd {
	cmd := exec.Command("cove", args...)
	if path, err := lookPath("cove", s.env); err == nil {
		cmd = exec.Command(path, args...)
	}
	cmd.Env, cmd.Dir = s.env, s.dir
	return cmd
}

// lookPath is exec.LookPath in the PATH of env.
func lookPath(name string, env []string) (string, error) {
	for i := len(env) - 1; i >= 0; i-- {
		if list, ok := strings.CutPrefix(env[i], "PATH="); ok {
			first, _, _ := strings.Cut(list, ":")
			return exec.LookPath(filepath.Join(first, name))
		}
	}
	return "", exec.ErrNotFound
}

// quiet runs a command that nobody sees.
func (s *studio) quiet(args ...string) error {
	if out, err := s.cove(args...).CombinedOutput(); err != nil {
		return fmt.Errorf("cove %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

// take runs a command line in a terminal and draws it as NAME.svg: at its end or, with until, as soon as the screen satisfies it; then the
// command is interrupted unless it ends by itself. Meanwhile meantime happens, and shown changes what is drawn.
func (s *studio) take(name, line string, until func(string) bool, meantime func() error) error {
	typed := make(chan error, 1)
	cmd := exec.Command("script", "-qefc", fmt.Sprintf("stty cols %d rows 40 -echo; %s", s.columns, line), "/dev/null")
	cmd.Env, cmd.Dir = s.env, s.dir
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	defer stdin.Close()
	output, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	watchdog := time.AfterFunc(3*time.Minute, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	if meantime != nil {
		go func() { typed <- meantime() }()
	} else {
		typed <- nil
	}
	view := newScreen(s.columns, 40)
	var picture string
	interrupt := sync.OnceFunc(func() { _, _ = stdin.Write([]byte{3}) }) // Ctrl-C
	for buf := make([]byte, 4096); ; {
		n, err := output.Read(buf)
		_, _ = view.Write(buf[:n])
		if until != nil && picture == "" && until(view.String()) {
			picture = svg(line, view.shown(), s.columns)
			interrupt()
		}
		if err != nil {
			break
		}
	}
	ended := cmd.Wait()
	if err := <-typed; err != nil {
		return err
	}
	if until == nil {
		if ended != nil {
			return fmt.Errorf("%s: %w\n%s", line, ended, view)
		}
		picture = svg(line, view.shown(), s.columns)
	}
	if picture == "" {
		return errors.Join(fmt.Errorf("%s never showed what was waited for:\n%s", line, view), ended)
	}
	return os.WriteFile(filepath.Join(s.out, name+".svg"), []byte(picture), 0o644)
}
