package api

import (
	"testing"
	"time"

	"github.com/containerd/errdefs"
)

func TestUntil(t *testing.T) {
	now := time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)
	given := func(values ...string) Filters {
		f := Filters{}
		for _, v := range values {
			f.Add("until", v)
		}
		return f
	}
	for text, want := range map[string]time.Time{
		"1h":                        now.Add(-time.Hour),
		"1h30m":                     now.Add(-90 * time.Minute),
		"1700000000":                time.Unix(1700000000, 0),
		"1700000000.5":              time.Unix(1700000000, 500000000),
		"2026-01-02":                time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC),
		"2026-01-02T03:04":          time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC),
		"2026-01-02T03:04:05Z":      time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC),
		"2026-01-02T03:04:05+02:00": time.Date(2026, 1, 2, 1, 4, 5, 0, time.UTC),
	} {
		if got, err := given(text).Until(now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", text, got, err, want)
		}
	}
	if got, err := given().Until(now); err != nil || !got.IsZero() {
		t.Errorf("none: %v %v", got, err)
	}
	for _, bad := range [][]string{{"soon"}, {""}, {"1h", "2h"}} {
		if _, err := given(bad...).Until(now); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", bad, err)
		}
	}
}

func FuzzMoment(f *testing.F) {
	f.Add("1h")
	f.Add("1700000000.123")
	f.Add("2026-01-02T03:04:05Z")
	f.Fuzz(func(t *testing.T, text string) {
		if at, ok := moment(text, time.Unix(0, 0)); !ok && !at.IsZero() {
			t.Errorf("%q: %v", text, at)
		}
	})
}
