package opts

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Time reads a time as --since and --until take it (seconds, a time, a date, a while ago) into seconds and
// nanoseconds as the API takes them. Empty stays empty.
func Time(s string) (string, error) {
	if s == "" {
		return "", nil
	}
	return parseTime(s, time.Now())
}

func parseTime(s string, now time.Time) (string, error) {
	if d, err := time.ParseDuration(s); err == nil && s != "0" {
		return seconds(now.Add(-d)), nil
	}
	if isSeconds(s) {
		return s, nil
	}
	layout := layoutOf(s)
	if layout == "" {
		return "", fmt.Errorf("failed to parse value as time or duration: %q", s)
	}
	zone := time.FixedZone(now.Zone())
	t, err := time.ParseInLocation(layout, s, zone)
	if err != nil {
		return "", err
	}
	return seconds(t), nil
}

// isSeconds tells whether s is a number of seconds, perhaps with up to nine decimals.
func isSeconds(s string) bool {
	whole, rest, point := strings.Cut(s, ".")
	if _, err := strconv.ParseInt(whole, 10, 64); err != nil {
		return false
	}
	if !point {
		return true
	}
	_, err := strconv.ParseUint(rest, 10, 64)
	return err == nil && len(rest) <= 9
}

// layoutOf finds out how much of date, time and zone s has.
func layoutOf(s string) string {
	date, clock, hasClock := strings.Cut(s, "T")
	if strings.Count(date, "-") != 2 {
		return ""
	}
	if !hasClock {
		return "2006-01-02"
	}
	zone := ""
	if strings.HasSuffix(clock, "Z") || strings.ContainsAny(clock, "+-") {
		zone = "Z07:00"
	}
	if i := strings.IndexAny(clock, "+-"); i >= 0 {
		clock = clock[:i]
	}
	switch strings.Count(clock, ":") {
	case 0:
		return "2006-01-02T15" + zone
	case 1:
		return "2006-01-02T15:04" + zone
	}
	return "2006-01-02T15:04:05.999999999" + zone
}

func seconds(t time.Time) string { return fmt.Sprintf("%d.%09d", t.Unix(), t.Nanosecond()) }
