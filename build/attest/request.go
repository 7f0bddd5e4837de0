package attest

import (
	"encoding/csv"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
)

// Wishes are the attestations that a client asks for, each with what it says of it.
type Wishes struct {
	Provenance, SBOM map[string]string // nil: not wanted
}

// Options that tell of attestations begin with one of these, as BuildKit's clients send them.
const (
	optionPrefix = "attest:"
	argPrefix    = "build-arg:BUILDKIT_ATTEST_"
)

// Wished reads what the options of a front end say of attestations.
func Wished(options map[string]string) (Wishes, error) {
	var w Wishes
	for key, value := range options {
		kind, ok := strings.CutPrefix(key, optionPrefix)
		if !ok {
			if kind, ok = strings.CutPrefix(key, argPrefix); !ok {
				continue
			}
		}
		attrs, err := attributes(value)
		if err != nil {
			return w, fmt.Errorf("read %s: %w", key, err)
		}
		if attrs["disabled"] == "true" || value == "false" {
			continue
		}
		switch strings.ToLower(kind) {
		case "provenance":
			w.Provenance = attrs
		case "sbom":
			w.SBOM = attrs
		default:
			return w, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("unknown attestation type %q", kind))
		}
	}
	return w, nil
}

// attributes reads KEY=VALUE, separated by commas.
func attributes(text string) (map[string]string, error) {
	out := map[string]string{}
	if text == "" {
		return out, nil
	}
	fields, err := csv.NewReader(strings.NewReader(text)).Read()
	if err != nil {
		return nil, errdefs.ErrInvalidArgument.WithMessage(err.Error())
	}
	for _, field := range fields {
		key, value, _ := strings.Cut(field, "=")
		out[strings.TrimSpace(key)] = value
	}
	return out, nil
}
