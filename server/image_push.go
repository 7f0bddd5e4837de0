package server

import "github.com/cove-containers/cove/image"

// imagePush pushes an image, or all tags of a repository. What goes wrong is told in the stream, which has begun by then.
func (s *Server) imagePush(c *call) error {
	name, _, err := pulledName(c.name("name"), c.query.get("tag"))
	if err != nil {
		return err
	}
	platform, err := c.platform(46)
	if err != nil {
		return err
	}
	out := &progress{c: c}
	return out.end(s.Transfers.Push(c.Context(), name, image.PushOptions{
		Platform:    platform,
		Credentials: credentials(c.Header),
		Progress:    out.send,
	}))
}
