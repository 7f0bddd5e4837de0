package main

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// cell is one place of a screen; the zero value is empty. The right half of a wide letter has the letter 0.
type cell struct {
	letter rune
	look   look
}

// look is how a letter is drawn.
type look struct {
	color           int // of the sixteen, counted from 1; 0 is the usual one
	bold, dim, wide bool
}

// screen is a terminal: what programs write to one changes it. Of the control sequences it knows those that command lines use.
type screen struct {
	columns, height int
	rows            [][]cell // those that have scrolled away included
	top             int      // the row shown first
	row, column     int
	now             look
	rest            []byte // the beginning of a letter or sequence that has not come whole
}

func newScreen(columns, height int) *screen {
	return &screen{columns: columns, height: height, rows: make([][]cell, 1)}
}

// Write never fails.
func (s *screen) Write(p []byte) (int, error) {
	all := append(s.rest, p...)
	for len(all) > 0 {
		n := s.take(all)
		if n == 0 {
			break
		}
		all = all[n:]
	}
	s.rest = slices.Clone(all)
	return len(p), nil
}

// take carries out one letter or sequence and tells how many bytes it was, 0 when it is not whole.
func (s *screen) take(all []byte) int {
	switch all[0] {
	case '\r':
		s.column = 0
	case '\n':
		s.down(1)
	case '\b':
		s.column = max(0, s.column-1)
	case '\t':
		s.column = min(s.columns-1, s.column/8*8+8)
	case 0x1b:
		return s.sequence(all)
	default:
		if !utf8.FullRune(all) {
			return 0
		}
		r, n := utf8.DecodeRune(all)
		if r >= ' ' {
			s.put(r)
		}
		return n
	}
	return 1
}

func (s *screen) put(r rune) {
	width := 1
	if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xd7a3 || r >= 0xff00 && r <= 0xff60 || r >= 0x1f300 && r <= 0x1faff) {
		width = 2
	}
	if s.column+width > s.columns {
		s.column = 0
		s.down(1)
	}
	row := s.rows[s.row]
	for len(row) < s.column+width {
		row = append(row, cell{letter: ' '})
	}
	look := s.now
	look.wide = width == 2
	row[s.column] = cell{r, look}
	if width == 2 {
		row[s.column+1] = cell{}
	}
	s.rows[s.row] = row
	s.column += width
}

func (s *screen) down(n int) {
	for range n {
		if s.row++; s.row == len(s.rows) {
			s.rows = append(s.rows, nil)
		}
	}
	s.top = max(s.top, s.row-s.height+1)
}

// sequence carries out what stands behind an escape.
func (s *screen) sequence(all []byte) int {
	if len(all) < 2 {
		return 0
	}
	if all[1] != '[' {
		return 2
	}
	end := slices.IndexFunc(all[2:], func(b byte) bool { return b >= 0x40 && b <= 0x7e })
	if end < 0 {
		return 0
	}
	var numbers []int
	for text := range strings.SplitSeq(string(all[2:2+end]), ";") {
		n, _ := strconv.Atoi(text) // "?25" of "?25l" is of no interest
		numbers = append(numbers, n)
	}
	n := max(1, numbers[0])
	switch all[2+end] {
	case 'A':
		s.row = max(s.top, s.row-n)
	case 'B':
		s.row = min(len(s.rows)-1, s.row+n)
	case 'C':
		s.column = min(s.columns-1, s.column+n)
	case 'D':
		s.column = max(0, s.column-n)
	case 'G':
		s.column = n - 1
	case 'H':
		s.column = 0
		if len(numbers) > 1 {
			s.column = max(0, numbers[1]-1)
		}
		s.row = min(len(s.rows)-1, s.top+n-1)
	case 'J':
		s.clear(numbers[0])
	case 'K':
		s.clearLine(numbers[0])
	case 'm':
		for _, n := range numbers {
			s.draw(n)
		}
	}
	return 3 + end
}

func (s *screen) clear(how int) {
	if how >= 2 {
		s.rows, s.row = s.rows[:s.top+1], s.top
		s.rows[s.top] = nil
		return
	}
	s.clearLine(0)
	s.rows = s.rows[:s.row+1]
}

func (s *screen) clearLine(how int) {
	if row := s.rows[s.row]; how == 2 {
		s.rows[s.row] = nil
	} else if how == 0 && len(row) > s.column {
		s.rows[s.row] = row[:s.column]
	}
}

func (s *screen) draw(n int) {
	switch {
	case n == 0:
		s.now = look{}
	case n == 1:
		s.now.bold = true
	case n == 2:
		s.now.dim = true
	case n == 22:
		s.now.bold, s.now.dim = false, false
	case n >= 30 && n <= 37:
		s.now.color = n - 29
	case n == 39:
		s.now.color = 0
	case n >= 90 && n <= 97:
		s.now.color = n - 81
	}
}

// shown are the rows that a user sees, without the empty ones at the end.
func (s *screen) shown() [][]cell {
	rows := s.rows[s.top:]
	for len(rows) > 0 && strings.TrimSpace(letters(rows[len(rows)-1])) == "" {
		rows = rows[:len(rows)-1]
	}
	return rows
}

// String is what a user reads.
func (s *screen) String() string {
	var b strings.Builder
	for _, row := range s.shown() {
		b.WriteString(strings.TrimRight(letters(row), " ") + "\n")
	}
	return b.String()
}

func letters(row []cell) string {
	var b strings.Builder
	for _, c := range row {
		if c.letter != 0 {
			b.WriteRune(c.letter)
		}
	}
	return b.String()
}
