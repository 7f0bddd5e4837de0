package forward

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/tinylib/msgp/msgp"

	"github.com/cove-containers/cove/logs"
)

// fluentd speaks the Forward protocol, https://github.com/fluent/fluentd/wiki/Forward-Protocol-Specification-v1.
type fluentd struct {
	link      *link
	tag       string
	subsecond bool // times are EventTime, not seconds
	ack       bool // the server confirms what it has taken
	wait      time.Duration
	fields    map[string]string
}

func newFluentd(t logs.Target) (receiver, error) {
	o := t.Options
	f := &fluentd{tag: tagOf(t), wait: writeTime}
	address := o["fluentd-address"]
	if address == "" {
		address = "tcp://127.0.0.1:24224"
	}
	if !strings.Contains(address, "://") {
		address = "tcp://" + address
	}
	var err error
	if f.link, err = parseAddress(address, "24224", "tcp", "unix"); err != nil {
		return nil, invalid("invalid fluentd-address (%s): %v", o["fluentd-address"], err)
	}
	if err := f.settings(o); err != nil {
		return nil, err
	}
	f.fields = map[string]string{"container_id": t.Subject.ID, "container_name": t.Subject.Name}
	for name, value := range t.Log.Attrs {
		if name != "tag" {
			f.fields[name] = value
		}
	}
	return f, nil
}

// settings reads the options. Those about buffers and retries have nothing to decide here, where lines wait in the log.
func (f *fluentd) settings(o map[string]string) (err error) {
	for name, value := range o {
		switch name {
		case "fluentd-sub-second-precision":
			f.subsecond, err = strconv.ParseBool(value)
		case "fluentd-request-ack":
			f.ack, err = strconv.ParseBool(value)
		case "fluentd-async", "fluentd-async-connect":
			_, err = strconv.ParseBool(value)
		case "fluentd-read-timeout":
			f.wait, err = time.ParseDuration(value)
		case "fluentd-retry-wait", "fluentd-write-timeout", "fluentd-async-reconnect-interval":
			_, err = time.ParseDuration(value)
		case "fluentd-buffer-limit":
			_, err = units.RAMInBytes(value)
		case "fluentd-max-retries":
			_, err = strconv.ParseUint(value, 10, 31)
		}
		if err != nil {
			return invalid("invalid value for %s: %v", name, err)
		}
	}
	return nil
}

func (f *fluentd) send(ctx context.Context, batch []message) error {
	chunk := ""
	if f.ack {
		id := make([]byte, 16)
		rand.Read(id)
		chunk = base64.StdEncoding.EncodeToString(id)
	}
	if chunk == "" {
		return f.link.write(ctx, f.encode(batch, chunk))
	}
	return f.link.put(ctx, f.encode(batch, chunk), func(context.Context, time.Time) error { return f.confirmed(chunk) })
}

// encode writes messages in forward mode: [tag, [[time, record], …], options].
func (f *fluentd) encode(batch []message, chunk string) []byte {
	b := msgp.AppendArrayHeader(nil, 3)
	b = msgp.AppendString(b, f.tag)
	b = msgp.AppendArrayHeader(b, uint32(len(batch)))
	for _, m := range batch {
		b = msgp.AppendArrayHeader(b, 2)
		if f.subsecond {
			b = append(b, 0xd7, 0x00) // ext type 0, eight bytes: EventTime
			b = appendUint32(appendUint32(b, uint32(m.Time.Unix())), uint32(m.Time.Nanosecond()))
		} else {
			b = msgp.AppendInt64(b, m.Time.Unix())
		}
		size := len(f.fields) + 2
		if m.Partial {
			size++
		}
		b = msgp.AppendMapHeader(b, uint32(size))
		for name, value := range f.fields {
			b = msgp.AppendString(msgp.AppendString(b, name), value)
		}
		b = msgp.AppendString(msgp.AppendString(b, "source"), m.Source)
		b = msgp.AppendString(msgp.AppendString(b, "log"), string(m.Data))
		if m.Partial {
			b = msgp.AppendString(msgp.AppendString(b, "partial_message"), "true")
		}
	}
	if chunk == "" {
		return msgp.AppendMapHeader(b, 0)
	}
	return msgp.AppendString(msgp.AppendString(msgp.AppendMapHeader(b, 1), "chunk"), chunk)
}

func appendUint32(b []byte, n uint32) []byte {
	return append(b, byte(n>>24), byte(n>>16), byte(n>>8), byte(n))
}

// confirmed reads the server's answer: {"ack": chunk}.
func (f *fluentd) confirmed(chunk string) error {
	f.link.conn.SetReadDeadline(time.Now().Add(f.wait))
	buf, read := make([]byte, 0, 256), make([]byte, 256)
	for len(buf) < 4096 {
		n, err := f.link.conn.Read(read)
		buf = append(buf, read[:n]...)
		if fields, _, failed := msgp.ReadMapStrIntfBytes(buf, nil); failed == nil {
			if fields["ack"] != chunk {
				return errors.New("the server confirms something else")
			}
			return nil
		}
		if err != nil {
			return err
		}
	}
	return errors.New("the server's confirmation makes no sense")
}

func (f *fluentd) close() { f.link.close() }
