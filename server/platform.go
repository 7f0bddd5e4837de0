package server

import (
	"encoding/json"

	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// decodePlatform reads a platform written as a JSON object.
func decodePlatform(raw string) (*ocispec.Platform, error) {
	var p ocispec.Platform
	if err := json.Unmarshal([]byte(raw), &p); err != nil {
		return nil, bad("failed to parse platform: " + err.Error())
	}
	optional := p.Variant != "" || p.OSVersion != "" || len(p.OSFeatures) > 0
	switch {
	case p.OS == "" && p.Architecture == "" && optional:
		return nil, bad("optional platform fields provided, but OS and Architecture are missing")
	case p.OS == "" || p.Architecture == "":
		return nil, bad("both OS and Architecture must be provided")
	}
	return &p, nil
}

// platform reads the one platform of a request, nil when there is none or the client's version knew no such
// parameter.
func (c *call) platform(sinceMinor int) (*ocispec.Platform, error) {
	raw := c.query.get("platform")
	if raw == "" || !c.since(sinceMinor) {
		return nil, nil
	}
	return decodePlatform(raw)
}

// platforms reads a parameter that may be given several times.
func (c *call) platforms(name string) ([]ocispec.Platform, error) {
	var all []ocispec.Platform
	for _, raw := range c.query[name] {
		p, err := decodePlatform(raw)
		if err != nil {
			return nil, err
		}
		all = append(all, *p)
	}
	return all, nil
}

// archivePlatforms reads which platforms an archive is to have; more than one may be named since API 1.52.
func (c *call) archivePlatforms() ([]ocispec.Platform, error) {
	if !c.since(48) {
		return nil, nil
	}
	if len(c.query["platform"]) > 1 && !c.since(52) {
		return nil, bad("multiple platform parameters are not supported in this API version; use API version 1.52 or later")
	}
	return c.platforms("platform")
}
