package logs

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"time"
	"unicode/utf8"
)

// jsonFormat is dockerd's: {"log":"text\n","stream":"stdout","attrs":{…},"time":"…"} and a newline. A record whose log
// has no newline at its end is continued by the next one of its stream.
type jsonFormat struct {
	attrs []byte // `,"attrs":{…}`, encoded once

	seenRaw   []byte // attrs of the last record decoded, which are mostly those of the next
	seenAttrs map[string]string
}

func newJSONFormat(attrs map[string]string) *jsonFormat {
	f := &jsonFormat{}
	if len(attrs) > 0 {
		if text, err := json.Marshal(attrs); err == nil {
			f.attrs = append([]byte(`,"attrs":`), text...)
		}
	}
	return f
}

func (f *jsonFormat) preamble(map[string]string) []byte { return nil }

func (f *jsonFormat) encode(to []byte, line *Line) []byte {
	to = append(to, `{"log":"`...)
	to = appendEscaped(to, line.Data)
	to = append(to, `","stream":"`...)
	to = append(to, line.Source...)
	to = append(to, '"')
	to = append(to, f.attrs...)
	to = append(to, `,"time":"`...)
	to = line.Time.UTC().AppendFormat(to, time.RFC3339Nano)
	return append(to, '"', '}', '\n')
}

const hexDigits = "0123456789abcdef"

// appendEscaped writes text as the inside of a JSON string, with dockerd's choice of what to escape.
func appendEscaped(to, text []byte) []byte {
	clean := 0
	for i := 0; i < len(text); {
		b := text[i]
		if b < utf8.RuneSelf {
			if plainByte[b] {
				i++
				continue
			}
			to = append(to, text[clean:i]...)
			to = appendEscapedByte(to, b)
			i++
			clean = i
			continue
		}
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			to = append(to, text[clean:i]...)
			to = append(to, `\ufffd`...)
			clean = i + size
		case r == '\u2028' || r == '\u2029':
			to = append(to, text[clean:i]...)
			to = append(to, `\u202`...)
			to = append(to, hexDigits[r&0xF])
			clean = i + size
		}
		i += size
	}
	return append(to, text[clean:]...)
}

// plainByte tells which bytes below 0x80 stand for themselves.
var plainByte = func() (plain [utf8.RuneSelf]bool) {
	for b := range plain {
		plain[b] = b >= 0x20 && !bytes.ContainsRune([]byte(`"\<>&`), rune(b))
	}
	return plain
}()

func appendEscapedByte(to []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(to, '\\', b)
	case '\n':
		return append(to, '\\', 'n')
	case '\r':
		return append(to, '\\', 'r')
	}
	return append(to, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&0xF])
}

func (f *jsonFormat) decode(buf []byte, line *Line) (int, error) {
	end := bytes.IndexByte(buf, '\n')
	if end < 0 {
		if len(buf) > maxRecord {
			return len(buf), errSkip
		}
		return 0, nil
	}
	record := buf[:end]
	if !f.decodeUsual(record, line) && !f.decodeAny(record, line) {
		return end + 1, errSkip
	}
	line.Partial = len(line.Data) == 0 || line.Data[len(line.Data)-1] != '\n'
	line.Continued = false // the format does not tell
	return end + 1, nil
}

// decodeUsual reads the shape that encode writes. It gives up on any other.
func (f *jsonFormat) decodeUsual(record []byte, line *Line) bool {
	rest, ok := bytes.CutPrefix(record, []byte(`{"log":"`))
	if !ok {
		return false
	}
	if line.Data, rest, ok = unescape(line.Data[:0], rest); !ok {
		return false
	}
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"stream":"std`)); !ok {
		return false
	}
	switch {
	case bytes.HasPrefix(rest, []byte(`out"`)):
		line.Source = Stdout
	case bytes.HasPrefix(rest, []byte(`err"`)):
		line.Source = Stderr
	default:
		return false
	}
	rest = rest[len(`out"`):]
	at := bytes.LastIndex(rest, []byte(`,"time":"`))
	if at < 0 {
		return false
	}
	stamp, ok := bytes.CutSuffix(rest[at+len(`,"time":"`):], []byte(`"}`))
	if !ok || line.Time.UnmarshalText(stamp) != nil {
		return false
	}
	line.Attrs = nil
	if at == 0 {
		return true
	}
	attrs, ok := bytes.CutPrefix(rest[:at], []byte(`,"attrs":`))
	return ok && f.decodeAttrs(attrs, line)
}

func (f *jsonFormat) decodeAttrs(raw []byte, line *Line) bool {
	if !bytes.Equal(raw, f.seenRaw) {
		var attrs map[string]string
		if json.Unmarshal(raw, &attrs) != nil {
			return false
		}
		f.seenRaw, f.seenAttrs = bytes.Clone(raw), attrs
	}
	line.Attrs = f.seenAttrs
	return true
}

// decodeAny reads what another program may have written.
func (f *jsonFormat) decodeAny(record []byte, line *Line) bool {
	var document struct {
		Log    *string           `json:"log"`
		Stream string            `json:"stream"`
		Time   time.Time         `json:"time"`
		Attrs  map[string]string `json:"attrs"`
	}
	if json.Unmarshal(record, &document) != nil || document.Log == nil {
		return false
	}
	if document.Stream != Stdout && document.Stream != Stderr {
		return false
	}
	line.Data = append(line.Data[:0], *document.Log...)
	line.Source, line.Time, line.Attrs = document.Stream, document.Time, document.Attrs
	return true
}

// unescape appends the JSON string that begins in text to to, and gives what follows its closing quote. It leaves
// surrogate pairs and other rare forms to the general decoder.
func unescape(to, text []byte) (out, rest []byte, ok bool) {
	for {
		i := bytes.IndexAny(text, `"\`)
		if i < 0 || !utf8.Valid(text[:i]) {
			return to, nil, false
		}
		to = append(to, text[:i]...)
		if text[i] == '"' {
			return to, text[i+1:], true
		}
		if i+1 >= len(text) {
			return to, nil, false
		}
		mark := text[i+1]
		text = text[i+2:]
		switch mark {
		case '"', '\\', '/':
			to = append(to, mark)
		case 'n':
			to = append(to, '\n')
		case 'r':
			to = append(to, '\r')
		case 't':
			to = append(to, '\t')
		case 'u':
			r, good := hexRune(text)
			if !good {
				return to, nil, false
			}
			to, text = utf8.AppendRune(to, r), text[4:]
		default:
			return to, nil, false
		}
	}
}

func hexRune(text []byte) (rune, bool) {
	if len(text) < 4 {
		return 0, false
	}
	var r rune
	for _, b := range text[:4] {
		switch {
		case b >= '0' && b <= '9':
			r = r<<4 | rune(b-'0')
		case b >= 'a' && b <= 'f':
			r = r<<4 | rune(b-'a'+10)
		case b >= 'A' && b <= 'F':
			r = r<<4 | rune(b-'A'+10)
		default:
			return 0, false
		}
	}
	return r, r < 0xD800 || r > 0xDFFF
}

func (f *jsonFormat) last(buf []byte) (int, bool, error) {
	if len(buf) == 0 || buf[len(buf)-1] != '\n' {
		return 0, false, errUnreadable
	}
	at := bytes.LastIndexByte(buf[:len(buf)-1], '\n')
	return at + 1, at >= 0, nil
}

func (f *jsonFormat) ending(file readerAt, size int64) (int64, error) {
	block := make([]byte, 4096)
	for size > 0 {
		from := max(0, size-int64(len(block)))
		n, err := file.ReadAt(block[:size-from], from)
		if err != nil && !errors.Is(err, io.EOF) {
			return 0, err
		}
		if at := bytes.LastIndexByte(block[:n], '\n'); at >= 0 {
			return from + int64(at) + 1, nil
		}
		size = from
		block = slices.Grow(block[:0], 64<<10)[:64<<10]
	}
	return 0, nil
}
