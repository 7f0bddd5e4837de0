package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Right is what a caller must be allowed to do before a call is let through.
type Right uint8

// The rights, from harmless to mighty.
const (
	// Anyone needs no right: the call tells nothing.
	Anyone Right = iota + 1
	// Observe reads: lists, details, logs, events.
	Observe
	// Operate changes the course of what exists: start, stop, rename.
	Operate
	// Enter runs commands in a container or touches its files and streams.
	Enter
	// Manage makes and removes things.
	Manage
	// Administer touches the host or the engine itself.
	Administer
)

// handler answers one call. What it returns becomes the error body, unless the answer has begun.
type handler func(c *call) error

// route is a row of the table: "METHOD /path/{name}", the right it needs, and who answers. A name matches slashes
// too, because image names have them.
type route struct {
	Pattern string
	Right   Right
	Handle  handler
}

// compiled is a route cut into the text around its names.
type compiled struct {
	route
	texts []string // one more than names
	names []string
}

// table finds the route of a request without looking at more than a handful of rows.
type table struct {
	exact map[string]*compiled   // "METHOD /path"
	named map[string][]*compiled // "METHOD first-folder"
}

// compile panics on a row that no request could reach or that says nothing about its right: a programmer's slip.
func compile(rows []route) *table {
	t := &table{exact: map[string]*compiled{}, named: map[string][]*compiled{}}
	for _, row := range rows {
		method, path, ok := strings.Cut(row.Pattern, " ")
		if !ok || !strings.HasPrefix(path, "/") || row.Right == 0 || row.Handle == nil {
			panic(fmt.Sprintf("route %q is not complete", row.Pattern))
		}
		c := &compiled{route: row}
		rest := path
		for {
			text, after, found := strings.Cut(rest, "{")
			c.texts = append(c.texts, text)
			if !found {
				break
			}
			var name string
			name, rest, _ = strings.Cut(after, "}")
			c.names = append(c.names, name)
		}
		if len(c.names) == 0 {
			if t.exact[row.Pattern] != nil {
				panic(fmt.Sprintf("route %q stands twice", row.Pattern))
			}
			t.exact[row.Pattern] = c
			continue
		}
		key := method + " " + folder(path)
		t.named[key] = append(t.named[key], c)
	}
	for _, list := range t.named {
		// The most telling row wins: two names before one, /{name}/attach/ws before /{name}/attach, a bare /{name} last.
		slices.SortStableFunc(list, func(a, b *compiled) int {
			return cmp.Or(len(b.names)-len(a.names), len(b.texts[len(b.texts)-1])-len(a.texts[len(a.texts)-1]))
		})
	}
	return t
}

// find gives the row for a request, with the values of its names in order, or nil.
func (t *table) find(method, path string) (*compiled, []string) {
	if c := t.exact[method+" "+path]; c != nil {
		return c, nil
	}
	for _, c := range t.named[method+" "+folder(path)] {
		if values, ok := c.match(path); ok {
			return c, values
		}
	}
	return nil, nil
}

// match reads the names' values from right to left, so that only the first name can hold slashes.
func (c *compiled) match(path string) ([]string, bool) {
	first, last := c.texts[0], c.texts[len(c.texts)-1]
	if len(path) < len(first)+len(last) || !strings.HasPrefix(path, first) || !strings.HasSuffix(path, last) {
		return nil, false
	}
	rest := path[len(first) : len(path)-len(last)]
	values := make([]string, len(c.names))
	for i := len(c.names) - 1; i > 0; i-- {
		at := strings.LastIndex(rest, c.texts[i])
		if at < 0 {
			return nil, false
		}
		values[i], rest = rest[at+len(c.texts[i]):], rest[:at]
	}
	values[0] = rest
	return values, true
}

// folder is the first part of a path: "containers" of "/containers/x/json".
func folder(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return first
}
