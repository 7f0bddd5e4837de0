package archive

import (
	"math"
	"strconv"
	"strings"

	"github.com/cove-containers/cove/sys"
)

// Keys of extended headers.
const (
	xattrPrefix  = "SCHILY.xattr."
	sparsePrefix = "GNU.sparse."
)

// extended is what blocks before an entry's own header say about it.
type extended struct {
	records            [][2]string
	longName, longLink string
}

// parseRecords splits the body of an extended header: "LENGTH KEY=VALUE\n", the length counting itself.
func parseRecords(body string) ([][2]string, error) {
	var all [][2]string
	for len(body) > 0 {
		digits, _, ok := strings.Cut(body, " ")
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil || n > uint64(len(body)) || int(n) < len(digits)+3 {
			return nil, malformed("extended record %.40q", body)
		}
		record := body[len(digits)+1 : n]
		key, value, ok := strings.Cut(strings.TrimSuffix(record, "\n"), "=")
		if !ok || key == "" || record[len(record)-1] != '\n' {
			return nil, malformed("extended record %.40q", record)
		}
		all = append(all, [2]string{key, value})
		body = body[n:]
	}
	return all, nil
}

// apply puts what was said before into the entry's own header.
func (x *extended) apply(h *header) error {
	for _, record := range x.records {
		if err := h.record(record[0], record[1]); err != nil {
			return err
		}
	}
	if x.longName != "" {
		h.name = x.longName
	}
	if x.longLink != "" {
		h.link = x.longLink
	}
	return nil
}

func (h *header) record(key, value string) error {
	if name, ok := strings.CutPrefix(key, xattrPrefix); ok {
		h.setXattr(name, value)
		return nil
	}
	if value == "" { // an empty value takes back what a global header said
		return nil
	}
	var err error
	switch key {
	case "path":
		h.name, err = pathValue(key, value)
	case "linkpath":
		h.link, err = pathValue(key, value)
	case "size":
		h.stored, err = countValue(key, value)
		h.size = h.stored
	case "uid":
		h.uid, err = countValue(key, value)
	case "gid":
		h.gid, err = countValue(key, value)
	case "mtime":
		h.mtime, err = timeValue(key, value)
	case "atime":
		h.hasAtime = true
		h.atime, err = timeValue(key, value)
	}
	return err
}

func (h *header) setXattr(name, value string) {
	for i := range h.xattrs {
		if h.xattrs[i].name == name {
			h.xattrs[i].value = []byte(value)
			return
		}
	}
	h.xattrs = append(h.xattrs, xattr{name, []byte(value)})
}

func pathValue(key, value string) (string, error) {
	if strings.IndexByte(value, 0) >= 0 {
		return "", malformed("%s holds a zero byte", key)
	}
	return value, nil
}

func countValue(key, value string) (int64, error) {
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 {
		return 0, malformed("%s %.40q", key, value)
	}
	return n, nil
}

// timeValue reads seconds with a decimal fraction, which counts forward from the whole second below.
func timeValue(key, value string) (sys.Timespec, error) {
	whole, fraction, _ := strings.Cut(value, ".")
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || strings.Trim(fraction, "0123456789") != "" {
		return sys.Timespec{}, malformed("%s %.40q", key, value)
	}
	nsec, _ := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if strings.HasPrefix(whole, "-") && nsec > 0 {
		if sec == math.MinInt64 {
			return sys.Timespec{}, malformed("%s %.40q", key, value)
		}
		sec, nsec = sec-1, 1_000_000_000-nsec
	}
	return sys.Timespec{Sec: sec, Nsec: nsec}, nil
}
