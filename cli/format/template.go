package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"strings"
	"text/template"
)

// functions are what every template may call.
func functions() template.FuncMap {
	return template.FuncMap{
		"json":     JSON,
		"split":    strings.Split,
		"join":     join,
		"title":    title,
		"lower":    strings.ToLower,
		"upper":    strings.ToUpper,
		"pad":      pad,
		"truncate": truncate,
	}
}

// headerFunctions leave the header of a table alone; pad still keeps it in line with its column.
func headerFunctions() template.FuncMap {
	same := func(s string) string { return s }
	return template.FuncMap{
		"json": same, "title": same, "lower": same, "upper": same,
		"split":    func(s, _ string) string { return s },
		"join":     func(s, _ string) string { return s },
		"truncate": func(s string, _ int) string { return s },
	}
}

// title is docker's: the first letter of every word in upper case.
func title(s string) string {
	previous := ' '
	return strings.Map(func(r rune) rune {
		first := strings.ContainsRune(" \t\n.,;:-/()[]{}\"", previous)
		previous = r
		if first {
			return []rune(strings.ToUpper(string(r)))[0]
		}
		return r
	}, s)
}

func pad(s string, before, after int) string {
	if s == "" {
		return s
	}
	return strings.Repeat(" ", before) + s + strings.Repeat(" ", after)
}

func truncate(s string, length int) string {
	if len(s) < length {
		return s
	}
	return s[:length]
}

func join(list any, separator string) (string, error) {
	if list == nil {
		return "", nil
	}
	if texts, ok := list.([]string); ok {
		return strings.Join(texts, separator), nil
	}
	v := reflect.ValueOf(list)
	var texts []string
	switch v.Kind() {
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			texts = append(texts, fmt.Sprint(v.Index(i).Interface()))
		}
	case reflect.Map:
		for _, key := range v.MapKeys() {
			texts = append(texts, fmt.Sprint(v.MapIndex(key).Interface()))
		}
		slices.Sort(texts)
	default:
		return "", fmt.Errorf("expected slice, got %T", list)
	}
	return strings.Join(texts, separator), nil
}

// headers stand in for a row when the first line of a table is made.
type headers map[string]string

// Label gives the header of a column of one label: the last part of its name.
func (headers) Label(name string) string {
	parts := strings.Split(name, ".")
	return strings.NewReplacer("-", " ", "_", " ").Replace(parts[len(parts)-1])
}

// render executes layout for every row and, for a table, for its headers.
func render[R any](layout string, isTable bool, names map[string]string, rows []R) (body, head []byte, err error) {
	t, err := template.New("").Funcs(functions()).Parse(layout)
	if err != nil {
		return nil, nil, &ParseError{err}
	}
	var b bytes.Buffer
	for _, row := range rows {
		if err := t.Execute(&b, row); err != nil {
			return nil, nil, &ParseError{err}
		}
		b.WriteByte('\n')
	}
	if !isTable {
		return b.Bytes(), nil, nil
	}
	var h bytes.Buffer
	if err := t.Funcs(headerFunctions()).Execute(&h, headers(names)); err != nil {
		return nil, nil, &ParseError{err}
	}
	return b.Bytes(), h.Bytes(), nil
}

// ParseError says that a template cannot be read or does not fit what it is to show.
type ParseError struct{ Err error }

// Error names the place in the template.
func (e *ParseError) Error() string { return "template parsing error: " + e.Err.Error() }

// Unwrap gives what text/template said.
func (e *ParseError) Unwrap() error { return e.Err }

// Check reads layout and tries it on an empty row, before there is anything to show.
func Check[R any](layout string) error {
	if layout == "" || layout == "table" || layout == "json" || layout == "raw" {
		return nil
	}
	t, err := template.New("").Funcs(functions()).Parse(layout)
	if err != nil {
		return fmt.Errorf("failed to parse template: %w", err)
	}
	var empty R
	if err := t.Execute(io.Discard, empty); err != nil {
		return fmt.Errorf("failed to execute template: %w", err)
	}
	return nil
}

// Value shows one value by a template, or as one line of JSON when layout is "json". A template that cannot be read is
// a *ParseError; one that does not fit v has its line ended all the same.
func Value(w io.Writer, layout string, v any) error {
	if layout == "json" {
		_, err := fmt.Fprintln(w, JSON(v))
		return err
	}
	t, err := template.New("").Funcs(functions()).Parse(layout)
	if err != nil {
		return &ParseError{err}
	}
	var b bytes.Buffer
	failed := t.Execute(&b, v)
	b.WriteByte('\n')
	if _, err := w.Write(b.Bytes()); err != nil {
		return err
	}
	return failed
}

// Inspector shows objects by a template; typed values come first, what they lack is looked for in the raw ones.
type Inspector struct {
	template *template.Template
	out      bytes.Buffer
}

// NewInspector parses layout.
func NewInspector(layout string) (*Inspector, error) {
	if layout == "json" {
		layout = "{{json .}}"
	}
	t, err := template.New("").Funcs(functions()).Parse(layout)
	if err != nil {
		return nil, &ParseError{err}
	}
	return &Inspector{template: t}, nil
}

// Add shows one object.
func (i *Inspector) Add(typed any, raw []byte) error {
	var b bytes.Buffer
	if err := i.template.Execute(&b, plain(typed)); err != nil {
		b.Reset()
		if raw == nil || i.raw(&b, raw) != nil {
			if raw != nil {
				b.Reset()
				err = i.raw(&b, raw)
			}
			return &ParseError{err}
		}
	}
	b.WriteByte('\n')
	i.out.Write(b.Bytes())
	return nil
}

func (i *Inspector) raw(b *bytes.Buffer, raw []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	var v any
	if err := decoder.Decode(&v); err != nil {
		return errors.New("unable to read inspect data: " + err.Error())
	}
	strict, err := i.template.Clone()
	if err != nil {
		return err
	}
	return strict.Option("missingkey=error").Execute(b, v)
}

// Flush writes what was shown, an empty line when nothing was.
func (i *Inspector) Flush(w io.Writer) error {
	if i.out.Len() == 0 {
		_, err := io.WriteString(w, "\n")
		return err
	}
	_, err := i.out.WriteTo(w)
	return err
}
