package forward

import (
	"bytes"
	"context"
	"encoding/binary"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/logs"
)

// journalSocket takes entries as https://systemd.io/JOURNAL_NATIVE_PROTOCOL describes them.
const journalSocket = "/run/systemd/journal/socket"

type journald struct {
	link   *link
	fields []byte // the same for every entry
}

func newJournald(t logs.Target) (receiver, error) {
	tag := tagOf(t)
	j := &journald{link: &link{network: "unixgram", address: journalSocket}}
	var buf bytes.Buffer
	for _, f := range [][2]string{
		{"CONTAINER_ID", t.Subject.ID[:min(len(t.Subject.ID), 12)]}, {"CONTAINER_ID_FULL", t.Subject.ID},
		{"CONTAINER_NAME", strings.TrimPrefix(t.Subject.Name, "/")}, {"CONTAINER_TAG", tag},
		{"IMAGE_NAME", t.Subject.ImageName}, {"SYSLOG_IDENTIFIER", tag},
	} {
		field(&buf, f[0], []byte(f[1]))
	}
	for _, name := range slices.Sorted(maps.Keys(t.Log.Attrs)) {
		if name != "tag" {
			field(&buf, journalName(name), []byte(t.Log.Attrs[name]))
		}
	}
	j.fields = buf.Bytes()
	return j, nil
}

// journalName makes a field's name of a label's: capitals, digits and underscores.
func journalName(name string) string {
	clean := strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '_'
	}, strings.ToUpper(name))
	if trimmed := strings.TrimLeft(clean, "_"); trimmed != "" {
		clean = trimmed
	}
	return clean
}

// field writes one field: a line, or, when the value has lines of its own, its length before it.
func field(buf *bytes.Buffer, name string, value []byte) {
	buf.WriteString(name)
	if bytes.IndexByte(value, '\n') < 0 {
		buf.WriteByte('=')
	} else {
		buf.WriteByte('\n')
		buf.Write(binary.LittleEndian.AppendUint64(nil, uint64(len(value))))
	}
	buf.Write(value)
	buf.WriteByte('\n')
}

// journalEntry is the most a datagram carries here; longer ones would need a file to be passed.
const journalEntry = 160 << 10

func (j *journald) send(ctx context.Context, batch []message) error {
	for _, m := range batch {
		for rest := m.Data; ; {
			part := rest[:min(len(rest), journalEntry)]
			rest = rest[len(part):]
			if err := j.link.write(ctx, j.entry(m, part, m.Partial || len(rest) > 0)); err != nil {
				return err
			}
			if len(rest) == 0 {
				break
			}
		}
	}
	return nil
}

func (j *journald) entry(m message, data []byte, partial bool) []byte {
	var buf bytes.Buffer
	priority := severityInfo
	if m.Source == logs.Stderr {
		priority = severityError
	}
	field(&buf, "PRIORITY", []byte(strconv.Itoa(priority)))
	field(&buf, "SYSLOG_TIMESTAMP", []byte(m.Time.UTC().Format("2006-01-02T15:04:05.000000000Z07:00")))
	if partial {
		field(&buf, "CONTAINER_PARTIAL_MESSAGE", []byte("true"))
	}
	buf.Write(j.fields)
	field(&buf, "MESSAGE", data)
	return buf.Bytes()
}

func (j *journald) close() { j.link.close() }
