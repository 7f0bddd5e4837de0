package remote

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/containerd/errdefs"
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
	p, err := t.c.pool(req.URL.Host)
	if err != nil {
		return nil, err
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
	if req.URL.Scheme == from.Scheme && req.URL.Host == from.Host {
		return nil
	}
	if req.URL.Scheme != "https" && from.Scheme == "https" && !c.insecure(req.URL.Host) {
		return errors.New("redirected from TLS to plain HTTP at " + req.URL.Host)
	}
	if _, content := req.Body.(*outgoing); req.Body != nil && req.Body != http.NoBody && !content {
		return errors.New("redirected with a token to " + req.URL.Host)
	}
	req.Header.Del("Authorization")
	return nil
}

func (c *Client) pool(host string) (*http.Transport, error) {
	files, fingerprint := c.certificates(host)
	insecure := c.insecure(host)
	c.mu.Lock()
	defer c.mu.Unlock()
	old, ok := c.pools[host]
	if ok && old.fingerprint == fingerprint {
		return old.transport, nil
	}
	settings, err := tlsSettings(files)
	if err != nil {
		return nil, err
	}
	settings.InsecureSkipVerify = insecure
	if ok {
		old.transport.CloseIdleConnections()
	}
	made := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 15 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:     settings,
		TLSHandshakeTimeout: 10 * time.Second,
		MaxIdleConnsPerHost: 16,
		IdleConnTimeout:     time.Minute,
		DisableCompression:  true,
		ForceAttemptHTTP2:   true,
	}
	c.pools[host] = pool{fingerprint, made}
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
				info, err := os.Stat(filepath.Join(folder, e.Name()))
				if err != nil || info.IsDir() {
					continue
				}
				files = append(files, filepath.Join(folder, e.Name()))
				fmt.Fprintf(&seen, "%s %d %d\n", e.Name(), info.Size(), info.ModTime().UnixNano())
			}
			break
		}
	}
	return files, seen.String()
}

func tlsSettings(files []string) (*tls.Config, error) {
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	for _, file := range files {
		switch filepath.Ext(file) {
		case ".crt":
			raw, err := os.ReadFile(file)
			if err != nil {
				return nil, fmt.Errorf("read registry authority: %w", err)
			}
			if settings.RootCAs == nil {
				if settings.RootCAs, err = x509.SystemCertPool(); err != nil {
					settings.RootCAs = x509.NewCertPool()
				}
			}
			if !settings.RootCAs.AppendCertsFromPEM(raw) {
				return nil, errdefs.ErrInvalidArgument.WithMessage(fmt.Sprintf("no certificate in %s", file))
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
