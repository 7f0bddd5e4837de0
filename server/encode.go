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

// with encodes value, which must be a JSON object, and lays extra fields over it: how answers get back the fields
// that older API versions knew. Objects in extra are laid over objects of the same name; what value already has stays.
func with(value any, extra map[string]any) (json.RawMessage, error) {
	raw, err := encodeJSON(value)
	if err != nil || len(extra) == 0 {
		return raw, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("add fields: %w", err)
	}
	if fields == nil {
		return raw, nil
	}
	for name, add := range extra {
		have, exists := fields[name]
		nested, isObject := add.(map[string]any)
		switch {
		case exists && isObject:
			if fields[name], err = with(have, nested); err != nil {
				return nil, err
			}
		case !exists:
			if fields[name], err = encodeJSON(add); err != nil {
				return nil, err
			}
		}
	}
	return encodeJSON(fields)
}

// encodeJSON is json.Marshal without the escapes meant for HTML pages.
func encodeJSON(value any) (json.RawMessage, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimRight(body.Bytes(), "\n"), nil
}

// list keeps an empty list from being written as null.
func list[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
