package shape

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// DecodeJSON decodes the one JSON value of a body. Unknown fields are passed over, anything behind the value is refused.
func DecodeJSON(body io.Reader, out any) error {
	decoder := json.NewDecoder(body)
	if err := decoder.Decode(out); err != nil {
		var large *http.MaxBytesError
		switch {
		case errors.As(err, &large):
			return bad(fmt.Sprintf("invalid JSON: the request body is larger than %d bytes", large.Limit))
		case errors.Is(err, io.EOF):
			return bad("invalid JSON: got EOF while reading request body")
		}
		return bad("invalid JSON: " + err.Error())
	}
	if decoder.More() {
		return bad("unexpected content after JSON")
	}
	return nil
}

// With encodes value, which must be a JSON object, and lays extra fields over it: how answers get back the fields
// that older API versions knew. Objects in extra are laid over objects of the same name; what value already has stays.
// The order of the fields stays too, new ones come last.
func With(value any, extra map[string]any) (json.RawMessage, error) {
	raw, err := EncodeJSON(value)
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
			if content, err = With(content, nested); err != nil {
				return nil, err
			}
		}
		put(key, content)
	}
	for _, name := range slices.Sorted(maps.Keys(extra)) {
		if seen[name] {
			continue
		}
		content, err := EncodeJSON(extra[name])
		if err != nil {
			return nil, err
		}
		put(name, content)
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}

// EncodeJSON is json.Marshal without the escapes meant for HTML pages.
func EncodeJSON(value any) (json.RawMessage, error) {
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return nil, fmt.Errorf("encode answer: %w", err)
	}
	return bytes.TrimRight(body.Bytes(), "\n"), nil
}

// List keeps an empty list from being written as null.
func List[T any](s []T) []T {
	if s == nil {
		return []T{}
	}
	return s
}
