package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/cove-containers/cove/build"
)

// builderSettings are the key "builder" of the file, as dockerd has it.
type builderSettings struct {
	text string
	gc   struct {
		off                        bool
		reserved, maxUsed, minFree int64
		policy                     []build.Rule
	}
	// entitlements are what a client may allow its build; nil is the default.
	entitlements map[string]*bool
}

// String implements pflag.Value.
func (b *builderSettings) String() string { return b.text }

// Type implements pflag.Value.
func (b *builderSettings) Type() string { return "JSON" }

// Set implements pflag.Value.
func (b *builderSettings) Set(text string) error {
	b.text = text
	type space struct {
		Reserved string `json:"reservedSpace"`
		Keep     string `json:"keepStorage"` // what older files call it
		MaxUsed  string `json:"maxUsedSpace"`
		MinFree  string `json:"minFreeSpace"`
	}
	var document struct {
		GC struct {
			Enabled         *bool  `json:"enabled"`
			DefaultReserved string `json:"defaultReservedSpace"`
			DefaultKeep     string `json:"defaultKeepStorage"`
			DefaultMaxUsed  string `json:"defaultMaxUsedSpace"`
			DefaultMinFree  string `json:"defaultMinFreeSpace"`
			Policy          []struct {
				space
				All          bool            `json:"all"`
				Filter       json.RawMessage `json:"filter"`
				KeepDuration string          `json:"keepDuration"`
			} `json:"policy"`
		} `json:"gc"`
		Entitlements struct {
			NetworkHost      *bool `json:"network-host"`
			SecurityInsecure *bool `json:"security-insecure"`
			Device           *bool `json:"device"`
		} `json:"entitlements"`
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&document); err != nil {
		return err
	}
	b.entitlements = map[string]*bool{
		"network.host": document.Entitlements.NetworkHost, "security.insecure": document.Entitlements.SecurityInsecure,
		"device": document.Entitlements.Device,
	}
	gc := document.GC
	b.gc.off = gc.Enabled != nil && !*gc.Enabled
	var err error
	if b.gc.reserved, b.gc.maxUsed, b.gc.minFree, err = sizes(first(gc.DefaultReserved, gc.DefaultKeep), gc.DefaultMaxUsed, gc.DefaultMinFree); err != nil {
		return err
	}
	b.gc.policy = nil
	for i, p := range gc.Policy {
		r := build.Rule{All: p.All}
		if r.Reserved, r.MaxUsed, r.MinFree, err = sizes(first(p.Reserved, p.Keep), p.MaxUsed, p.MinFree); err != nil {
			return fmt.Errorf("gc policy %d: %w", i+1, err)
		}
		if err := readFilter(&r, p.Filter, p.KeepDuration); err != nil {
			return fmt.Errorf("gc policy %d: %w", i+1, err)
		}
		b.gc.policy = append(b.gc.policy, r)
	}
	return nil
}

func first(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return t
		}
	}
	return ""
}

// sizes reads "10GB" and the like; an empty text is 0.
func sizes(reserved, maxUsed, minFree string) (a, b, c int64, err error) {
	out := [3]int64{}
	for i, text := range []string{reserved, maxUsed, minFree} {
		if text == "" {
			continue
		}
		if out[i], err = units.RAMInBytes(text); err != nil {
			return 0, 0, 0, err
		}
	}
	return out[0], out[1], out[2], nil
}

// readFilter reads a rule's filter, which older files write as an object or a list of its own: {"unused-for": {"2200h": true}}.
func readFilter(r *build.Rule, raw json.RawMessage, keep string) error {
	var list []string
	var older map[string]map[string]bool
	raw = bytes.TrimSpace(raw)
	switch {
	case len(raw) == 0 || string(raw) == "null":
	case raw[0] == '[':
		if err := json.Unmarshal(raw, &list); err != nil {
			return err
		}
	default:
		if err := json.Unmarshal(raw, &older); err != nil {
			return err
		}
		for name, values := range older {
			for value := range values {
				list = append(list, name+"="+value)
			}
		}
	}
	for _, f := range list {
		name, value, ok := strings.Cut(f, "=")
		if ok && (name == "unused-for" || name == "until") {
			keep = strings.TrimPrefix(value, "=")
			continue
		}
		if ok && !strings.HasPrefix(value, "=") && !strings.HasSuffix(name, "~") && !strings.HasSuffix(name, "!") {
			f = name + "==" + value
		}
		r.Filter = append(r.Filter, f)
	}
	if keep == "" {
		return nil
	}
	var err error
	r.KeepDuration, err = time.ParseDuration(keep)
	return err
}

// entitled lists what clients may allow their builds: the host's network and the devices that vendors describe unless the
// file forbids it, all rights on the host only if it allows that.
func (b *builderSettings) entitled() []string {
	var out []string
	for name, byDefault := range map[string]bool{"network.host": true, "security.insecure": false, "device": true} {
		said := b.entitlements[name]
		if said == nil && byDefault || said != nil && *said {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// Bounds of the cache when the file says nothing, in parts of the disk: what it may always take, what it may not exceed,
// and what shall stay free.
const (
	reservedShare = 0.10
	maxUsedShare  = 0.75
	minFreeShare  = 0.20

	cheapBytes = 512 << 20
	cheapAge   = 48 * time.Hour
	oldAge     = 60 * 24 * time.Hour
)

// rules are the policy that keeps the cache within bounds.
func (b *builderSettings) rules(root string) []build.Rule {
	if b.gc.off {
		return nil
	}
	if len(b.gc.policy) > 0 {
		return b.gc.policy
	}
	reserved, maxUsed, minFree := b.gc.reserved, b.gc.maxUsed, b.gc.minFree
	if size, err := diskSize(root); err == nil && reserved == 0 && maxUsed == 0 && minFree == 0 {
		reserved, maxUsed, minFree = int64(reservedShare*float64(size)), int64(maxUsedShare*float64(size)), int64(minFreeShare*float64(size))
	}
	bounds := build.Rule{Reserved: reserved, MaxUsed: maxUsed, MinFree: minFree}
	old, all := bounds, bounds
	old.KeepDuration, all.All = oldAge, true
	return []build.Rule{
		// What is made again most easily goes first.
		{Filter: []string{"type==source.local", "type==exec.cachemount", "type==source.git.checkout"}, KeepDuration: cheapAge, MaxUsed: cheapBytes},
		old, bounds, all,
	}
}
