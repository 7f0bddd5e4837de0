package format

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/cove-containers/cove/oci"
	"github.com/moby/moby/api/types/image"
)

// Tree says how a tree of images is drawn: Width is that of the terminal, zero for as wide as it has to be; Color marks names and states.
type Tree struct {
	Width int
	Color bool
}

const (
	treeGap   = "   "
	untagged  = "<untagged>"
	narrowest = 12 // of the column with the names
	inUse     = "U"
)

// Colors of what a tree consists of, as terminals take them.
const (
	treeTitle   = "\x1b[39m\x1b[1m"
	treeName    = "\x1b[34m\x1b[1m"
	treeNoName  = "\x1b[39m\x1b[2m"
	treeDetails = "\x1b[39m"
	treeAway    = "\x1b[39m\x1b[2m"
	treeChip    = "\x1b[38;5;0m\x1b[48;5;14m U \x1b[0m"
	treeInfo    = "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m"
	noColor     = "\x1b[0m"
)

// treeNode is an image under all its names, or what it is for one platform.
type treeNode struct {
	names           []string
	platform, id    string
	total, content  int64
	used, available bool
	kids            []treeNode
}

// treeColumn is a column behind the names.
type treeColumn struct {
	title string
	width int
	right bool
	text  func(treeNode) string
}

// Images draws images with the platforms they are for.
func (t Tree) Images(w io.Writer, list []image.Summary) error {
	nodes := treeNodes(list)
	var b strings.Builder
	if t.Width > 0 {
		legend, shown := " Info ->  "+inUse+" In Use", " Info ->  "+inUse+" In Use"
		if t.Color {
			legend, shown = treeInfo+" "+treeChip+" In Use", "i Info →   "+inUse+"  In Use"
		}
		b.WriteString(strings.Repeat(" ", max(t.Width-columns(shown), 0)) + legend + "\n")
	}
	names, fitting := t.fit(nodes)
	t.cell(&b, treeTitle, "IMAGE", names, false)
	for _, c := range fitting {
		b.WriteString(treeGap)
		t.cell(&b, treeTitle, c.title, c.width, c.right)
	}
	b.WriteString("\n")
	apart := slices.ContainsFunc(nodes, func(n treeNode) bool { return len(n.kids) > 0 })
	for _, n := range nodes {
		t.names(&b, n, names)
		t.details(&b, treeDetails, fitting, n)
		if apart {
			b.WriteString("\n")
		}
		for i, kid := range n.kids {
			branch, color := "├─ ", treeDetails
			if i == len(n.kids)-1 {
				branch = "└─ "
			}
			if !kid.available {
				color = treeAway
			}
			t.cell(&b, color, branch+kid.platform, names, false)
			t.details(&b, color, fitting, kid)
			b.WriteString("\n")
		}
		b.WriteString("\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// treeNodes puts images in the order of their first names, those without one last.
func treeNodes(list []image.Summary) []treeNode {
	nodes := make([]treeNode, 0, len(list))
	for _, i := range list {
		n := treeNode{names: slices.Sorted(slices.Values(i.RepoTags)), id: i.ID, total: i.Size, used: i.Containers > 0}
		for _, m := range i.Manifests {
			n.content += m.Size.Content
			if m.Kind != image.ManifestKindImage || m.ImageData == nil {
				continue
			}
			kid := treeNode{
				platform: oci.FormatPlatform(m.ImageData.Platform), id: m.ID, total: m.Size.Total, content: m.Size.Content,
				used: len(m.ImageData.Containers) > 0, available: m.Available,
			}
			n.used = n.used || kid.used
			n.kids = append(n.kids, kid)
		}
		nodes = append(nodes, n)
	}
	slices.SortStableFunc(nodes, func(x, y treeNode) int {
		switch {
		case len(x.names) == 0 || len(y.names) == 0:
			return cmp.Compare(len(y.names), len(x.names))
		}
		return cmp.Compare(x.names[0], y.names[0])
	})
	return nodes
}

// fit gives the width of the column with the names, and the columns there is room for.
func (t Tree) fit(nodes []treeNode) (names int, fitting []treeColumn) {
	all := []treeColumn{
		{"ID", 12, false, func(n treeNode) string { return ShortID(n.id) }},
		{"DISK USAGE", 10, true, func(n treeNode) string { return Size(n.total) }},
		{"CONTENT SIZE", 12, true, func(n treeNode) string { return Size(n.content) }},
		{"EXTRA", len("EXTRA"), false, t.chip(nodes)},
	}
	widest := len("IMAGE")
	for _, n := range nodes {
		if len(n.names) == 0 {
			widest = max(widest, len(untagged))
		}
		for _, name := range n.names {
			widest = max(widest, len(name))
		}
		for _, kid := range n.kids {
			widest = max(widest, len(kid.platform)+len("└─ "))
		}
	}
	if t.Width == 0 {
		return widest, all
	}
	room := t.Width
	for _, c := range all {
		if room-c.width-len(treeGap) < narrowest {
			break
		}
		room -= c.width + len(treeGap)
		fitting = append(fitting, c)
	}
	return min(room, widest), fitting
}

// chip gives what marks an image that is in use, nothing where none is.
func (t Tree) chip(nodes []treeNode) func(treeNode) string {
	some := slices.ContainsFunc(nodes, func(n treeNode) bool { return n.used })
	return func(n treeNode) string {
		switch {
		case !some:
			return ""
		case n.used && t.Color:
			return treeChip
		case n.used:
			return inUse
		case t.Color:
			return "   "
		}
		return " "
	}
}

// names writes an image's names, each on a line of its own; the details stand behind the last one, or on the next line where there is no room.
func (t Tree) names(b *strings.Builder, n treeNode, width int) {
	if len(n.names) == 0 {
		t.cell(b, treeNoName, untagged, width, false)
	}
	for i, name := range n.names {
		last, long := i == len(n.names)-1, columns(name) > width
		t.cell(b, treeName, name, width, false)
		if !last || long {
			b.WriteString("\n")
		}
		if last && long {
			b.WriteString(strings.Repeat(" ", width))
		}
	}
}

func (t Tree) details(b *strings.Builder, color string, list []treeColumn, n treeNode) {
	for _, c := range list {
		b.WriteString(treeGap)
		text := c.text(n)
		if c.title == "EXTRA" { // has colors of its own, which take no room
			shown := columns(text)
			if strings.Contains(text, "\x1b") {
				shown = columns(" " + inUse + " ")
			}
			b.WriteString(text + strings.Repeat(" ", c.width-shown))
			continue
		}
		t.cell(b, color, text, c.width, c.right)
	}
}

// cell writes text in a color, filled up to width.
func (t Tree) cell(b *strings.Builder, color, text string, width int, right bool) {
	fill := strings.Repeat(" ", max(width-columns(text), 0))
	if t.Color {
		text = color + text + noColor
	}
	if right {
		text, fill = fill, text
	}
	fmt.Fprint(b, text, fill)
}
