// Package opts reads command line flags: types of values, what each may hold, and the settings of a container put
// together from all of them. What it refuses, it refuses in docker's words.
package opts

import (
	"errors"
	"math/big"
	"strings"

	"github.com/cove-containers/cove/api"
	"github.com/docker/go-units"
	"github.com/spf13/pflag"
)

// value is a flag whose text is handed to a function each time it is given.
type value struct {
	kind string
	set  func(string) error
	show func() string
}

func (v value) Set(s string) error { return v.set(s) }
func (v value) Type() string       { return v.kind }

func (v value) String() string {
	if v.show == nil {
		return ""
	}
	return v.show()
}

// Func adds a flag that calls set for each value given; kind is how help names the value.
func Func(fs *pflag.FlagSet, name, short, kind, usage string, set func(string) error) {
	fs.VarP(value{kind: kind, set: set}, name, short, usage)
}

// List adds a flag that may be given many times. check, which may be nil, refuses or rewrites a value.
func List(fs *pflag.FlagSet, to *[]string, name, short, usage string, check func(string) (string, error)) {
	Func(fs, name, short, "list", usage, func(s string) error {
		if check != nil {
			var err error
			if s, err = check(s); err != nil {
				return err
			}
		}
		*to = append(*to, s)
		return nil
	})
}

// Map adds a flag of "key=value" that may be given many times.
func Map(fs *pflag.FlagSet, to *map[string]string, name, short, usage string, check func(string) error) {
	Func(fs, name, short, "map", usage, func(s string) error {
		if check != nil {
			if err := check(s); err != nil {
				return err
			}
		}
		key, val, _ := strings.Cut(s, "=")
		if *to == nil {
			*to = map[string]string{}
		}
		(*to)[key] = val
		return nil
	})
}

// Bytes adds a flag that holds a size such as "64m".
func Bytes(fs *pflag.FlagSet, to *int64, name, short, usage string) {
	Func(fs, name, short, "bytes", usage, func(s string) (err error) {
		*to, err = units.RAMInBytes(s)
		return err
	})
}

// SwapBytes is Bytes, and also takes -1 for no limit.
func SwapBytes(fs *pflag.FlagSet, to *int64, name, short, usage string) {
	Func(fs, name, short, "bytes", usage, func(s string) (err error) {
		if s == "-1" {
			*to = -1
			return nil
		}
		*to, err = units.RAMInBytes(s)
		return err
	})
}

// CPUs adds a flag that holds a number of processors such as "1.5", as billionths.
func CPUs(fs *pflag.FlagSet, to *int64, name, usage string) {
	Func(fs, name, "", "decimal", usage, func(s string) (err error) {
		*to, err = parseCPUs(s)
		return err
	})
}

func parseCPUs(s string) (int64, error) {
	if len(s) > 64 || strings.ContainsAny(s, "eEpP") { // an exponent can ask for a number of any length
		return 0, errors.New("failed to parse " + s + " as a rational number")
	}
	cpus, ok := new(big.Rat).SetString(s)
	if !ok {
		return 0, errors.New("failed to parse " + s + " as a rational number")
	}
	nano := cpus.Mul(cpus, big.NewRat(1e9, 1))
	if !nano.IsInt() {
		return 0, errors.New("value is too precise")
	}
	return nano.Num().Int64(), nil
}

// Filters adds a flag of "name=value" conditions.
func Filters(fs *pflag.FlagSet, to *api.Filters, short, usage string) {
	Func(fs, "filter", short, "filter", usage, func(s string) error {
		if s == "" {
			return nil
		}
		name, val, ok := strings.Cut(s, "=")
		if !ok {
			return errors.New("bad format of filter (expected name=value)")
		}
		if *to == nil {
			*to = api.Filters{}
		}
		to.Add(strings.ToLower(strings.TrimSpace(name)), strings.TrimSpace(val))
		return nil
	})
}

// Pairs turns "key=value" strings into a map; a key without value has the empty one.
func Pairs(list []string) map[string]string {
	m := make(map[string]string, len(list))
	for _, s := range list {
		key, val, _ := strings.Cut(s, "=")
		m[key] = val
	}
	return m
}
