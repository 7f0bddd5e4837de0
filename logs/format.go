package logs

import "errors"

// format is how a driver lays records one after another in a file. Two bodies: jsonFormat and localFormat.
type format interface {
	// preamble is what a new file begins with.
	preamble(attrs map[string]string) []byte
	// encode appends one record.
	encode(to []byte, line *Line) []byte
	// decode reads the record at the beginning of buf. size 0 without an error: the record is not complete yet.
	// errSkip: these size bytes are no line. errUnreadable: nothing after this place can be read.
	decode(buf []byte, line *Line) (size int, err error)
	// last finds the record that ends where buf ends. start 0 may also mean that it begins before buf; then
	// whole is false. errUnreadable: no record ends there.
	last(buf []byte) (start int, whole bool, err error)
	// ending is how many bytes of the file, from its beginning, are whole records.
	ending(file readerAt, size int64) (int64, error)
}

type readerAt interface {
	ReadAt(p []byte, offset int64) (int, error)
}

var (
	errSkip       = errors.New("not a line")
	errUnreadable = errors.New("log file is damaged")
)

// Limits of one record. A program's line up to maxLine bytes stays whole; what is longer becomes several records.
const (
	maxLine   = 256 << 10
	maxRecord = 8 << 20
)

// formatOf gives the format of a driver, nil for none. attrs are those a writer puts beside each line.
func formatOf(driver string, attrs map[string]string) (format, error) {
	switch driver {
	case JSONFile, "":
		return newJSONFormat(attrs), nil
	case Local:
		return &localFormat{}, nil
	case None:
		return nil, nil
	}
	return nil, invalid("logger: no log driver named '%s' is registered", driver)
}
