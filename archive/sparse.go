package archive

import (
	"io"
	"strconv"
	"strings"
)

// span is a piece of a sparse file that the stream holds.
type span struct{ offset, size int64 }

// maxSpans bounds the memory that a sparse file's map takes.
const maxSpans = 1 << 20

// oldSparse reads the map of a GNU sparse file out of its header and the blocks that follow it.
func (t *tarReader) oldSparse(h *header, block []byte) error {
	p := fieldParser{block: block}
	h.size = p.number("real size", 483, 12)
	h.sparse, h.kind = true, '0'
	part, slots, more := block, 4, block[482] != 0
	for at := 386; ; at = 0 {
		q := fieldParser{block: part}
		for range slots {
			if part[at] == 0 {
				break
			}
			h.spans = append(h.spans, span{q.number("sparse offset", at, 12), q.number("sparse size", at+12, 12)})
			at += 24
		}
		if p.err == nil {
			p.err = q.err
		}
		if p.err != nil || !more {
			break
		}
		if len(h.spans) > maxSpans {
			return malformed("sparse map has too many pieces")
		}
		var err error
		if part, err = t.block(); err != nil {
			return unexpected(err)
		}
		slots, more = 21, part[504] != 0
	}
	if p.err != nil {
		return p.err
	}
	return h.checkSpans()
}

// newSparse reads the map of a sparse file from the records of its extended header, or from the start of its content.
func (t *tarReader) newSparse(h *header, records [][2]string) error {
	var list []string
	var major, minor string
	for _, record := range records {
		key, ok := strings.CutPrefix(record[0], sparsePrefix)
		if !ok {
			continue
		}
		var err error
		switch value := record[1]; key {
		case "name":
			h.name, err = pathValue(key, value)
		case "size", "realsize":
			h.size, err = countValue(record[0], value)
		case "major":
			major = value
		case "minor":
			minor = value
		case "offset", "numbytes":
			list = append(list, value)
		case "map":
			list = strings.Split(value, ",")
		}
		if err != nil {
			return err
		}
		h.sparse = true
	}
	switch {
	case !h.sparse:
		return nil
	case major == "1" && minor == "0":
		if err := t.sparseFromContent(h); err != nil {
			return err
		}
	case major != "" && major != "0" || minor != "" && minor != "0" && minor != "1":
		return malformed("sparse format %s.%s is unknown", major, minor)
	default:
		if err := h.sparseFromList(list); err != nil {
			return err
		}
	}
	return h.checkSpans()
}

func (h *header) sparseFromList(list []string) error {
	if len(list) == 1 && list[0] == "" {
		list = nil
	}
	if len(list)%2 != 0 || len(list) > 2*maxSpans {
		return malformed("sparse map of %d numbers", len(list))
	}
	for i := 0; i < len(list); i += 2 {
		offset, err := countValue("sparse offset", list[i])
		if err != nil {
			return err
		}
		size, err := countValue("sparse size", list[i+1])
		if err != nil {
			return err
		}
		h.spans = append(h.spans, span{offset, size})
	}
	return nil
}

// sparseFromContent reads lines of decimal numbers, the first counting the pieces, up to the end of a block.
func (t *tarReader) sparseFromContent(h *header) error {
	var pending []byte
	next := func() (int64, error) {
		for {
			if line, rest, ok := strings.Cut(string(pending), "\n"); ok {
				pending = []byte(rest)
				return countValue("sparse map", line)
			}
			if len(pending) > 32 {
				return 0, malformed("sparse map line is too long")
			}
			if h.stored < blockSize {
				return 0, malformed("sparse map is cut short")
			}
			block, err := t.block()
			if err != nil {
				return 0, unexpected(err)
			}
			h.stored -= blockSize
			pending = append(pending, block...)
		}
	}
	count, err := next()
	if err != nil {
		return err
	}
	if count > maxSpans {
		return malformed("sparse map has too many pieces")
	}
	for range count {
		offset, err := next()
		if err != nil {
			return err
		}
		size, err := next()
		if err != nil {
			return err
		}
		h.spans = append(h.spans, span{offset, size})
	}
	return nil
}

// checkSpans wants the pieces in order, inside the file, and together as long as what the stream holds.
func (h *header) checkSpans() error {
	end, total := int64(0), int64(0)
	for _, s := range h.spans {
		if s.offset < end || s.size < 0 || s.size > h.size-s.offset {
			return malformed("sparse piece %s+%s of %d", strconv.FormatInt(s.offset, 10), strconv.FormatInt(s.size, 10), h.size)
		}
		end = s.offset + s.size
		total += s.size
	}
	if h.size < 0 || total != h.stored {
		return malformed("sparse map of %d bytes for %d", total, h.stored)
	}
	return nil
}

func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
