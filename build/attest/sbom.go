package attest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/in-toto/in-toto-golang/in_toto"

	"github.com/cove-containers/cove/build/attest/packages"
	"github.com/cove-containers/cove/release"
)

// Core is what the bill of materials of the image itself is called, beside those of other things.
const Core = "sbom"

// BillOfMaterials lists what is in a file system, as far as package managers and programs tell, in SPDX: the packages of Debian and
// Alpine, of npm and Python, and the modules that Go programs were made of. at is what it says of when it was made.
func BillOfMaterials(ctx context.Context, root *os.File, at time.Time) (Attestation, error) {
	found, err := packages.Find(ctx, root)
	if err != nil {
		return Attestation{}, fmt.Errorf("list what is installed: %w", err)
	}
	body, err := spdx(found, at)
	if err != nil {
		return Attestation{}, err
	}
	return Attestation{
		Predicate: in_toto.PredicateSPDX, Path: "sbom.spdx.json", Core: Core,
		Content: func(context.Context) ([]byte, error) { return body, nil },
	}, nil
}

// The parts of a document of SPDX 2.3 that are used.
type (
	spdxDocument struct {
		Version       string             `json:"spdxVersion"`
		License       string             `json:"dataLicense"`
		ID            string             `json:"SPDXID"`
		Name          string             `json:"name"`
		Namespace     string             `json:"documentNamespace"`
		Creation      spdxCreation       `json:"creationInfo"`
		Packages      []spdxPackage      `json:"packages"`
		Relationships []spdxRelationship `json:"relationships"`
	}
	spdxCreation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		Name      string         `json:"name"`
		ID        string         `json:"SPDXID"`
		Version   string         `json:"versionInfo,omitempty"`
		Supplier  string         `json:"supplier,omitempty"`
		Location  string         `json:"downloadLocation"`
		Analyzed  bool           `json:"filesAnalyzed"`
		Source    string         `json:"sourceInfo"`
		Concluded string         `json:"licenseConcluded"`
		Declared  string         `json:"licenseDeclared"`
		Copyright string         `json:"copyrightText"`
		Refs      []spdxExternal `json:"externalRefs,omitempty"`
	}
	spdxExternal struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	spdxRelationship struct {
		From string `json:"spdxElementId"`
		Kind string `json:"relationshipType"`
		To   string `json:"relatedSpdxElement"`
	}
)

const (
	spdxSelf   = "SPDXRef-DOCUMENT"
	nothing    = "NOASSERTION"
	namespaces = "https://github.com/cove-containers/cove/spdx/"
)

func spdx(found []packages.Package, at time.Time) ([]byte, error) {
	doc := spdxDocument{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: spdxSelf, Name: Core,
		Creation: spdxCreation{Created: at.UTC().Format(time.RFC3339), Creators: []string{"Organization: Cove", "Tool: cove-" + release.Version}},
		Packages: []spdxPackage{}, Relationships: []spdxRelationship{},
	}
	known := map[string]int{}
	for _, p := range found {
		id := "SPDXRef-Package-" + spdxName(p.Kind+"-"+p.Name+"-"+p.Version)
		if known[id]++; known[id] > 1 {
			id = fmt.Sprintf("%s-%d", id, known[id])
		}
		one := spdxPackage{
			Name: p.Name, ID: id, Version: p.Version, Location: nothing, Concluded: nothing, Declared: nothing, Copyright: nothing,
			Source: "acquired package info from " + p.From, Refs: []spdxExternal{{"PACKAGE-MANAGER", "purl", p.URL()}},
		}
		if p.Maintainer != "" {
			one.Supplier = "Organization: " + p.Maintainer
		}
		if spdxLicense(p.License) {
			one.Declared = p.License
		}
		doc.Packages = append(doc.Packages, one)
		doc.Relationships = append(doc.Relationships, spdxRelationship{spdxSelf, "DESCRIBES", id})
	}
	body, err := json.Marshal(doc.Packages)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(append(body, doc.Creation.Created...))
	doc.Namespace = namespaces + hex.EncodeToString(sum[:])
	return json.MarshalIndent(doc, "", " ")
}

// spdxName is text with nothing in it that an identifier must not have.
func spdxName(text string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '-'
	}, text)
}

// spdxLicense tells whether text is certain to be a license as SPDX writes it: one word of those that are common.
func spdxLicense(text string) bool {
	return slices.Contains([]string{
		"MIT", "ISC", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "0BSD", "MPL-2.0", "GPL-2.0-only", "GPL-2.0-or-later", "GPL-3.0-only",
		"GPL-3.0-or-later", "LGPL-2.1-only", "LGPL-2.1-or-later", "LGPL-3.0-or-later", "Zlib", "Unlicense", "CC0-1.0", "OpenSSL", "PSF-2.0",
	}, text)
}
