// Package attest makes the statements that go with an image: where it came from (provenance) and what is in it (a bill of
// materials), each as an in-toto statement about the image or the files that a build gave.
package attest

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/in-toto/in-toto-golang/in_toto"
	"github.com/opencontainers/go-digest"
)

// The words of in-toto's statements.
const (
	// PayloadType is the media type of a statement.
	PayloadType   = in_toto.PayloadType
	statementType = in_toto.StatementInTotoV1
)

// Named is something that a statement speaks of, by one of its names.
type Named struct {
	Name   string            `json:"name"`
	Digest map[string]string `json:"digest"`
}

// statement is an in-toto statement.
type statement struct {
	Type          string          `json:"_type"`
	PredicateType string          `json:"predicateType"`
	Subject       []Named         `json:"subject"`
	Predicate     json.RawMessage `json:"predicate"`
}

// provenancePrefix begins the predicate types that only the builder itself may state.
const provenancePrefix = "https://slsa.dev/provenance/"

// Subject is what a statement speaks of.
type Subject struct {
	// Name says what it is; for the image or file itself, one more name that it has.
	Name string
	// Digests are of something else than what was built; none: what was built.
	Digests []digest.Digest
}

// Attestation is a predicate about what was built, not yet a statement: what it speaks of is known when it has been packed.
type Attestation struct {
	// Predicate is its type, Path the name of the file it becomes.
	Predicate, Path string
	// InlineOnly ones go with images in a store or registry only.
	InlineOnly bool
	Subjects   []Subject
	// Content tells the predicate.
	Content func(ctx context.Context) ([]byte, error)
	// FrontEnd tells that a front end has brought it.
	FrontEnd bool
	// Core is the name, without what follows its first dot, of the bill of materials that speaks of the files of the image itself.
	Core string
}

// Statement makes the in-toto statement. self is what was built, under each of its names.
func (a *Attestation) Statement(ctx context.Context, self []Named) ([]byte, error) {
	if a.FrontEnd && strings.HasPrefix(a.Predicate, provenancePrefix) {
		return nil, errdefs.ErrPermissionDenied.WithMessage("a front end may not state the provenance of what is built")
	}
	predicate, err := a.Content(ctx)
	if err != nil {
		return nil, fmt.Errorf("attestation %s: %w", a.Path, err)
	}
	if !json.Valid(predicate) {
		return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("attestation %s is not a JSON document", a.Path))
	}
	body, err := json.Marshal(statement{Type: statementType, PredicateType: a.Predicate, Subject: a.subjects(self), Predicate: predicate})
	if err != nil {
		return nil, fmt.Errorf("attestation %s: %w", a.Path, err)
	}
	return body, nil
}

func (a *Attestation) subjects(self []Named) []Named {
	wanted := a.Subjects
	if len(wanted) == 0 {
		wanted = []Subject{{}}
	}
	out := []Named{}
	for _, s := range wanted {
		if len(s.Digests) > 0 {
			name := s.Name
			if name == "" {
				name = "_"
			}
			out = append(out, Named{Name: name, Digest: digestSet(s.Digests...)})
			continue
		}
		for _, own := range self {
			out = append(out, own)
			if s.Name != "" && s.Name != "_" {
				out = append(out, Named{Name: s.Name, Digest: own.Digest})
			}
		}
	}
	return out
}

// Self is a subject with one name of what was built.
func Self(name string, d digest.Digest) Named {
	return Named{Name: name, Digest: digestSet(d)}
}

func digestSet(digests ...digest.Digest) map[string]string {
	set := map[string]string{}
	for _, d := range digests {
		set[d.Algorithm().String()] = d.Encoded()
	}
	return set
}

// File is the name of the file that the attestation becomes beside what was built.
func (a *Attestation) File() string { return path.Base(a.Path) }
