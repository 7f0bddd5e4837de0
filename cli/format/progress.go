package format

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/cove-containers/cove/cli/terminal"
	"github.com/moby/moby/api/types/jsonstream"
)

// Progress shows the messages of a pull or a load: on a terminal as lines that change in place, else only what does
// not repeat.
type Progress struct {
	out      io.Writer
	terminal *os.File // nil when out is none
	lines    map[string]int
}

// NewProgress makes one that writes to out; file is what out writes to, nil when that is no file.
func NewProgress(out io.Writer, file *os.File) *Progress {
	p := &Progress{out: out, lines: map[string]int{}}
	if file != nil && terminal.Is(file) {
		p.terminal = file
	}
	return p
}

// OnTerminal tells whether the user sees lines change in place.
func (p *Progress) OnTerminal() bool { return p.terminal != nil }

// Show prints one message; one that tells of a failure becomes an error.
func (p *Progress) Show(m jsonstream.Message) error {
	if m.Error != nil {
		return errors.New(m.Error.Message)
	}
	if m.Aux != nil {
		return nil
	}
	if p.terminal == nil {
		p.plain(m)
		return nil
	}
	if m.ID == "" || m.Progress == nil {
		p.lines = map[string]int{}
		p.line(m)
		return nil
	}
	line, known := p.lines[m.ID]
	if !known {
		line = len(p.lines)
		p.lines[m.ID] = line
		fmt.Fprintln(p.out)
	}
	up := len(p.lines) - line
	fmt.Fprintf(p.out, "\x1b[%dA\x1b[2K\r", up)
	width := p.width()
	text := strings.TrimRight(fmt.Sprintf("%s: %s %s", m.ID, m.Status, bar(m.Progress, width, time.Now())), " ")
	fmt.Fprintf(p.out, "%s\r", Ellipsis(text, width-1)) // a line that breaks would be two
	fmt.Fprintf(p.out, "\x1b[%dB", up)
	return nil
}

// plain prints what makes sense in a file.
func (p *Progress) plain(m jsonstream.Message) {
	if m.Progress != nil && bar(m.Progress, 200, time.Now()) != "" {
		return
	}
	p.line(m)
}

func (p *Progress) line(m jsonstream.Message) {
	if m.ID != "" {
		fmt.Fprintf(p.out, "%s: ", m.ID)
	}
	if m.Stream != "" {
		fmt.Fprint(p.out, m.Stream)
		return
	}
	fmt.Fprintln(p.out, m.Status)
}

func (p *Progress) width() int {
	if _, w := terminal.Size(p.terminal); w > 0 {
		return int(w)
	}
	return 200
}

// bar draws how far something has come, in what width allows.
func bar(p *jsonstream.Progress, width int, now time.Time) string {
	if p.Current <= 0 && p.Total <= 0 {
		return ""
	}
	amount := func(n int64) string {
		if p.Units != "" {
			return fmt.Sprint(n)
		}
		return LongSize(n)
	}
	unit := ""
	if p.Units != "" {
		unit = " " + p.Units
	}
	if p.Total <= 0 {
		if p.Units == "" {
			return fmt.Sprintf("%8v", amount(p.Current))
		}
		return amount(p.Current) + unit
	}
	half := min(50, int(float64(p.Current)/float64(p.Total)*100)/2)
	text := ""
	if length := min(50, width-60); length >= 10 { // what stands around it takes up to 60 columns
		done := half * length / 50
		text = "[" + strings.Repeat("=", done) + ">" + strings.Repeat(" ", length-done) + "] "
	}
	if !p.HideCounts {
		counts := amount(p.Current)
		if p.Units == "" {
			counts = fmt.Sprintf("%8v", counts)
		}
		if p.Current <= p.Total {
			counts += "/" + amount(p.Total)
		}
		text += counts + unit
	}
	if width > 50 && p.Current > 0 && p.Start > 0 && half < 50 {
		each := now.Sub(time.Unix(p.Start, 0)) / time.Duration(p.Current)
		text += " " + (time.Duration(p.Total-p.Current) * each).Round(time.Second).String()
	}
	return text
}
