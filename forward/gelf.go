package forward

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"crypto/rand"
	"encoding/json"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/cove-containers/cove/logs"
)

// Sizes of GELF over UDP: https://go2docs.graylog.org/current/getting_in_log_data/gelf.html.
const (
	gelfChunk  = 1420
	gelfChunks = 128
)

type gelf struct {
	link   *link
	pack   func(io.Writer) (io.WriteCloser, error) // of a message over UDP; nil: as it is
	fields map[string]any                          // the same for every message
}

func newGELF(t logs.Target) (receiver, error) {
	o := t.Options
	if o["gelf-address"] == "" {
		return nil, invalid("gelf: gelf-address is a required parameter")
	}
	link, err := parseAddress(o["gelf-address"], "", "udp", "tcp")
	if err != nil {
		return nil, invalid("gelf: endpoint address should be in the form (udp|tcp)://host:port: %v", err)
	}
	g := &gelf{link: link}
	for name := range o {
		udp := name == "gelf-compression-type" || name == "gelf-compression-level"
		tcp := name == "gelf-tcp-max-reconnect" || name == "gelf-tcp-reconnect-delay"
		if udp && link.network != "udp" {
			return nil, invalid("compression is only supported on UDP")
		}
		if n, err := strconv.Atoi(o[name]); tcp && (err != nil || n < 0) {
			return nil, invalid("gelf: %q must be a positive number", name)
		}
		if tcp && link.network != "tcp" {
			return nil, invalid("gelf: %q is only valid for TCP", name)
		}
	}
	if g.pack, err = gelfPacker(o["gelf-compression-type"], o["gelf-compression-level"]); err != nil {
		return nil, err
	}
	host, _ := os.Hostname()
	g.fields = map[string]any{
		"version": "1.1", "host": host,
		"_container_id": t.Subject.ID, "_container_name": strings.TrimPrefix(t.Subject.Name, "/"), "_image_id": t.Subject.ImageID,
		"_image_name": t.Subject.ImageName, "_command": t.Command, "_tag": tagOf(t), "_created": t.Created,
	}
	for name, value := range t.Log.Attrs {
		if name != "tag" {
			g.fields["_"+name] = value
		}
	}
	return g, nil
}

func gelfPacker(kind, level string) (func(io.Writer) (io.WriteCloser, error), error) {
	n := gzip.BestSpeed
	if level != "" {
		var err error
		if n, err = strconv.Atoi(level); err != nil || n < -1 || n > 9 {
			return nil, invalid("gelf: invalid value for gelf-compression-level: must be between -1 and 9")
		}
	}
	switch kind {
	case "", "gzip":
		return func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, n) }, nil
	case "zlib":
		return func(w io.Writer) (io.WriteCloser, error) { return zlib.NewWriterLevel(w, n) }, nil
	case "none":
		return nil, nil
	}
	return nil, invalid("gelf: invalid value for gelf-compression-type: must be one of gzip, zlib or none")
}

func (g *gelf) send(ctx context.Context, batch []message) error {
	var stream bytes.Buffer
	for _, m := range batch {
		if len(m.Data) == 0 { // a message must say something
			continue
		}
		body, err := g.body(m)
		if err != nil {
			return err
		}
		if g.link.network == "tcp" {
			stream.Write(body)
			stream.WriteByte(0)
		} else if err := g.datagrams(ctx, body); err != nil {
			return err
		}
	}
	if stream.Len() == 0 {
		return nil
	}
	return g.link.write(ctx, stream.Bytes())
}

func (g *gelf) body(m message) ([]byte, error) {
	level := severityInfo
	if m.Source == logs.Stderr {
		level = severityError
	}
	g.fields["short_message"], g.fields["level"] = string(m.Data), level
	g.fields["timestamp"] = json.Number(strconv.FormatFloat(float64(m.Time.UnixNano())/float64(time.Second), 'f', 3, 64))
	return json.Marshal(g.fields)
}

// datagrams sends a message over UDP, in chunks when it is long. What is longer than all chunks there may be is cut.
func (g *gelf) datagrams(ctx context.Context, body []byte) error {
	if g.pack != nil {
		var packed bytes.Buffer
		w, err := g.pack(&packed)
		if err != nil {
			return err
		}
		if _, err := w.Write(body); err != nil {
			return err
		}
		if err := w.Close(); err != nil {
			return err
		}
		body = packed.Bytes()
	}
	if len(body) <= gelfChunk {
		return g.link.write(ctx, body)
	}
	const payload = gelfChunk - 12
	body = body[:min(len(body), payload*gelfChunks)]
	count := (len(body) + payload - 1) / payload
	id := make([]byte, 8)
	rand.Read(id)
	for i := range count {
		chunk := append([]byte{0x1e, 0x0f}, id...)
		chunk = append(chunk, byte(i), byte(count))
		if err := g.link.write(ctx, append(chunk, body[i*payload:min(len(body), (i+1)*payload)]...)); err != nil {
			return err
		}
	}
	return nil
}

func (g *gelf) close() { g.link.close() }
