package logs

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"time"
)

// localFormat is a row of frames that can be walked both ways:
//
//	4 bytes  length n of the data, big endian
//	1 byte   0xA0 | marks
//	8 bytes  time, nanoseconds since 1970
//	n bytes  data, as the program wrote it
//	4 bytes  n again
//
// A file may begin with a frame of details: a JSON object that belongs to every line of the file.
type localFormat struct {
	attrs map[string]string // of the file being read
}

const (
	frameHead = 4 + 1 + 8
	frameTail = 4

	frameSign     = 0xA0
	markStderr    = 1
	markPartial   = 2
	markContinued = 4
	markDetails   = 8
)

func (f *localFormat) preamble(attrs map[string]string) []byte {
	if len(attrs) == 0 {
		return nil
	}
	text, err := json.Marshal(attrs)
	if err != nil {
		return nil
	}
	return appendFrame(nil, markDetails, 0, text)
}

func appendFrame(to []byte, marks byte, stamp int64, data []byte) []byte {
	to = binary.BigEndian.AppendUint32(to, uint32(len(data)))
	to = append(to, frameSign|marks)
	to = binary.BigEndian.AppendUint64(to, uint64(stamp))
	to = append(to, data...)
	return binary.BigEndian.AppendUint32(to, uint32(len(data)))
}

func (f *localFormat) encode(to []byte, line *Line) []byte {
	var marks byte
	if line.Source == Stderr {
		marks |= markStderr
	}
	if line.Partial {
		marks |= markPartial
	}
	if line.Continued {
		marks |= markContinued
	}
	return appendFrame(to, marks, line.Time.UnixNano(), line.Data)
}

func (f *localFormat) decode(buf []byte, line *Line) (int, error) {
	if len(buf) < frameHead {
		return 0, nil
	}
	n := int(binary.BigEndian.Uint32(buf))
	marks := buf[4] &^ frameSign
	if buf[4]&0xF0 != frameSign || n > maxRecord {
		return 0, errUnreadable
	}
	size := frameHead + n + frameTail
	if len(buf) < size {
		return 0, nil
	}
	if int(binary.BigEndian.Uint32(buf[size-frameTail:])) != n {
		return 0, errUnreadable
	}
	data := buf[frameHead : frameHead+n]
	if marks&markDetails != 0 {
		f.attrs = nil
		if json.Unmarshal(data, &f.attrs) != nil {
			f.attrs = nil
		}
		return size, errSkip
	}
	line.Source = Stdout
	if marks&markStderr != 0 {
		line.Source = Stderr
	}
	line.Time = time.Unix(0, int64(binary.BigEndian.Uint64(buf[5:])))
	line.Data = append(line.Data[:0], data...)
	line.Partial = marks&markPartial != 0
	line.Continued = marks&markContinued != 0
	line.Attrs = f.attrs
	return size, nil
}

func (f *localFormat) last(buf []byte) (int, bool, error) {
	if len(buf) < frameTail {
		return 0, false, errUnreadable
	}
	n := int(binary.BigEndian.Uint32(buf[len(buf)-frameTail:]))
	if n > maxRecord {
		return 0, false, errUnreadable
	}
	start := len(buf) - frameHead - n - frameTail
	if start < 0 {
		return 0, false, nil
	}
	if int(binary.BigEndian.Uint32(buf[start:])) != n || buf[start+4]&0xF0 != frameSign {
		return 0, false, errUnreadable
	}
	return start, true, nil
}

func (f *localFormat) ending(file readerAt, size int64) (int64, error) {
	if whole, err := f.endsWhole(file, size); whole || err != nil {
		return size, err
	}
	head := make([]byte, frameHead)
	var end int64
	for end < size {
		if _, err := file.ReadAt(head, end); err != nil {
			if errors.Is(err, io.EOF) {
				break
			}
			return 0, err
		}
		n := int64(binary.BigEndian.Uint32(head))
		next := end + frameHead + n + frameTail
		if head[4]&0xF0 != frameSign || n > maxRecord || next > size {
			break
		}
		end = next
	}
	return end, nil
}

// endsWhole tells whether a whole frame ends where the file ends.
func (f *localFormat) endsWhole(file readerAt, size int64) (bool, error) {
	if size == 0 {
		return true, nil
	}
	if size < frameHead+frameTail {
		return false, nil
	}
	tail := make([]byte, frameTail)
	if _, err := file.ReadAt(tail, size-frameTail); err != nil {
		return false, err
	}
	n := int64(binary.BigEndian.Uint32(tail))
	start := size - frameHead - n - frameTail
	if start < 0 || n > maxRecord {
		return false, nil
	}
	head := make([]byte, frameHead)
	if _, err := file.ReadAt(head, start); err != nil {
		return false, err
	}
	return int64(binary.BigEndian.Uint32(head)) == n && head[4]&0xF0 == frameSign, nil
}
