package remote

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/remote/hosts"
)

// pool is the connections to one host, made with the certificates that fingerprint stands for.
type pool struct {
	fingerprint string
	transport   *http.Transport
}

// transport sends each request, redirected ones too, over the pool of the host it goes to: certificates and
// leniency granted to one host never reach another.
type transport struct{ c *Client }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	at, _ := req.Context().Value(endpointKey{}).(endpoint)
	if address(req.URL) != address(&url.URL{Scheme: req.URL.Scheme, Host: at.host}) {
		at.trust = nil // what is said of one host is not said of another
	}
	p, err := t.c.pool(req.URL.Host, at.trust)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		resp, err := t.c.roundTrip(p, req)
		if err == nil || try == maxTries || !strings.Contains(err.Error(), "malformed HTTP") || req.Body != nil && req.GetBody == nil {
			return resp, err
		}
		// Something lay on the connection that belonged to an earlier answer: the body sent with an answer to HEAD. From now on
		// these get connections of their own.
		t.c.mu.Lock()
		t.c.sloppy[req.URL.Host] = true
		t.c.mu.Unlock()
		if req.Body != nil {
			again := *req
			if again.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
			req = &again
		}
	}
}

func (c *Client) roundTrip(p *http.Transport, req *http.Request) (*http.Response, error) {
	c.mu.Lock()
	sloppy := c.sloppy[req.URL.Host]
	c.mu.Unlock()
	if sloppy && req.Method == http.MethodHead {
		alone := *req
		alone.Close = true
		req = &alone
	}
	return p.RoundTrip(req)
}

// followRedirect lets nothing secret pass from one server to another: same host, port and scheme, or no
// Authorization, and no body but one that is an upload: any other holds a token. What began with TLS does not go on without.
func (c *Client) followRedirect(req *http.Request, via []*http.Request) error {
	if len(via) >= 10 {
		return errors.New("stopped after 10 redirects")
	}
	from := via[0].URL
	if req.URL.Scheme == from.Scheme && address(req.URL) == address(from) {
		return nil
	}
	if req.URL.Scheme != "https" && from.Scheme == "https" && !c.insecure(req.URL.Host) {
		return errors.New("redirected from TLS to plain HTTP at " + req.URL.Host)
	}
	if _, content := req.Body.(*outgoing); req.Body != nil && req.Body != http.NoBody && !content {
		return errors.New("redirected with a token to " + req.URL.Host)
	}
	req.Header.Del("Authorization")
	if at, ok := req.Context().Value(endpointKey{}).(endpoint); ok {
		for key := range at.header {
			req.Header.Del(key)
		}
	}
	return nil
}

// endpointKey is where a request's context carries the endpoint it was made for.
type endpointKey struct{}

func (c *Client) pool(host string, trust *hosts.TLS) (*http.Transport, error) {
	files, fingerprint := c.certificates(host)
	insecure := c.insecure(host)
	fingerprint += strconv.FormatBool(insecure)
	key := host
	if trust != nil {
		key += fmt.Sprintf(" %+v", *trust)
		for _, file := range trustFiles(trust) {
			fingerprint += stamp(file)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.pools[key]
	if ok && old.fingerprint == fingerprint {
		return old.transport, nil
	}
	settings, err := tlsSettings(files)
	if err != nil {
		return nil, err
	}
	dial := 15 * time.Second
	if trust != nil {
		if err := addTrust(settings, trust); err != nil {
			return nil, err
		}
		dial = cmp.Or(trust.Dial, dial)
	}
	settings.InsecureSkipVerify = insecure || trust != nil && trust.SkipVerify
	if ok {
		old.transport.CloseIdleConnections()
	}
	made := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: dial, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     settings,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		ForceAttemptHTTP2:   true,
	}
	c.pools[key] = pool{fingerprint, made}
	return made, nil
}

// certificates lists the files that concern host, and a text that changes when they do.
func (c *Client) certificates(host string) (files []string, fingerprint string) {
	var seen strings.Builder
	for _, dir := range c.config.CertsDirs {
		for _, name := range []string{host, strings.TrimSuffix(host, ":443")} {
			folder := filepath.Join(dir, filepath.Base(name))
			entries, err := os.ReadDir(folder)
			if err != nil {
				continue
			}
			for _, e := range entries {
				file := filepath.Join(folder, e.Name())
				if mark := stamp(file); mark != "" {
					files = append(files, file)
					seen.WriteString(mark)
				}
			}
			break
		}
	}
	return files, seen.String()
}

// stamp is a text that changes when the file does, "" when there is none.
func stamp(file string) string {
	info, err := os.Stat(file)
	if err != nil || info.IsDir() {
		return ""
	}
	return fmt.Sprintf("%s %d %d\n", file, info.Size(), info.ModTime().UnixNano())
}

func tlsSettings(files []string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, file := range files {
		switch filepath.Ext(file) {
		case ".crt":
			if err := addAuthority(settings, file); err != nil {
				return nil, err
			}
		case ".cert":
			key := strings.TrimSuffix(file, ".cert") + ".key"
			pair, err := tls.LoadX509KeyPair(file, key)
			if errors.Is(err, fs.ErrNotExist) {
				return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("missing key %s for client certificate %s. CA certificates must use the extension .crt", filepath.Base(key), filepath.Base(file)))
			}
			if err != nil {
				return nil, fmt.Errorf("read client certificate %s: %w", file, err)
			}
			settings.Certificates = append(settings.Certificates, pair)
		}
	}
	return settings, nil
}

func addAuthority(settings *tls.Config, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read registry authority: %w", err)
	}
	if settings.RootCAs == nil {
		if settings.RootCAs, err = x509.SystemCertPool(); err != nil {
			settings.RootCAs = x509.NewCertPool()
		}
	}
	if !settings.RootCAs.AppendCertsFromPEM(raw) {
		return errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("no certificate in %s", file))
	}
	return nil
}

// trustFiles are the files that hosts.toml names for a host.
func trustFiles(trust *hosts.TLS) []string {
	files := slices.Clone(trust.CA)
	for _, c := range trust.Client {
		files = append(files, c[0], c[1])
	}
	return files
}

// addTrust adds what hosts.toml says of a host.
func addTrust(settings *tls.Config, trust *hosts.TLS) error {
	for _, file := range trust.CA {
		if err := addAuthority(settings, file); err != nil {
			return err
		}
	}
	for _, c := range trust.Client {
		pair, err := tls.LoadX509KeyPair(c[0], c[1])
		if err != nil {
			return fmt.Errorf("read client certificate %s: %w", c[0], err)
		}
		settings.Certificates = append(settings.Certificates, pair)
	}
	return nil
}
