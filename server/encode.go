package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// json writes value as the whole answer. What cannot be encoded is an error of status 500, not half a body.
func (c *call) json(status int, value any) error {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	header := c.w.Header()
	header.Set("Content-Type", "application/json")
	header.Set("Content-Length", strconv.Itoa(body.Len()))
	c.status(status)
	if c.Method == http.MethodHead {
		return nil
	}
	_, err := c.w.Write(body.Bytes())
	return err
}
