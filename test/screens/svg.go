package main

import (
	"fmt"
	"html"
	"strings"
)

// Sizes of the drawing, in pixels.
const (
	cellWidth  = 8
	cellHeight = 18
	margin     = 14
)

// colors are the sixteen of terminals, as they are read on a dark ground.
var colors = []string{
	"#484f58", "#ff7b72", "#3fb950", "#d29922", "#58a6ff", "#bc8cff", "#39c5cf", "#b1bac4",
	"#6e7681", "#ffa198", "#56d364", "#e3b341", "#79c0ff", "#d2a8ff", "#56d4dd", "#f0f6fc",
}

// svg draws rows as a picture that needs nothing else. What the user typed stands above them.
func svg(typed string, rows [][]cell, columns int) string {
	var b strings.Builder
	width, height := columns*cellWidth+2*margin, (len(rows)+1)*cellHeight+2*margin
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" width="%d" height="%d" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="13">`+"\n",
		width, height, width, height)
	fmt.Fprintf(&b, `<rect width="%d" height="%d" rx="8" fill="#0d1117"/>`+"\n", width, height)
	text(&b, 0, 0, []cell{{'$', look{color: 3}}})
	text(&b, 0, 2, plain(typed))
	for i, row := range rows {
		for start := 0; start < len(row); {
			end := start + 1
			for end < len(row) && row[end].look == row[start].look && !row[start].look.wide {
				end++
			}
			text(&b, i+1, start, row[start:end])
			start = end
		}
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func plain(s string) []cell {
	var out []cell
	for _, r := range s {
		out = append(out, cell{r, look{bold: true}})
	}
	return out
}

// text draws cells of one look.
func text(b *strings.Builder, row, column int, cells []cell) {
	content := letters(cells)
	if strings.TrimSpace(content) == "" {
		return
	}
	lead := len(content) - len(strings.TrimLeft(content, " "))
	content = strings.TrimSpace(content)
	n := len([]rune(content))
	l := cells[lead].look
	if l.wide {
		n *= 2
	}
	color, more := "#c9d1d9", ""
	if l.color > 0 {
		color = colors[l.color-1]
	}
	if l.bold {
		more = ` font-weight="bold"`
	}
	if l.dim {
		more += ` opacity="0.6"`
	}
	fmt.Fprintf(b, `<text x="%d" y="%d" fill="%s"%s textLength="%d" xml:space="preserve">%s</text>`+"\n",
		margin+(column+lead)*cellWidth, margin+row*cellHeight+13, color, more, n*cellWidth, html.EscapeString(content))
}
