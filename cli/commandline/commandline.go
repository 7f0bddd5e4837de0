// Package commandline writes the command line that would make a container again, from what inspect tells of it. It is
// pure: what it needs to know of image and daemon is handed in.
package commandline

import (
	"strings"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/api/types/system"
)

// Known is what a container has by itself, and the command line need not say.
type Known struct {
	// Image is what the container was made of; nil when it is gone: then everything is said.
	Image *image.InspectResponse
	// Daemon has the defaults of the daemon.
	Daemon system.Info
}

// Wishes say how the line is to differ from the one that was typed.
type Wishes struct {
	// Pin names the image by its ID, so that a tag that has moved changes nothing.
	Pin bool
	// SameVolumes mounts the anonymous volumes the container has; else it gets new ones.
	SameVolumes bool
	// Docker writes it for docker's command line.
	Docker bool
}

// Line is what follows "run".
type Line struct {
	// Options are the options, each with its value.
	Options [][]string
	Image   string
	Command []string
	// Notes say what of the container no option can express.
	Notes []string
}

// Of gives the line that makes container c again.
func Of(c container.InspectResponse, known Known, wishes Wishes) Line {
	w := &writer{container: c, config: c.Config, host: c.HostConfig, known: known, wishes: wishes}
	if w.config == nil {
		w.config = &container.Config{}
	}
	if w.host == nil {
		w.host = &container.HostConfig{}
	}
	w.image()
	for _, part := range []func(*writer){
		(*writer).life, (*writer).user, (*writer).networks, (*writer).ports, (*writer).volumes, (*writer).mounts, (*writer).security,
		(*writer).namespaces, (*writer).memory, (*writer).processors, (*writer).devices, (*writer).blockIO, (*writer).logging,
		(*writer).health, (*writer).command,
	} {
		part(w)
	}
	return w.line
}

// Args are the line's words.
func (l Line) Args() []string {
	var args []string
	for _, o := range l.Options {
		args = append(args, o...)
	}
	return append(append(args, l.Image), l.Command...)
}

// Text gives the line for a shell, behind the words of program; pretty puts every option on a line of its own.
func (l Line) Text(program []string, pretty bool) string {
	if !pretty {
		return Quote(append(program[:len(program):len(program)], l.Args()...))
	}
	lines := []string{Quote(program)}
	for _, o := range l.Options {
		lines = append(lines, Quote(o))
	}
	lines = append(lines, Quote(append([]string{l.Image}, l.Command...)))
	return strings.Join(lines, " \\\n  ")
}

// Quote writes words so that a POSIX shell reads the same words again.
func Quote(words []string) string {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = word
		if word == "" || strings.ContainsFunc(word, special) {
			quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
		}
	}
	return strings.Join(quoted, " ")
}

// special tells whether a shell may take a character for more than itself; at the front of a word even a harmless one
// can be, which is why tilde, hash and the like are all among them.
func special(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("_-+=:,./@%", r)
}

// writer collects a line.
type writer struct {
	container container.InspectResponse
	config    *container.Config
	host      *container.HostConfig
	known     Known
	wishes    Wishes
	from      settings
	line      Line
}

func (w *writer) note(text string) { w.line.Notes = append(w.line.Notes, text) }

// option adds an option, unless its value is empty.
func (w *writer) option(name, value string) {
	if value != "" {
		w.line.Options = append(w.line.Options, []string{name, value})
	}
}

// options adds an option for every value.
func (w *writer) options(name string, values ...string) {
	for _, value := range values {
		w.option(name, value)
	}
}

// flag adds a switch that is on.
func (w *writer) flag(name string, on bool) {
	if on {
		w.line.Options = append(w.line.Options, []string{name})
	}
}

// pairs adds "name key=value" for every entry of m.
func (w *writer) pairs(name string, m map[string]string) {
	for _, key := range sorted(m) {
		w.option(name, key+"="+m[key])
	}
}
