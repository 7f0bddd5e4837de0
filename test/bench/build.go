package main

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

const contextFiles = 20000

// builds compares builds with BuildKit, as it is in Debian's dockerd: tiny steps cold, cached, and with one of them changed; stages
// that do not need one another; and a large context of which one file has changed.
func (b *bench) builds(rounds int) error {
	kept := b.peers
	defer func() { b.peers = kept }()
	b.peers = nil
	for _, p := range kept {
		if p.build != nil {
			b.peers = append(b.peers, p)
		}
	}
	dir := filepath.Join(b.dir, "context")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	fmt.Printf("builds: %d rounds; median ms (least, most); the ratio is the peer's median over cove's\n\n", rounds)
	// What each round builds nobody has built before, the engine's program included.
	b.buildTable("30 tiny RUNs, nothing cached", rounds, dir, func(p *peer, round int) string { return steps(p, round, round) }, false)
	b.buildTable("30 tiny RUNs, all cached", rounds, dir, func(p *peer, _ int) string { return steps(p, 0, 0) }, true)
	b.buildTable("30 tiny RUNs, the 16th changed", rounds, dir, func(p *peer, round int) string { return steps(p, 0, 1000+round) }, false)
	b.buildTable("four independent stages of 5 tiny RUNs, nothing cached", rounds, dir, stages, false)
	return b.contexts(rounds, dir)
}

// steps is a Dockerfile of thirty steps; from the 16th on another one when half differs.
func steps(p *peer, all, half int) string {
	var text strings.Builder
	fmt.Fprintf(&text, "FROM %s\n", p.alpineName)
	for i := range 30 {
		n := all
		if i >= 15 {
			n = half
		}
		fmt.Fprintf(&text, "RUN echo %d >/f%d\n", n, i)
	}
	return text.String()
}

func stages(p *peer, round int) string {
	var text strings.Builder
	for s := range 4 {
		fmt.Fprintf(&text, "FROM %s AS s%d\n", p.alpineName, s)
		for i := range 5 {
			fmt.Fprintf(&text, "RUN echo %d-%d >/f%d-%d\n", round, s, s, i)
		}
	}
	fmt.Fprintf(&text, "FROM %s\n", p.alpineName)
	for s := range 4 {
		fmt.Fprintf(&text, "COPY --from=s%d /f%d-4 /\n", s, s)
	}
	return text.String()
}

// buildTable measures builds of what each round's Dockerfile says; with same, of one that was built before.
func (b *bench) buildTable(title string, rounds int, dir string, dockerfile func(*peer, int) string, same bool) {
	rows := make([]samples, len(b.peers))
	for round := -1; round < rounds; round++ {
		for i, p := range b.peers {
			rows[i].name = p.name
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(dockerfile(p, round)), 0o644); err != nil {
				fmt.Println(err)
				return
			}
			rows[i].timed(p.build("", "-q", dir))
			if round < 0 {
				rows[i].times = nil
			}
		}
	}
	print(title, rows)
}

// contexts measures builds that copy a large context of which one file has changed, and counts what the client sends.
func (b *bench) contexts(rounds int, dir string) error {
	size := 0
	for i := range contextFiles {
		folder := filepath.Join(dir, fmt.Sprintf("d%d", i/200))
		if i%200 == 0 {
			if err := os.MkdirAll(folder, 0o755); err != nil {
				return err
			}
		}
		text := strings.Repeat(fmt.Sprintf("file %d\n", i), 100)
		size += len(text)
		if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("f%d", i)), []byte(text), 0o644); err != nil {
			return err
		}
	}
	rows, sent := make([]samples, len(b.peers)), make([][2]int64, len(b.peers))
	for round := -1; round < rounds; round++ {
		changed := []byte(fmt.Sprintf("round %d\n", round))
		if err := os.WriteFile(filepath.Join(dir, "d50", "f10000"), changed, 0o644); err != nil {
			return err
		}
		for i, p := range b.peers {
			text := fmt.Sprintf("FROM %s\nCOPY . /c\n", p.alpineName)
			if err := os.WriteFile(filepath.Join(dir, "Dockerfile"), []byte(text), 0o644); err != nil {
				return err
			}
			rows[i].name = p.name
			through, err := count(filepath.Join(b.dir, "counted.sock"), p.socket)
			if err != nil {
				return err
			}
			rows[i].timed(p.build(through.socket, "-q", dir))
			if through.close(); round < 0 {
				sent[i][0], rows[i].times = through.bytes.Load(), nil
			} else {
				sent[i][1] += through.bytes.Load() / int64(rounds)
			}
		}
	}
	print(fmt.Sprintf("context of %d files, %d bytes: one file changed since the build before", contextFiles, size), rows)
	for i, p := range b.peers {
		fmt.Printf("  %-15s the client sent %d bytes the first time, then %d\n", p.name, sent[i][0], sent[i][1])
	}
	fmt.Println()
	return nil
}

// meter passes connections on and counts what clients send.
type meter struct {
	socket   string
	listener net.Listener
	bytes    atomic.Int64
}

func count(socket, behind string) (*meter, error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	c := &meter{socket: socket, listener: listener}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			daemon, err := net.Dial("unix", behind)
			if err != nil {
				client.Close()
				continue
			}
			go pass(client, daemon, nil)
			go pass(daemon, client, &c.bytes)
		}
	}()
	return c, nil
}

func (c *meter) close() {
	c.listener.Close()
	time.Sleep(50 * time.Millisecond) // what is on its way still counts
}

// pass copies one direction of a connection to its end.
func pass(to, from net.Conn, bytes *atomic.Int64) {
	n, _ := io.Copy(to, from)
	if bytes != nil {
		bytes.Add(n)
	}
	if half, ok := to.(*net.UnixConn); ok {
		_ = half.CloseWrite()
	}
}

// buildClient is a docker command line that has BuildKit's client in it: Debian's own has, newer ones need a plugin.
func buildClient() string {
	if _, err := os.Stat("/usr/bin/docker"); err == nil {
		return "/usr/bin/docker"
	}
	return "docker"
}

// builder fills in how a peer builds: through its own socket, or through the one that is given.
func builder(p *peer, socket string, env []string, program string) {
	p.socket = socket
	p.build = func(through string, args ...string) *exec.Cmd {
		if through == "" {
			through = socket
		}
		hosts := []string{"COVE_HOST=unix://" + through, "DOCKER_HOST=unix://" + through, "DOCKER_BUILDKIT=1"}
		return command(append(append([]string(nil), env...), hosts...), append([]string{program, "build"}, args...)...)
	}
}
