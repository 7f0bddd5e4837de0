package format

import (
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/docker/go-units"
)

// ShortID gives the first twelve characters of an ID, without its algorithm.
func ShortID(id string) string {
	if _, sum, ok := strings.Cut(id, ":"); ok {
		id = sum
	}
	if len(id) > 12 {
		id = id[:12]
	}
	return id
}

// Ellipsis cuts s to at most width columns, the last of which tells that something is missing.
func Ellipsis(s string, width int) string {
	if width <= 0 || utf8.RuneCountInString(s) <= width && columns(s) <= width {
		return s
	}
	used := 0
	for i, r := range s {
		w := runeWidth(r)
		if used+w > width-1 {
			return s[:i] + "…"
		}
		used += w
	}
	return s
}

func columns(s string) int {
	n := 0
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is two for the wide letters of East Asia, else one.
func runeWidth(r rune) int {
	if r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 || r >= 0xf900 && r <= 0xfaff ||
		r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 || r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd) {
		return 2
	}
	return 1
}

// Ago tells how long before now a time was: "3 minutes ago".
func Ago(now, then time.Time) string { return units.HumanDuration(now.Sub(then)) + " ago" }

// Size gives bytes in three digits and a decimal unit: "4.45MB".
func Size(n int64) string { return units.HumanSizeWithPrecision(float64(n), 3) }

// LongSize gives bytes in four digits and a decimal unit.
func LongSize(n int64) string { return units.HumanSize(float64(n)) }

// BinarySize gives bytes in four digits and a binary unit: "7.656GiB".
func BinarySize(n float64) string { return units.BytesSize(n) }

// pairs joins labels and the like as "key=value", sorted.
func pairs(m map[string]string) string {
	list := make([]string, 0, len(m))
	for key, val := range m {
		list = append(list, key+"="+val)
	}
	sortStrings(list)
	return strings.Join(list, ",")
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
