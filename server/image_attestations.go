package server

import (
	"net/http"
	"strings"

	"github.com/cove-containers/cove/image"
)

// imageAttestations tells what is stated about one platform of an image.
func (s *Server) imageAttestations(c *call) error {
	if len(c.query["platform"]) > 1 {
		return bad("only one platform value is currently supported")
	}
	o := image.AttestationOptions{Statements: c.query.bool("statement")}
	var err error
	if o.Platform, err = c.platform(55); err != nil {
		return err
	}
	for _, kind := range c.query["type"] {
		if kind = strings.TrimSpace(kind); kind != "" {
			o.Types = append(o.Types, kind)
		}
	}
	found, err := s.Statements.Attestations(c.Context(), c.name("name"), o)
	if err != nil {
		return err
	}
	return c.json(http.StatusOK, found)
}
