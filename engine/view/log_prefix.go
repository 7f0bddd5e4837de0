package view

import (
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/cove-containers/cove/logs"
)

// stampLayout is the time in front of a line: always nine digits, so that lines align.
const stampLayout = "2006-01-02T15:04:05.000000000Z07:00"

// LogPrefix is what goes before a line with --timestamps and --details.
func LogPrefix(line logs.Line, timestamps, details bool) string {
	if line.Continued {
		return ""
	}
	var b strings.Builder
	if timestamps {
		b.WriteString(line.Time.UTC().Format(stampLayout))
		b.WriteByte(' ')
	}
	if details {
		for i, name := range slices.Sorted(maps.Keys(line.Attrs)) {
			if i > 0 {
				b.WriteByte(',')
			}
			b.WriteString(url.QueryEscape(name) + "=" + url.QueryEscape(line.Attrs[name]))
		}
		b.WriteByte(' ')
	}
	return b.String()
}
