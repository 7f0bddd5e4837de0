package source

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opencontainers/go-digest"
)

// recall keeps what was found out about the content of clients' folders while it came in, for after the daemon's next
// start: one file for each layer, with a line for each file. It may be lost, at the price of reading the files again.
type recall struct {
	folder string
	built  func() []string // the layers there are

	mu      sync.Mutex
	told    map[string]bool // layers whose file was read or written by this process
	written int             // since the files of layers that are gone were dropped
}

// tidyAfter is how many files are written until those of layers that are gone are looked for.
const tidyAfter = 64

// complete is the last line of a file that was written to its end.
const complete = "complete"

// newRecall opens the folder and drops what is about layers that are gone.
func newRecall(folder string, built func() []string) *recall {
	r := &recall{folder: folder, built: built, told: map[string]bool{}}
	r.tidy()
	return r
}

// tidy drops what is about layers that are gone. The lock is held, or nobody else has the recall yet.
func (r *recall) tidy() {
	r.written = 0
	there := map[string]bool{}
	for _, layer := range r.built() {
		there[layer] = true
	}
	names, _ := filepath.Glob(filepath.Join(r.folder, "*"))
	for _, name := range names {
		if !there[filepath.Base(name)] {
			os.Remove(name)
		}
	}
	maps.DeleteFunc(r.told, func(layer string, _ bool) bool { return !there[layer] })
}

// first tells whether nobody has asked for this layer yet.
func (r *recall) first(layer string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := !r.told[layer]
	r.told[layer] = true
	return first
}

// keep writes down the contents of a layer's files.
func (r *recall) keep(layer string, contents map[string]digest.Digest) error {
	r.first(layer)
	if len(contents) == 0 {
		return nil
	}
	r.mu.Lock()
	if r.written++; r.written > tidyAfter {
		r.tidy()
	}
	r.mu.Unlock()
	if err := os.MkdirAll(r.folder, 0o700); err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(r.folder, layer))
	if err != nil {
		return err
	}
	w := bufio.NewWriter(f)
	for path, sum := range contents {
		fmt.Fprintf(w, "%s %q\n", sum.Encoded(), path)
	}
	fmt.Fprintln(w, complete)
	return errors.Join(w.Flush(), f.Close())
}

// read gives what was kept; nil when nothing was, or not all of it.
func (r *recall) read(layer string) map[string]digest.Digest {
	f, err := os.Open(filepath.Join(r.folder, layer))
	if err != nil {
		return nil
	}
	defer f.Close()
	contents := map[string]digest.Digest{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		hex, quoted, _ := strings.Cut(lines.Text(), " ")
		if hex == complete {
			return contents
		}
		path, err := strconv.Unquote(quoted)
		sum := digest.NewDigestFromEncoded(digest.SHA256, hex)
		if err != nil || sum.Validate() != nil {
			return nil
		}
		contents[path] = sum
	}
	return nil
}
