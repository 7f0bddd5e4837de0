package api

import "context"

// CheckOptions say how far a check of the engine's data goes.
type CheckOptions struct {
	// Deep also compares every file of every unpacked layer with its archive.
	Deep bool
	// Repair puts right what can be.
	Repair bool
}

// CheckReport is what a check looked at and what it found.
type CheckReport struct {
	// Checked counts what was looked at, by kind.
	Checked map[string]int
	Faults  []Fault
}

// Fault is something that is not as it should be.
type Fault struct {
	// Kind is "blob", "image", "layer", "container", "volume", "supervisor", "cgroup", "network", "mount", "registry",
	// "build cache" or "database".
	Kind string
	// Name is the thing's digest, ID, name or path.
	Name    string
	Problem string
	// Remedy is what a repair does, or did; without one it is up to the user, and Advice says what helps.
	Remedy string `json:",omitempty"`
	Advice string `json:",omitempty"`
	// Repaired tells that it was put right, Error why it could not be.
	Repaired bool   `json:",omitempty"`
	Error    string `json:",omitempty"`

	// Persists looks once more, when what may have been going on at the first look is over; nil is always.
	Persists func() bool `json:"-"`
	// Mend applies the remedy. It looks for itself whether the fault is still there.
	Mend func(ctx context.Context) error `json:"-"`
}

// Open tells whether the fault is still there.
func (f Fault) Open() bool { return !f.Repaired }

// Findings are what one keeper found.
type Findings struct {
	Checked map[string]int
	Faults  []Fault
}

// Count adds to what was looked at.
func (f *Findings) Count(kind string, n int) {
	if f.Checked == nil {
		f.Checked = map[string]int{}
	}
	f.Checked[kind] += n
}

// Add notes a fault.
func (f *Findings) Add(fault Fault) { f.Faults = append(f.Faults, fault) }
