package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/cove-containers/cove/logs"
)

// facilities of RFC 5424, section 6.2.1, by number.
var facilities = []string{
	"kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
	12: "", 16: "local0", 17: "local1", 18: "local2", 19: "local3", 20: "local4", 21: "local5", 22: "local6", 23: "local7",
}

// Severities.
const (
	severityError = 3
	severityInfo  = 6
)

type syslog struct {
	link     *link
	local    bool // the host's own, wherever it listens
	facility int
	host     string
	tag      string
	header   func(s *syslog, m message, priority int) string
	counted  bool // each message is preceded by its length, as RFC 5425 asks for
}

func newSyslog(t logs.Target) (receiver, error) {
	s := &syslog{facility: 3, tag: tagOf(t)}
	s.host, _ = os.Hostname()
	o := t.Options
	var err error
	if address := o["syslog-address"]; address == "" {
		s.local, s.link = true, &link{network: "unixgram"}
	} else if s.link, err = parseAddress(address, "514", "udp", "tcp", "tcp+tls", "unix", "unixgram"); err != nil {
		return nil, invalid("invalid syslog-address: %v", err)
	}
	if s.facility, err = facilityOf(o["syslog-facility"]); err != nil {
		return nil, err
	}
	switch format := o["syslog-format"]; format {
	case "":
		s.header = (*syslog).unix
	case "rfc3164":
		s.header = (*syslog).rfc3164
	case "rfc5424", "rfc5424micro":
		layout := time.RFC3339
		if format == "rfc5424micro" {
			layout = "2006-01-02T15:04:05.000000Z07:00"
		}
		s.header = func(s *syslog, m message, priority int) string { return s.rfc5424(m, priority, layout) }
		s.counted = s.link.network == "tcp+tls"
	default:
		return nil, invalid("Invalid syslog format")
	}
	if s.link.network == "tcp+tls" {
		if s.link.tls, err = tlsOf(o, s.link.address); err != nil {
			return nil, invalid("%v", err)
		}
	}
	return s, nil
}

func facilityOf(name string) (int, error) {
	if name == "" {
		return 3, nil
	}
	for i, known := range facilities {
		if known == name && name != "" {
			return i, nil
		}
	}
	if n, err := strconv.Atoi(name); err == nil && n >= 0 && n <= 23 {
		return n, nil
	}
	return 0, invalid("invalid syslog facility")
}

// tlsOf reads the certificates of syslog over TLS.
func tlsOf(o map[string]string, address string) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if _, skip := o["syslog-tls-skip-verify"]; skip {
		c.InsecureSkipVerify = o["syslog-tls-skip-verify"] != "false"
	}
	if host, _, ok := bytes.Cut([]byte(address), []byte(":")); ok {
		c.ServerName = string(host)
	}
	if file := o["syslog-tls-ca-cert"]; file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("could not read CA certificate %q: %w", file, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("failed to append certificates from PEM file: %q", file)
		}
	}
	if cert, key := o["syslog-tls-cert"], o["syslog-tls-key"]; cert != "" || key != "" {
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("could not load X509 key pair: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// unix is what syslog(3) writes.
func (s *syslog) unix(m message, priority int) string {
	return fmt.Sprintf("<%d>%s %s[%d]: ", priority, m.Time.Local().Format(time.Stamp), s.tag, os.Getpid())
}

func (s *syslog) rfc3164(m message, priority int) string {
	return fmt.Sprintf("<%d>%s %s %s[%d]: ", priority, m.Time.Local().Format(time.Stamp), s.host, s.tag, os.Getpid())
}

func (s *syslog) rfc5424(m message, priority int, layout string) string {
	return fmt.Sprintf("<%d>1 %s %s %s %d %s - ", priority, m.Time.Local().Format(layout), s.host, s.tag, os.Getpid(), s.tag)
}

func (s *syslog) send(ctx context.Context, batch []message) error {
	if s.local {
		if err := s.find(ctx); err != nil {
			return err
		}
	}
	var buf bytes.Buffer
	for _, m := range batch {
		severity := severityInfo
		if m.Source == logs.Stderr {
			severity = severityError
		}
		text := s.header(s, m, s.facility<<3|severity) + string(m.Data) + "\n"
		if s.counted {
			fmt.Fprintf(&buf, "%d ", len(text))
		}
		buf.WriteString(text)
		if s.link.stream() {
			continue
		}
		if err := s.link.write(ctx, buf.Bytes()); err != nil {
			return err
		}
		buf.Reset()
	}
	if buf.Len() == 0 {
		return nil
	}
	return s.link.write(ctx, buf.Bytes())
}

// find looks for the host's own syslog where it usually listens.
func (s *syslog) find(ctx context.Context) error {
	if s.link.conn != nil {
		return nil
	}
	var tried error
	for _, path := range []string{"/dev/log", "/var/run/syslog", "/var/run/log"} {
		for _, network := range []string{"unixgram", "unix"} {
			s.link.network, s.link.address = network, filepath.Clean(path)
			err := s.link.connect(ctx)
			if err == nil {
				return nil
			}
			tried = errors.Join(tried, err)
		}
	}
	return fmt.Errorf("the host has no syslog: %w", tried)
}

func (s *syslog) close() { s.link.close() }

// tagOf is how a receiver is told which container a line is from.
func tagOf(t logs.Target) string {
	if tag := t.Log.Attrs["tag"]; tag != "" {
		return tag
	}
	return t.Subject.ID[:min(len(t.Subject.ID), 12)]
}
