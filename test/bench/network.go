package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	netImage   = "netbench:1"
	iperfPort  = "5201"
	servePort  = "8080"
	outsideNet = "203.0.113"
	// lasts is how long one measurement of traffic goes on.
	lasts = "1"
)

// traffic compares what goes through the engines' networks, and what a network costs a start. Each engine has a host of its own, a
// network namespace: the rules of one would be gone through by the packets of the other.
func (b *bench) traffic(rounds int) error {
	own := &bench{dir: filepath.Join(b.dir, "net"), alpine: b.alpine, apart: true}
	if err := os.Mkdir(own.dir, 0o755); err != nil {
		return err
	}
	defer own.close()
	if err := own.open(own.cove, own.docker); err != nil {
		return err
	}
	own.starts(5 * rounds)
	archive := filepath.Join(own.dir, "netbench.tar")
	if err := netArchive(archive); err != nil {
		return err
	}
	away := map[*peer]func(args ...string) *exec.Cmd{}
	for _, p := range own.peers {
		var err error
		if away[p], err = own.outside(p); err != nil {
			return err
		}
		for _, cmd := range []*exec.Cmd{
			p.call("import", archive, netImage),
			p.call("network", "create", "traffic"),
			p.call("run", "-d", "--name", "iperf", "--network", "traffic", "-p", iperfPort+":"+iperfPort, netImage, "/usr/bin/iperf3", "-s"),
			p.call("run", "-d", "--name", "web", "--network", "traffic", "-p", servePort+":"+servePort, netImage, "/bench", "-serve", ":"+servePort),
			p.call("run", "-d", "--name", "client", "--network", "traffic", netImage, "/bench", "-serve", ":"+servePort),
		} {
			if err := must(cmd); err != nil {
				return err
			}
		}
		defer func() { must(p.remove("iperf", "web", "client")); must(p.call("network", "rm", "traffic")) }()
		server := away[p]("iperf3", "-s")
		if err := server.Start(); err != nil {
			return err
		}
		defer func() { server.Process.Kill(); server.Wait() }()
	}
	time.Sleep(time.Second)
	iperf := func(to string) []string {
		return []string{"/usr/bin/iperf3", "-J", "-t", lasts, "-c", to, "-p", iperfPort}
	}
	wrk := func(to string) []string {
		return []string{"/usr/bin/wrk", "-t1", "-c16", "-d" + lasts, "--latency", "-H", "Connection: close", "http://" + to + ":" + servePort + "/"}
	}
	inside := func(p *peer, args []string) *exec.Cmd { return p.call(append([]string{"exec", "client"}, args...)...) }
	local := func(p *peer, args []string) *exec.Cmd { return p.at(args...) }
	outside := func(p *peer, args []string) *exec.Cmd { return away[p](args...) }
	for _, m := range []struct {
		what, unit string
		read       func([]byte) (rate, latency float64, err error)
		from       func(*peer, []string) *exec.Cmd
		args       []string
	}{
		{"inside a network", "Gbit/s", gigabits, inside, iperf("iperf")},
		{"outside to a published port", "Gbit/s", gigabits, outside, iperf(outsideNet + ".1")},
		{"container to outside", "Gbit/s", gigabits, inside, iperf(outsideNet + ".2")},
		{"127.0.0.1 to a published port", "Gbit/s", gigabits, local, iperf("127.0.0.1")},
		{"127.0.0.1 to a published port in blocks of 1 MB", "Gbit/s", gigabits, local, append(iperf("127.0.0.1"), "-l", "1M")},
		{"::1 to a published port", "Gbit/s", gigabits, local, iperf("::1")},
		{"inside a network", "connections/s", connections, inside, wrk("web")},
		{"outside to a published port", "connections/s", connections, outside, wrk(outsideNet + ".1")},
		{"127.0.0.1 to a published port", "connections/s", connections, local, wrk("127.0.0.1")},
		{"::1 to a published port", "connections/s", connections, local, wrk("[::1]")},
	} {
		own.rates(m.what+", "+m.unit, rounds, m.read, func(p *peer) *exec.Cmd { return m.from(p, m.args) })
	}
	return nil
}

// starts measures what a network of one's own, with an alias and two ports, costs a start.
func (b *bench) starts(rounds int) {
	var rows []samples
	deeds := map[string]func() *exec.Cmd{}
	for _, p := range b.peers {
		if err := must(p.call("network", "create", "starts")); err != nil {
			fmt.Println(err)
			continue
		}
		defer func() { must(p.call("network", "rm", "starts")) }()
		none, own := p.name+", none", p.name+", its own"
		deeds[none] = func() *exec.Cmd { return p.run("none") }
		deeds[own] = func() *exec.Cmd {
			return p.call("run", "--rm", "--network", "starts", "--network-alias", "alias", "-p", "22000:80", "-p", "22001:81", p.alpineName, "true")
		}
		rows = append(rows, samples{name: none}, samples{name: own})
	}
	for round := -2; round < rounds; round++ {
		for _, i := range rand.Perm(len(rows)) { // who follows a slow one finds the machine as that has left it
			row := &rows[i]
			row.timed(deeds[row.name]())
			if round < 0 {
				row.times = nil
			}
			time.Sleep(50 * time.Millisecond) // what is made ahead is made while nobody waits
		}
	}
	print("run --rm alpine true: --network none, and a network of its own with an alias and two ports", rows)
	for i := 0; i+1 < len(rows); i += 2 {
		fmt.Printf("  %s: %.1f ms more\n", strings.Split(rows[i].name, ",")[0], ms(rows[i+1].median()-rows[i].median()))
	}
	fmt.Println()
}

// rates measures in turns, with another peer first in every round, and prints medians; the ratio is the median of the rounds' ratios of
// cove's to the peer's, so that what slows a whole round slows both.
func (b *bench) rates(title string, rounds int, read func([]byte) (rate, latency float64, err error), deed func(*peer) *exec.Cmd) {
	rate, latency, ratio := map[string][]float64{}, map[string][]float64{}, map[string][]float64{}
	for round := range rounds {
		now := map[string]float64{}
		for i := range b.peers {
			p := b.peers[(i+round)%len(b.peers)]
			out, err := deed(p).Output()
			r, l, err2 := read(out)
			if err := errors.Join(err, err2); err != nil {
				fmt.Fprintf(os.Stderr, "%s, %s: %v: %s\n", p.name, title, err, out)
				continue
			}
			rate[p.name], latency[p.name], now[p.name] = append(rate[p.name], r), append(latency[p.name], l), r
		}
		first := now[b.peers[0].name]
		for name, r := range now {
			if first > 0 {
				ratio[name] = append(ratio[name], first/r)
			}
		}
	}
	fmt.Println(title)
	for _, p := range b.peers {
		if len(rate[p.name]) == 0 {
			fmt.Printf("  %-15s failed\n", p.name)
			continue
		}
		fmt.Printf("  %-15s %10.1f  (%.1f, %.1f)  %5.2fx", p.name, middle(rate[p.name]), slices.Min(rate[p.name]), slices.Max(rate[p.name]), middle(ratio[p.name]))
		if l := middle(latency[p.name]); l > 0 {
			fmt.Printf("  median latency %.2f ms", l)
		}
		fmt.Println()
	}
	fmt.Println()
}

func middle(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// gigabits reads what iperf3 says.
func gigabits(out []byte) (rate, latency float64, err error) {
	var said struct {
		End struct {
			Received struct {
				Bits float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
		Error string `json:"error"`
	}
	if err := json.Unmarshal(out, &said); err != nil {
		return 0, 0, err
	}
	if said.Error != "" {
		return 0, 0, errors.New(said.Error)
	}
	return said.End.Received.Bits / 1e9, 0, nil
}

// connections reads what wrk says: every request is a connection.
func connections(out []byte) (rate, latency float64, err error) {
	for line := range strings.Lines(string(out)) {
		f := strings.Fields(line)
		switch {
		case len(f) == 2 && f[0] == "Requests/sec:":
			rate, err = strconv.ParseFloat(f[1], 64)
		case len(f) == 2 && f[0] == "50%":
			d, e := time.ParseDuration(f[1])
			latency, err = ms(d), e
		case strings.Contains(line, "Socket errors"):
			fmt.Fprint(os.Stderr, line)
		}
	}
	if rate == 0 && err == nil {
		err = errors.New("wrk says nothing of requests")
	}
	return rate, latency, err
}

// outside makes a network namespace that stands for another host beside that of a peer, and gives what runs programs there.
func (b *bench) outside(p *peer) (func(args ...string) *exec.Cmd, error) {
	holder := exec.Command("sleep", "100000")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	if err := holder.Start(); err != nil {
		return nil, err
	}
	b.undo = append(b.undo, func() { holder.Process.Kill(); holder.Wait() })
	enter := within(holder)
	for _, cmd := range []*exec.Cmd{
		p.at("ip", "link", "add", "outside0", "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(holder.Process.Pid)),
		p.at("ip", "addr", "add", outsideNet+".1/24", "dev", "outside0"),
		p.at("ip", "link", "set", "outside0", "up"),
		enter("ip", "addr", "add", outsideNet+".2/24", "dev", "eth0"),
		enter("ip", "link", "set", "eth0", "up"),
		enter("ip", "link", "set", "lo", "up"),
		p.at("iptables", "-P", "FORWARD", "ACCEPT"), // Debian's dockerd has the host drop what it does not forward itself
	} {
		if err := must(cmd); err != nil {
			return nil, err
		}
	}
	return enter, nil
}

// netArchive writes the files of an image that has this program, iperf3 and wrk with the libraries they need.
func netArchive(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	self, err := os.Executable()
	if err != nil {
		return err
	}
	files := map[string]string{"/bench": self}
	for _, program := range []string{"/usr/bin/iperf3", "/usr/bin/wrk"} {
		files[program] = program
		said, err := exec.Command("ldd", program).Output()
		if err != nil {
			return fmt.Errorf("libraries of %s: %w", program, err)
		}
		for word := range strings.FieldsSeq(string(said)) {
			if strings.HasPrefix(word, "/") {
				files[word] = word
			}
		}
	}
	w := tar.NewWriter(out)
	for name, from := range files {
		content, err := os.ReadFile(from)
		if err == nil {
			err = w.WriteHeader(&tar.Header{Name: strings.TrimPrefix(name, "/"), Mode: 0o755, Size: int64(len(content)), Format: tar.FormatPAX})
		}
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			return err
		}
	}
	// iperf3 writes what it sends to a file first.
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}); err != nil {
		return err
	}
	return w.Close()
}

// serve is the small server that is asked.
func serve(at string) error {
	return http.ListenAndServe(at, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello\n") }))
}
