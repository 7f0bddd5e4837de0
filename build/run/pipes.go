package run

import (
	"fmt"
	"io"
	"os"
	"sync"

	gwclient "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/cove-containers/cove/sys"
)

// pipes connect a process with whoever started it.
type pipes struct {
	req     gwclient.StartRequest
	ours    [3]*os.File // nil where the process has /dev/null or a terminal
	theirs  [3]*os.File
	console *os.File // of a process with a terminal
	output  sync.WaitGroup
}

func newPipes(req gwclient.StartRequest) (*pipes, error) {
	p := &pipes{req: req}
	if req.Tty {
		return p, nil
	}
	for n, wanted := range []bool{req.Stdin != nil, req.Stdout != nil, req.Stderr != nil} {
		if !wanted {
			continue
		}
		pipe := sys.ReadPipe
		if n == 0 {
			pipe = sys.WritePipe
		}
		var err error
		if p.ours[n], p.theirs[n], err = pipe(outputSize); err != nil {
			p.abandon()
			return nil, fmt.Errorf("make streams: %w", err)
		}
	}
	return p, nil
}

// abandon closes everything: the process does not come.
func (p *pipes) abandon() {
	for n := range p.ours {
		closeFile(p.ours[n])
		closeFile(p.theirs[n])
	}
	p.closeAll()
}

func closeFile(f *os.File) {
	if f != nil {
		f.Close()
	}
}

// pump copies both ways from now on.
func (p *pipes) pump() {
	for _, f := range p.theirs {
		closeFile(f)
	}
	in, outs := p.ours[0], [2]*os.File{p.ours[1], p.ours[2]}
	if p.console != nil {
		in, outs[0] = p.console, p.console
	}
	if in != nil && p.req.Stdin != nil {
		go func() { // ends when the client's end is closed, which drain does
			_, _ = io.Copy(in, p.req.Stdin)
			if in != p.console {
				in.Close()
			}
		}()
	}
	for n, to := range []io.Writer{p.req.Stdout, p.req.Stderr} {
		if from := outs[n]; from != nil {
			if to == nil {
				to = io.Discard
			}
			p.output.Go(func() { _, _ = io.Copy(to, from) }) // a terminal ends with an error
		}
	}
}

// drain ends the streams once everything that the process has written is copied.
func (p *pipes) drain() {
	p.output.Wait()
	closeFile(p.console)
	closeFile(p.ours[1])
	closeFile(p.ours[2])
	p.closeAll()
}

func (p *pipes) closeAll() {
	if p.req.Stdin != nil {
		_ = p.req.Stdin.Close()
	}
	for _, w := range []io.WriteCloser{p.req.Stdout, p.req.Stderr} {
		if w != nil {
			_ = w.Close()
		}
	}
}
