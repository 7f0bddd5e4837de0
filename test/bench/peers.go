package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// peer is one engine under measurement: how it runs a container, executes in one, and so on. A nil deed is one the peer lacks.
type peer struct {
	name       string
	call       func(args ...string) *exec.Cmd // any command of its client
	run        func(network string) *exec.Cmd // run --rm alpine true
	start      func(name string) *exec.Cmd    // run -d alpine sleep
	exec       func(name string) *exec.Cmd
	remove     func(names ...string) *exec.Cmd
	pull       func(image string) *exec.Cmd
	forget     func(image string) *exec.Cmd
	push       func(image string) *exec.Cmd
	tag        func(image, name string) *exec.Cmd
	build      func(socket string, args ...string) *exec.Cmd // through another socket than its own, unless that is empty
	socket     string
	daemon     int                            // pid, 0 for none
	at         func(args ...string) *exec.Cmd // a program on the host of its daemon
	idlePIDs   func() []int
	bare       bool // no engine at all: runs a prepared root
	alpineName string
}

// bench is a run of the whole comparison: its folder and the peers found.
type bench struct {
	dir    string
	alpine string // archive that every loader reads
	apart  bool   // every daemon has a network namespace of its own for its host
	peers  []*peer
	undo   []func()
}

func (b *bench) close() {
	for i := len(b.undo) - 1; i >= 0; i-- {
		b.undo[i]()
	}
}

func command(env []string, args ...string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), env...)
	return cmd
}

// must runs a command of the preparation; its output is shown only when it fails.
func must(cmd *exec.Cmd) error {
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, out)
	}
	return nil
}

// client fills in the deeds of a peer that is driven by a docker-like command line.
func client(p *peer, env []string, program ...string) *peer {
	c := func(args ...string) *exec.Cmd {
		return command(env, append(append([]string(nil), program...), args...)...)
	}
	p.call = c
	p.run = func(network string) *exec.Cmd {
		if network != "" {
			return c("run", "--rm", "--network", network, p.alpineName, "true")
		}
		return c("run", "--rm", p.alpineName, "true")
	}
	p.start = func(name string) *exec.Cmd { return c("run", "-d", "--name", name, p.alpineName, "sleep", "1000") }
	p.exec = func(name string) *exec.Cmd { return c("exec", name, "true") }
	p.remove = func(names ...string) *exec.Cmd { return c(append([]string{"rm", "-f"}, names...)...) }
	p.pull = func(image string) *exec.Cmd { return c("pull", "-q", image) }
	p.forget = func(image string) *exec.Cmd { return c("rmi", "-f", image) }
	p.push = func(image string) *exec.Cmd { return c("push", "-q", image) }
	p.tag = func(image, name string) *exec.Cmd { return c("tag", image, name) }
	return p
}

// background starts a daemon and waits until its socket answers.
func (b *bench) background(name, socket string, env []string, args ...string) (*exec.Cmd, error) {
	log, err := os.Create(filepath.Join(b.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	if b.apart { // with ::1 before it looks for that
		args = append([]string{"sh", "-c", `ip link set lo up && exec "$@"`, "sh"}, args...)
	}
	cmd := command(env, args...)
	cmd.Stdout, cmd.Stderr = log, log
	if b.apart {
		cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	b.undo = append(b.undo, func() {
		cmd.Process.Signal(syscall.SIGTERM)
		ended := make(chan struct{})
		go func() { cmd.Wait(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			cmd.Process.Kill()
		}
	})
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return cmd, nil
		}
	}
	return nil, fmt.Errorf("%s does not answer; see %s", name, log.Name())
}

// within runs programs in the network namespace of another one.
func within(holder *exec.Cmd) func(args ...string) *exec.Cmd {
	pid := strconv.Itoa(holder.Process.Pid)
	return func(args ...string) *exec.Cmd {
		return exec.Command("nsenter", append([]string{"-t", pid, "-n"}, args...)...)
	}
}

func (b *bench) cove() (*peer, error) {
	bin, err := filepath.Abs("bin")
	if err != nil {
		return nil, err
	}
	socket := filepath.Join(b.dir, "cove", "cove.sock")
	env := []string{"COVE_HOST=unix://" + socket, "HOME=" + b.dir}
	cmd, err := b.background("coved", socket, env, filepath.Join(bin, "coved"),
		"--data-root", filepath.Join(b.dir, "cove-data"), "--exec-root", filepath.Join(b.dir, "cove"), "-H", "unix://"+socket)
	if err != nil {
		return nil, err
	}
	p := client(&peer{name: "cove", alpineName: "alpine:bench", daemon: cmd.Process.Pid}, env, filepath.Join(bin, "cove"))
	p.at = within(cmd)
	p.idlePIDs = func() []int { return processesOf(filepath.Join(bin, "cove-runtime")) }
	builder(p, socket, env, filepath.Join(bin, "cove"))
	return p, must(command(env, filepath.Join(bin, "cove"), "load", "-i", b.alpine))
}

// docker runs Debian's dockerd, with its own containerd.
func (b *bench) docker() (*peer, error) {
	if _, err := exec.LookPath("dockerd"); err != nil {
		return nil, errors.New("dockerd is not installed")
	}
	socket := filepath.Join(b.dir, "docker.sock")
	root := filepath.Join(b.dir, "docker")
	b.undo = append(b.undo, func() { must(exec.Command("umount", "-R", "-l", root)) })
	cmd, err := b.background("dockerd", socket, nil, "dockerd",
		"--data-root", root+"/data", "--exec-root", root+"/exec", "-H", "unix://"+socket, "--pidfile", root+"/pid")
	if err != nil {
		return nil, err
	}
	env := []string{"DOCKER_HOST=unix://" + socket, "HOME=" + b.dir}
	p := client(&peer{name: "docker", alpineName: "alpine:bench", daemon: cmd.Process.Pid}, env, "docker")
	p.at = within(cmd)
	p.idlePIDs = func() []int { return processesNaming(root, cmd.Process.Pid) }
	builder(p, socket, env, buildClient())
	return p, must(command(env, "docker", "load", "-i", b.alpine))
}

func (b *bench) podman() (*peer, error) {
	if _, err := exec.LookPath("podman"); err != nil {
		return nil, errors.New("podman is not installed")
	}
	root := filepath.Join(b.dir, "podman")
	program := []string{"podman", "--root", root + "/data", "--runroot", root + "/run", "--cgroup-manager", "cgroupfs", "--events-backend", "file"}
	program = program[:len(program):len(program)]
	env := []string{"HOME=" + b.dir}
	b.undo = append(b.undo, func() {
		must(command(env, append(program, "rm", "-fa")...))
		must(exec.Command("umount", "-R", "-l", root+"/data/overlay"))
	})
	p := client(&peer{name: "podman", alpineName: "localhost/alpine:bench"}, env, program...)
	p.push = nil // the registries are compared with docker
	// Where podman may not raise limits its defaults do not start: they are named.
	p.run = func(network string) *exec.Cmd {
		args := append(program, "run", "--rm", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096")
		if network != "" {
			args = append(args, "--network", network)
		}
		return command(env, append(args, p.alpineName, "true")...)
	}
	p.start = func(name string) *exec.Cmd {
		return command(env, append(program, "run", "-d", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=4096:4096", "--name", name, p.alpineName, "sleep", "1000")...)
	}
	return p, must(command(env, append(program, "load", "-i", b.alpine)...))
}

// crun runs the bare OCI runtime on an unpacked root: the least that a run can cost with that program.
func (b *bench) crun() (*peer, error) {
	if _, err := exec.LookPath("crun"); err != nil {
		return nil, errors.New("crun is not installed")
	}
	bundle := filepath.Join(b.dir, "bundle")
	if err := unpackBundle(b.alpine, bundle); err != nil {
		return nil, err
	}
	state := filepath.Join(b.dir, "crun")
	n := 0
	p := &peer{name: "crun", bare: true}
	p.run = func(string) *exec.Cmd {
		n++
		return command(nil, "crun", "--root", state, "run", "--bundle", bundle, fmt.Sprintf("bench%d-%d", os.Getpid(), n))
	}
	return p, nil
}

// processesOf lists the processes that run a program, from whatever mount they started it.
func processesOf(program string) []int {
	var pids []int
	file, err := os.Stat(program)
	if err != nil {
		return nil
	}
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		if exe, err := os.Stat(d + "/exe"); err == nil && os.SameFile(exe, file) {
			pid, _ := strconv.Atoi(filepath.Base(d))
			pids = append(pids, pid)
		}
	}
	return pids
}

// processesNaming lists the processes whose command line holds text, but for one.
func processesNaming(text string, but int) []int {
	var pids []int
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, d := range dirs {
		cmdline, _ := os.ReadFile(d + "/cmdline")
		pid, _ := strconv.Atoi(filepath.Base(d))
		if pid != but && pid != os.Getpid() && strings.Contains(string(cmdline), text) {
			pids = append(pids, pid)
		}
	}
	return pids
}
