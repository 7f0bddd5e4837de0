package classic

import (
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

// Printer writes steps in their order, however many run at once: what a later step says is kept until its turn.
type Printer struct {
	steps  *Steps
	emit   func(line string) error
	states []state
	where  map[digest.Digest]int
	extra  map[int]int // by stage, how much its base image has asked for
	next   int         // the step whose turn it is
	told   bool        // its headline has been written
	err    error
}

// state is how far a step has come.
type state struct {
	begun, done, cached, failed bool
	id                          string
	said                        strings.Builder
}

// NewPrinter writes each piece of text with emit; a piece holds whole lines, except for what a command writes.
func NewPrinter(steps *Steps, emit func(text string) error) *Printer {
	return &Printer{steps: steps, emit: emit, states: make([]state, len(steps.List)), where: map[digest.Digest]int{}, extra: map[int]int{}}
}

// Update takes what has changed and writes what can be written. It fails as emit fails.
func (p *Printer) Update(s *client.SolveStatus) error {
	for _, v := range s.Vertexes {
		i, known := p.where[v.Digest]
		if !known {
			i = p.steps.locate(v.Name, p.extra)
			p.where[v.Digest] = i
		}
		if i < 0 {
			continue
		}
		at := &p.states[i]
		at.begun = at.begun || v.Started != nil
		at.cached = at.cached || v.Cached
		at.done = at.done || v.Completed != nil && v.Error == ""
		at.failed = at.failed || v.Error != ""
		at.id = short(v.Digest)
	}
	for _, l := range s.Logs {
		if i, known := p.where[l.Vertex]; known && i >= 0 {
			p.states[i].said.Write(l.Data)
		}
	}
	p.advance(false)
	return p.err
}

// Finish writes what is left once the build has ended. After a failure steps that never began are left out.
func (p *Printer) Finish(failed bool) error {
	if failed {
		for ; p.next < len(p.states); p.next, p.told = p.next+1, false {
			at := &p.states[p.next]
			if at.begun || at.done || p.told {
				p.headline()
				p.result(at)
			}
		}
		return p.err
	}
	p.advance(true)
	return p.err
}

// advance writes the steps whose turn has come. A step that makes nothing, or that nobody needs, takes no time.
func (p *Printer) advance(ended bool) {
	for p.next < len(p.states) && p.err == nil {
		step, at := p.steps.List[p.next], &p.states[p.next]
		makes := step.Index > 0 && step.Stage >= 0 && p.steps.needed[step.Stage]
		p.headline()
		if makes && !ended && !at.done && !p.passed(p.next) {
			p.flush(at)
			return
		}
		p.result(at)
		p.next, p.told = p.next+1, false
	}
}

// passed tells whether a later step of the same stage has begun: what it stands on needs no work of its own then.
func (p *Printer) passed(i int) bool {
	for j := i + 1; j < len(p.states) && p.steps.List[j].Stage == p.steps.List[i].Stage; j++ {
		if !p.steps.List[j].Alone && (p.states[j].begun || p.states[j].done) {
			return true
		}
	}
	return false
}

func (p *Printer) headline() {
	if !p.told {
		p.told = true
		p.write(fmt.Sprintf("Step %d/%d : %s\n", p.next+1, len(p.states), p.steps.List[p.next].Text))
	}
}

func (p *Printer) result(at *state) {
	if at.cached {
		p.write(" ---> Using cache\n")
	}
	p.flush(at)
	if at.done && at.id != "" {
		p.write(" ---> " + at.id + "\n")
	}
}

func (p *Printer) flush(at *state) {
	if at.said.Len() > 0 {
		p.write(at.said.String())
		at.said.Reset()
	}
}

func (p *Printer) write(text string) {
	if p.err == nil {
		p.err = p.emit(text)
	}
}

func short(d digest.Digest) string {
	_, hex, _ := strings.Cut(string(d), ":")
	return hex[:min(12, len(hex))]
}
