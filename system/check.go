package system

import (
	"context"
	"fmt"
	"maps"
	"time"

	"github.com/cove-containers/cove/api"
)

const (
	// settle is how long what was going on at the first look may take to be over at the second.
	settle = time.Second
	// rounds bounds how often a repair is followed by another look: one fault put right may show the next.
	rounds = 4
)

// Check looks at everything that is stored and everything that is on the host, and puts right what it can if asked to.
// After a repair it looks again: what is reported as repaired was not found any more, and what is not is still there.
func (s *System) Check(ctx context.Context, o api.CheckOptions) (api.CheckReport, error) {
	var repaired []api.Fault
	for round := 1; ; round++ {
		found, err := s.look(ctx, o.Deep)
		if err != nil {
			return api.CheckReport{}, err
		}
		var mended []api.Fault
		if o.Repair && round < rounds {
			mended = s.mend(ctx, found.Faults)
		}
		if len(mended) == 0 { // nothing to repair, or each remedy failed: the faults say how
			return api.CheckReport{Checked: found.Checked, Faults: append(stillGone(repaired, found.Faults), found.Faults...)}, ctx.Err()
		}
		repaired = append(repaired, mended...)
	}
}

// stillGone are the repaired faults that were not found again.
func stillGone(repaired, found []api.Fault) []api.Fault {
	again := map[[3]string]bool{}
	for _, f := range found {
		again[key(f)] = true
	}
	gone := []api.Fault{}
	for _, f := range repaired {
		if !again[key(f)] {
			gone = append(gone, f)
		}
		again[key(f)] = true
	}
	return gone
}

func key(f api.Fault) [3]string { return [3]string{f.Kind, f.Name, f.Problem} }

// mend applies the remedies there are, notes in faults why one failed, and returns what was mended.
func (s *System) mend(ctx context.Context, faults []api.Fault) []api.Fault {
	var mended []api.Fault
	for i := range faults {
		f := &faults[i]
		if f.Mend == nil || ctx.Err() != nil {
			continue
		}
		if err := f.Mend(ctx); err != nil {
			f.Error = err.Error()
			continue
		}
		done := *f
		done.Repaired = true
		mended = append(mended, done)
	}
	return mended
}

// look has every keeper look itself over, compares them with each other, and leaves out what was only passing.
func (s *System) look(ctx context.Context, deep bool) (api.Findings, error) {
	p := s.parts
	keepers := []Checker{checkFunc(s.database), p.Blobs, p.Images, p.Layers, p.Volumes, p.Networks, checkFunc(s.containers), checkFunc(s.references), checkFunc(s.host)}
	var all api.Findings
	for _, k := range append(keepers, p.More...) {
		found, err := k.Check(ctx, deep)
		if err != nil {
			return api.Findings{}, fmt.Errorf("check: %w", err)
		}
		all.Faults = append(all.Faults, found.Faults...)
		for kind, n := range found.Checked {
			all.Count(kind, n)
		}
	}
	if len(all.Faults) == 0 {
		return all, nil
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return api.Findings{}, context.Cause(ctx)
	}
	lasting := api.Findings{Checked: maps.Clone(all.Checked)}
	seen := map[[3]string]bool{}
	for _, f := range all.Faults {
		if !seen[key(f)] && (f.Persists == nil || f.Persists()) {
			lasting.Add(f)
		}
		seen[key(f)] = true
	}
	return lasting, nil
}

func (s *System) database(ctx context.Context) (api.Findings, error) {
	var found api.Findings
	records, faults, err := s.parts.Database.Check(ctx)
	found.Count("records", records)
	for _, fault := range faults {
		found.Add(api.Fault{Kind: "database", Name: "cove.db", Problem: fault.Error(), Advice: "stop the engine and restore the file from a backup"})
	}
	return found, err
}

// checkFunc is a look that no single keeper can take.
type checkFunc func(ctx context.Context) (api.Findings, error)

// Check takes the look; none of them goes deeper.
func (f checkFunc) Check(ctx context.Context, _ bool) (api.Findings, error) { return f(ctx) }
