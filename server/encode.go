package server

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
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
// The order of the fields stays too, new ones come last.
func with(value any, extra map[string]any) (json.RawMessage, error) {
	raw, err := encodeJSON(value)
	if err != nil || len(extra) == 0 || len(raw) == 0 || raw[0] != '{' {
		return raw, err
	}
	var out bytes.Buffer
	put := func(name string, content json.RawMessage) {
		if out.Len() > 0 {
			out.WriteByte(',')
		} else {
			out.WriteByte('{')
		}
		out.WriteString(strconv.Quote(name))
		out.WriteByte(':')
		out.Write(content)
	}
	seen := map[string]bool{}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	_, _ = decoder.Token() // the opening brace
	for decoder.More() {
		name, _ := decoder.Token()
		var content json.RawMessage
		if err := decoder.Decode(&content); err != nil {
			return nil, fmt.Errorf("add fields: %w", err)
		}
		key := name.(string)
		seen[key] = true
		if nested, ok := extra[key].(map[string]any); ok {
			if content, err = with(content, nested); err != nil {
				return nil, err
			}
		}
		put(key, content)
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if seen[name] {
			continue
		}
		content, err := encodeJSON(extra[name])
		if err != nil {
			return nil, err
		}
		put(name, content)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
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
