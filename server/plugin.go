package server

import (
	"fmt"
	"net/http"

	"github.com/containerd/errdefs"
)

// pluginList lists the managed plugins: there are none.
func (s *Server) pluginList(c *call) error {
	filters, err := c.query.filters()
	if err != nil {
		return err
	}
	if err := filters.Check("enabled", "capability"); err != nil {
		return err
	}
	if _, err := filters.Bool("enabled", false); err != nil {
		return err
	}
	return c.json(http.StatusOK, []struct{}{})
}

// noPlugin answers what concerns one plugin.
func noPlugin(c *call) error {
	return errdefs.ErrNotFound.WithMessage(fmt.Sprintf("plugin %q not found", c.name("name")))
}

func pluginEnable(c *call) error {
	if raw := c.query.get("timeout"); raw == "" {
		return bad("the timeout of a plugin is missing")
	}
	if _, err := c.query.int("timeout"); err != nil {
		return err
	}
	return noPlugin(c)
}
