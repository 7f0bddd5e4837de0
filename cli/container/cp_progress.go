package container

import (
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/cove-containers/cove/cli/terminal"
	"github.com/docker/go-units"
)

// copyProgress shows on a terminal how much was copied.
type copyProgress struct {
	to     io.Writer
	quiet  bool
	copied atomic.Int64
	stop   chan struct{}
	shown  chan struct{}
}

func (k *copying) progress(what string) *copyProgress {
	p := &copyProgress{to: k.app.Err, quiet: k.quiet, stop: make(chan struct{}), shown: make(chan struct{})}
	screen, isFile := k.app.Err.(*os.File)
	go func() {
		defer close(p.shown)
		if !k.quiet && isFile && terminal.Is(screen) {
			p.show(what)
		}
	}()
	return p
}

// show draws a line, which is gone when the copy has ended; one that ends soon needs none.
func (p *copyProgress) show(what string) {
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	const clear = "\r\x1b[K"
	for drawn := false; ; drawn = true {
		select {
		case <-p.stop:
			if drawn {
				fmt.Fprint(p.to, clear)
			}
			return
		case <-tick.C:
			fmt.Fprintf(p.to, "%s%s - %s", clear, what, p.size())
		}
	}
}

func (p *copyProgress) size() string {
	return units.HumanSizeWithPrecision(float64(p.copied.Load()), 3)
}

// reader counts what is read from r.
func (p *copyProgress) reader(r io.Reader) io.Reader { return io.TeeReader(r, p) }

// Write counts.
func (p *copyProgress) Write(b []byte) (int, error) {
	p.copied.Add(int64(len(b)))
	return len(b), nil
}

// end stops showing.
func (p *copyProgress) end() {
	select {
	case <-p.stop:
	default:
		close(p.stop)
	}
	<-p.shown
}

// done tells that all went well.
func (p *copyProgress) done(target string) {
	p.end()
	if !p.quiet {
		fmt.Fprintln(p.to, "Successfully copied", p.size(), "to", target)
	}
}
