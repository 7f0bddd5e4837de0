package opts

import (
	"testing"
	"time"
)

func TestTimes(t *testing.T) {
	now := time.Date(2024, 5, 6, 7, 8, 9, 10, time.UTC)
	for s, want := range map[string]string{
		"0": "0", "1136073845": "1136073845", "1136073845.5": "1136073845.5", "-1": "-1",
		"10m": "1714978689.000000010", "0s": "1714979289.000000010",
		"2006-01-02T15:04:05Z": "1136214245.000000000", "2006-01-02T15:04:05.5Z": "1136214245.500000000",
		"2006-01-02T15:04:05+07:00": "1136189045.000000000", "2006-01-02T15:04Z": "1136214240.000000000", "2006-01-02": "1136160000.000000000",
		"2006-01-02T15": "1136214000.000000000", "2006-01-02T15:04:05": "1136214245.000000000",
	} {
		if got, err := parseTime(s, now); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", s, got, err, want)
		}
	}
	for s, want := range map[string]string{
		"zz": `failed to parse value as time or duration: "zz"`, "1.2.3": `failed to parse value as time or duration: "1.2.3"`,
		"2006-01-02T15:04:0Z": `parsing time "2006-01-02T15:04:0Z" as "2006-01-02T15:04:05.999999999Z07:00": cannot parse "0Z" as "05"`,
	} {
		if got, err := parseTime(s, now); err == nil || err.Error() != want {
			t.Errorf("%s: got %s, %v", s, got, err)
		}
	}
}

func FuzzTime(f *testing.F) {
	for _, s := range []string{"2006-01-02T15:04:05Z", "1.5", "-", "--T", "T::+"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { _, _ = parseTime(s, time.Unix(0, 0)) })
}
