package checkpoint

import (
	"encoding/binary"
	"errors"
)

// The messages of criu's protocol, which is protocol buffers: a few numbers and texts each, so that they are written
// here instead of by a library that every start of the program would pay for.

// Types of requests and answers.
const (
	typeDump    = 1
	typeRestore = 2
	typeNotify  = 6
)

// Fields of a request.
const (
	requestType     = 1
	requestOptions  = 2
	requestNotified = 3
)

// Fields of its options.
const (
	optImages       = 1
	optPid          = 2
	optLeaveRunning = 3
	optUnixSockets  = 4
	optTCP          = 5
	optShellJob     = 7
	optFileLocks    = 8
	optLogLevel     = 9
	optLogFile      = 10
	optNotify       = 12
	optRoot         = 13
	optWork         = 17
	optLinkRemap    = 18
	optSibling      = 26
	optInherit      = 27
	optSharing      = 29
	optMasters      = 30
	optCgroups      = 34
	optExternal     = 37
	optLockNetwork  = 64
)

// Values of options.
const (
	cgroupsIgnored = 0
	lockByNftables = 2
	logErrors      = 2
)

// message is one that is being written.
type message []byte

const (
	wireVarint = 0
	wireBytes  = 2
)

func (m *message) number(field int, v uint64) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|wireVarint)
	*m = binary.AppendUvarint(*m, v)
}

// yes sets a flag, if it is one.
func (m *message) yes(field int, v bool) {
	if v {
		m.number(field, 1)
	}
}

func (m *message) text(field int, v string) {
	*m = binary.AppendUvarint(*m, uint64(field)<<3|wireBytes)
	*m = binary.AppendUvarint(*m, uint64(len(v)))
	*m = append(*m, v...)
}

// inherit gives a descriptor of criu's process the name under which images look for it.
func (m *message) inherit(key string, fd int) {
	var pair message
	pair.text(1, key)
	pair.number(2, uint64(fd))
	m.text(optInherit, string(pair))
}

// answer is what criu answers, or tells meanwhile.
type answer struct {
	kind    uint64
	success bool
	// step and pid are what a notification is about.
	step string
	pid  int
	// restored is the first process that was restored.
	restored int
	message  string
}

var errAnswer = errors.New("criu's answer cannot be understood")

func readAnswer(b []byte) (a answer, err error) {
	err = fields(b, func(field int, v uint64, text []byte) (err error) {
		switch field {
		case 1:
			a.kind = v
		case 2:
			a.success = v != 0
		case 4:
			return fields(text, func(field int, v uint64, _ []byte) error {
				if field == 1 {
					a.restored = int(v)
				}
				return nil
			})
		case 5:
			return fields(text, func(field int, v uint64, text []byte) error {
				switch field {
				case 1:
					a.step = string(text)
				case 2:
					a.pid = int(v)
				}
				return nil
			})
		case 9:
			a.message = string(text)
		}
		return nil
	})
	return a, err
}

// fields calls each for every field of a message.
func fields(b []byte, each func(field int, v uint64, text []byte) error) error {
	for len(b) > 0 {
		key, n := binary.Uvarint(b)
		if n <= 0 {
			return errAnswer
		}
		b = b[n:]
		var v uint64
		var text []byte
		switch key & 7 {
		case wireVarint:
			if v, n = binary.Uvarint(b); n <= 0 {
				return errAnswer
			}
			b = b[n:]
		case wireBytes:
			size, n := binary.Uvarint(b)
			if n <= 0 || size > uint64(len(b)-n) {
				return errAnswer
			}
			text, b = b[n:n+int(size)], b[n+int(size):]
		default:
			return errAnswer
		}
		if err := each(int(key>>3), v, text); err != nil {
			return err
		}
	}
	return nil
}
