package archive

import (
	"bytes"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/sys"
)

// blockSize is the unit of a tar stream.
const blockSize = 512

// xattr is an extended attribute.
type xattr struct {
	name  string
	value []byte
}

// header is one entry's description, pieced together from all blocks that speak of it.
type header struct {
	name, link   string
	kind         byte // '0' to '6', as the format has it
	mode         uint32
	uid, gid     int64
	size         int64 // of the file; what the stream holds is less when it has holes
	stored       int64 // in the stream
	mtime, atime sys.Timespec
	hasAtime     bool
	major, minor int64
	xattrs       []xattr
	sparse       bool
	spans        []span // of a sparse file: what is not a hole
}

// invalid is an error of kind errdefs.ErrInvalidArgument with these words and no others.
func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf(format, args...))
}

// malformed is the error for a stream that does not keep to the format.
func malformed(format string, args ...any) error {
	return invalid("invalid tar header: "+format, args...)
}

// parseHeader reads a header block. The kind may also be one of those that only describe the entry that follows.
func parseHeader(b []byte) (header, error) {
	if !checksumFits(b) {
		return header{}, malformed("checksum does not fit")
	}
	p := fieldParser{block: b}
	h := header{
		name: text(b[0:100]), link: text(b[157:257]), kind: b[156],
		mode: uint32(p.number("mode", 100, 8)) & 0o7777,
		uid:  p.number("uid", 108, 8), gid: p.number("gid", 116, 8),
		stored: p.number("size", 124, 12), mtime: sys.Timespec{Sec: p.number("mtime", 136, 12)},
	}
	posix, gnu := string(b[257:263]) == "ustar\x00", string(b[257:265]) == "ustar  \x00"
	if posix || gnu {
		h.major, h.minor = p.number("devmajor", 329, 8), p.number("devminor", 337, 8)
	}
	switch {
	case posix && string(b[508:512]) == "tar\x00":
		h.prefix(text(b[345:476]))
	case posix:
		h.prefix(text(b[345:500]))
	case gnu:
		h.gnuTimes(b)
	}
	if p.err != nil {
		return header{}, p.err
	}
	if h.stored < 0 {
		return header{}, malformed("size %d", h.stored)
	}
	h.size = h.stored
	return h, nil
}

func (h *header) prefix(s string) {
	if s != "" {
		h.name = s + "/" + h.name
	}
}

// gnuTimes reads the time of last access. Old archives of a widespread writer have a name's first part there.
func (h *header) gnuTimes(b []byte) {
	p := fieldParser{block: b}
	var sec int64
	if b[345] != 0 {
		sec = p.number("atime", 345, 12)
	}
	if b[357] != 0 {
		p.number("ctime", 357, 12)
	}
	prefix := text(b[345:500])
	switch {
	case p.err == nil && b[345] != 0:
		h.atime, h.hasAtime = sys.Timespec{Sec: sec}, true
	case p.err != nil && strings.IndexFunc(prefix, func(r rune) bool { return r > 127 }) < 0:
		h.prefix(prefix)
	}
}

// checksumFits accepts the sum of the bytes as unsigned and, as some old writers have it, as signed numbers.
func checksumFits(b []byte) bool {
	p := fieldParser{block: b}
	want := p.number("checksum", 148, 8)
	var unsigned, signed int64
	for i, c := range b[:blockSize] {
		if i >= 148 && i < 156 {
			c = ' '
		}
		unsigned += int64(c)
		signed += int64(int8(c))
	}
	return p.err == nil && (want == unsigned || want == signed)
}

// text is a field up to its first zero byte.
func text(field []byte) string {
	if i := bytes.IndexByte(field, 0); i >= 0 {
		field = field[:i]
	}
	return string(field)
}

// fieldParser reads numbers out of a header block and keeps the first error.
type fieldParser struct {
	block []byte
	err   error
}

// number reads octal digits or, marked by the highest bit, a binary number in two's complement.
func (p *fieldParser) number(field string, at, size int) int64 {
	raw := p.block[at : at+size]
	if raw[0]&0x80 != 0 {
		return p.binary(field, raw)
	}
	s := strings.Trim(string(bytes.Trim(raw, " \x00")), " ")
	if i := strings.IndexByte(s, 0); i >= 0 {
		s = s[:i]
	}
	if s == "" {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimRight(s, " "), 8, 63)
	if err != nil && p.err == nil {
		p.err = malformed("%s %q", field, s)
	}
	return int64(n)
}

func (p *fieldParser) binary(field string, raw []byte) int64 {
	negative := raw[0]&0x40 != 0
	var flip byte
	if negative {
		flip = 0xff
	}
	var n uint64
	for i, c := range raw {
		c ^= flip
		if i == 0 {
			c &= 0x7f
		}
		if n>>56 != 0 {
			n = math.MaxUint64
			break
		}
		n = n<<8 | uint64(c)
	}
	if n > math.MaxInt64 {
		if p.err == nil {
			p.err = malformed("%s is too large", field)
		}
		return 0
	}
	if negative {
		return ^int64(n)
	}
	return int64(n)
}
