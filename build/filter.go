package build

import (
	"fmt"
	"strings"
	"time"

	"github.com/containerd/containerd/v2/pkg/filters"
	"github.com/containerd/errdefs"
	control "github.com/moby/buildkit/api/services/control"
)

// comparisons in the order in which they are looked for.
var comparisons = []string{">=", "<=", ">", "<"}

// historyFilter reads what clients want to see of the history: each text is a list of conditions of which all must be met,
// several texts are alternatives.
func historyFilter(texts []string) (func(*control.BuildHistoryRecord) bool, error) {
	var any []func(*control.BuildHistoryRecord) bool
	for _, text := range texts {
		one, err := historyConditions(text)
		if err != nil {
			return nil, err
		}
		any = append(any, one)
	}
	return func(r *control.BuildHistoryRecord) bool {
		for _, one := range any {
			if one(r) {
				return true
			}
		}
		return len(any) == 0
	}, nil
}

func historyConditions(text string) (func(*control.BuildHistoryRecord) bool, error) {
	var all []func(*control.BuildHistoryRecord) bool
	var rest []string
	for _, field := range strings.Split(text, ",") {
		one, ok, err := timeCondition(field, time.Now())
		if err != nil {
			return nil, err
		}
		if ok {
			all = append(all, one)
		} else {
			rest = append(rest, field)
		}
	}
	filter, err := filters.ParseAll(strings.Join(rest, ","))
	if err != nil {
		return nil, fmt.Errorf("failed to parse history filters %s: %w: %w", text, err, errdefs.ErrInvalidArgument)
	}
	return func(r *control.BuildHistoryRecord) bool {
		for _, one := range all {
			if !one(r) {
				return false
			}
		}
		return filter.Match(filters.AdapterFunc(func(path []string) (string, bool) { return historyField(r, path) }))
	}, nil
}

// timeCondition reads startedAt, completedAt (a moment, or how long ago) and duration, compared with <, <=, > or >=.
func timeCondition(text string, now time.Time) (func(*control.BuildHistoryRecord) bool, bool, error) {
	for _, sign := range comparisons {
		name, value, ok := strings.Cut(text, sign)
		if !ok {
			continue
		}
		if name != "startedAt" && name != "completedAt" && name != "duration" {
			return nil, false, nil
		}
		length, err := time.ParseDuration(value)
		limit := int64(length)
		if name != "duration" {
			moment := now.Add(-length)
			if err != nil {
				moment, err = time.Parse(time.RFC3339, value)
			}
			limit = moment.UnixNano()
		}
		if err != nil {
			return nil, false, fmt.Errorf("invalid value %q of %s: %w", value, name, errdefs.ErrInvalidArgument)
		}
		return func(r *control.BuildHistoryRecord) bool { return compare(historyTime(r, name), sign, limit) }, true, nil
	}
	return nil, false, nil
}

func historyTime(r *control.BuildHistoryRecord, name string) int64 {
	switch {
	case name == "startedAt":
		return r.CreatedAt.AsTime().UnixNano()
	case r.CompletedAt == nil:
		return 0
	case name == "completedAt":
		return r.CompletedAt.AsTime().UnixNano()
	}
	return int64(r.CompletedAt.AsTime().Sub(r.CreatedAt.AsTime()))
}

func compare(a int64, sign string, b int64) bool {
	switch sign {
	case ">=":
		return a >= b
	case "<=":
		return a <= b
	case ">":
		return a > b
	}
	return a < b
}

func historyField(r *control.BuildHistoryRecord, path []string) (string, bool) {
	if len(path) == 0 {
		return "", false
	}
	switch path[0] {
	case "ref":
		return r.Ref, r.Ref != ""
	case "status":
		return historyStatus(r), true
	case "repository":
		if v, ok := r.FrontendAttrs["vcs:source"]; ok {
			return v, true
		}
		at, ok := r.FrontendAttrs["context"]
		at, _, _ = strings.Cut(at, "#")
		return at, ok && strings.Contains(at, "://")
	}
	return "", false
}

func historyStatus(r *control.BuildHistoryRecord) string {
	switch {
	case r.CompletedAt == nil:
		return "running"
	case r.Error == nil:
		return "completed"
	case strings.Contains(r.Error.Message, "context canceled"):
		return "canceled"
	}
	return "error"
}
