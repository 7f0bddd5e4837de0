// Package format turns the daemon's answers into text: tables whose columns scripts rely on, JSON, and Go templates
// with docker's functions. A row is a struct of texts, one field for each name that a template may use, in
// alphabetical order: the order JSON shows them in.
package format

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
	"text/tabwriter"
)

// Table says how rows of one kind are shown when no template is given.
type Table struct {
	// Fields of the row, in the order of the columns.
	Fields []string
	// Headers of every field that a table template may name.
	Headers map[string]string
	// Raw is the template that the format "raw" stands for; kinds without one do not know that format.
	Raw string
}

// Write shows rows as layout asks: "" and "table" as the table, "json" as one JSON object a line, "raw" as lines of fields, "table TEMPLATE" as
// a table of the template's columns, and anything else as a template.
func Write[R any](w io.Writer, layout string, t Table, rows []R) error {
	return gather(w, func(w io.Writer) error { return write(w, layout, t, rows) })
}

// gather has what is written in many small parts, as tables are, reach w in large ones.
func gather(w io.Writer, parts func(io.Writer) error) error {
	b := bufio.NewWriterSize(w, 32<<10)
	return errors.Join(parts(b), b.Flush())
}

func write[R any](w io.Writer, layout string, t Table, rows []R) error {
	switch layout {
	case "", "table":
		return writeTable(w, t, rows)
	case "raw":
		if t.Raw != "" {
			layout = t.Raw
		}
	case "json":
		for _, row := range rows {
			if _, err := fmt.Fprintln(w, JSON(row)); err != nil {
				return err
			}
		}
		return nil
	}
	columns, isTable := strings.CutPrefix(layout, "table")
	columns = strings.NewReplacer(`\t`, "\t", `\n`, "\n").Replace(strings.Trim(columns, " "))
	body, head, err := render(columns, isTable, t.Headers, rows)
	if err != nil {
		return err
	}
	if !isTable {
		_, err = w.Write(body)
		return err
	}
	tw := tabs(w)
	fmt.Fprintf(tw, "%s\n%s", head, body)
	return tw.Flush()
}

// tabs gives columns docker's widths.
func tabs(w io.Writer) *tabwriter.Writer { return tabwriter.NewWriter(w, 10, 1, 3, ' ', 0) }

func writeTable[R any](w io.Writer, t Table, rows []R) error {
	var b bytes.Buffer
	for i, field := range t.Fields {
		separate(&b, i)
		b.WriteString(t.Headers[field])
	}
	b.WriteByte('\n')
	for _, row := range rows {
		v := reflect.Indirect(reflect.ValueOf(row))
		for i, field := range t.Fields {
			separate(&b, i)
			fmt.Fprint(&b, v.FieldByName(field))
		}
		b.WriteByte('\n')
	}
	tw := tabs(w)
	if _, err := tw.Write(b.Bytes()); err != nil {
		return err
	}
	return tw.Flush()
}

func separate(b *bytes.Buffer, column int) {
	if column > 0 {
		b.WriteByte('\t')
	}
}

// Lines shows one field of every row, one a line: what -q asks for.
func Lines[R any](w io.Writer, field string, rows []R) error {
	return gather(w, func(w io.Writer) error {
		for _, row := range rows {
			if _, err := fmt.Fprintln(w, reflect.Indirect(reflect.ValueOf(row)).FieldByName(field).String()); err != nil {
				return err
			}
		}
		return nil
	})
}

// JSON gives v on one line. Rows are written as docker writes them, with <, > and & escaped; other values are not.
func JSON(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(isRow(v))
	if err := e.Encode(v); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(b.String())
}

// isRow tells a row of this package from the API's own types.
func isRow(v any) bool {
	_, ok := v.(interface{ row() })
	return ok
}

// Indent lays raw JSON out with four spaces, as inspect does.
func Indent(raw []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Indent(&b, raw, "", "    ")
	return b.Bytes(), err
}
