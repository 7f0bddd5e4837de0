package server

import "net/http"

// ping answers the question every client asks first: are you there, and what do you speak. The headers tell.
func (s *Server) ping(c *call) error {
	header := c.w.Header()
	header.Set("Cache-Control", "no-cache, no-store, must-revalidate")
	header.Set("Pragma", "no-cache")
	header.Set("Builder-Version", "2")
	header.Set("Swarm", "inactive")
	header.Set("Content-Type", "text/plain; charset=utf-8")
	if c.Method == http.MethodHead {
		header.Set("Content-Length", "0")
		c.status(http.StatusOK)
		return nil
	}
	c.status(http.StatusOK)
	_, err := c.w.Write([]byte("OK"))
	return err
}
