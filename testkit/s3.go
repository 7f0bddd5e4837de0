package testkit

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// S3 is an S3 server in a process of its own: Versity's gateway over a folder, built from the module in test/s3server. It checks
// signatures and checksums, and refuses parts that are too small.
type S3 struct {
	URL, Bucket, AccessKey, SecretKey string

	dir string
	cmd *exec.Cmd
	log bytes.Buffer
}

// NewS3 starts a server with an empty bucket. The first one on a machine takes the minutes of its build.
func NewS3() (*S3, error) {
	root, err := moduleRoot()
	if err != nil {
		return nil, err
	}
	build := exec.Command("go", "tool", "-n", "versitygw")
	build.Dir = filepath.Join(root, "test", "s3server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	path, err := build.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return nil, fmt.Errorf("build the S3 server: %w", err)
	}
	s := &S3{Bucket: "registry", AccessKey: "testkey", SecretKey: "testsecret"}
	if s.dir, err = os.MkdirTemp("", "s3"); err != nil {
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(s.dir, s.Bucket), 0o755); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	addr := l.Addr().String()
	l.Close()
	s.URL = "http://" + addr
	s.cmd = exec.Command(strings.TrimSpace(string(path)), "--quiet", "--keep-alive", "--port", addr, "--health", "/healthz", "--access", s.AccessKey, "--secret", s.SecretKey, "posix", s.dir)
	s.cmd.Stdout, s.cmd.Stderr, s.cmd.Dir = &s.log, &s.log, s.dir
	if err := s.cmd.Start(); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if r, err := http.Get(s.URL + "/healthz"); err == nil {
			r.Body.Close()
			return s, nil
		}
	}
	s.Close()
	return nil, fmt.Errorf("the S3 server does not answer: %s", s.log.String())
}

// NewBucket makes another empty bucket and returns its name.
func (s *S3) NewBucket() (string, error) {
	dir, err := os.MkdirTemp(s.dir, "bucket")
	if err != nil {
		return "", err
	}
	return filepath.Base(dir), os.Chmod(dir, 0o755)
}

// Keys lists the objects of Bucket under a prefix that ends with a slash, behind the server's back.
func (s *S3) Keys(prefix string) []string {
	var keys []string
	root := filepath.Join(s.dir, s.Bucket)
	filepath.WalkDir(filepath.Join(root, prefix), func(path string, e fs.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			keys = append(keys, strings.TrimPrefix(path, root+"/"))
		}
		return nil
	})
	return keys
}

// Close ends the server and removes what it has.
func (s *S3) Close() {
	s.cmd.Process.Kill()
	s.cmd.Wait()
	os.RemoveAll(s.dir)
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		text, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(text), "module github.com/cove-containers/cove\n") {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	return "", errors.New("this test does not run inside the repository")
}

// Flaky stands before an HTTP server and spoils calls, each in one of the ways networks and servers do. What it does is decided by
// a seed, call by call.
type Flaky struct {
	URL string

	server *http.Server
	proxy  *httputil.ReverseProxy
	share  atomic.Uint64 // of calls that are spoiled, in thousandths
	mu     sync.Mutex
	random *rand.Rand
	calls  int
	faults map[string]int
}

// The ways to spoil a call.
const (
	Refused   = "answered 503 without being carried out"
	Lost      = "carried out, and answered 500"
	Dropped   = "connection closed without an answer"
	Forgotten = "carried out, connection closed without an answer"
	Cut       = "answer cut in the middle"
	Swallowed = "request read half, connection closed"
)

var faults = []string{Refused, Lost, Dropped, Forgotten, Cut, Swallowed}

// NewFlaky starts a proxy before target that spoils a share of calls, from 0 to 1.
func NewFlaky(target string, share float64, seed uint64) (*Flaky, error) {
	to, err := url.Parse(target)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	f := &Flaky{URL: "http://" + l.Addr().String(), random: rand.New(rand.NewPCG(seed, 1)), faults: map[string]int{}}
	f.Spoil(share)
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { // the Host stays: it is signed
			r.Out.URL.Scheme, r.Out.URL.Host = to.Scheme, to.Host
			r.Out.Host = r.In.Host
		},
		Transport:    &http.Transport{MaxIdleConnsPerHost: 64, DisableCompression: true},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	f.server = &http.Server{Handler: f}
	go f.server.Serve(l)
	return f, nil
}

// Spoil changes the share of calls that are spoiled.
func (f *Flaky) Spoil(share float64) { f.share.Store(uint64(share * 1000)) }

// Close ends the proxy.
func (f *Flaky) Close() { f.server.Close() }

// Faults tells how many calls came and how often each fault was played.
func (f *Flaky) Faults() (calls int, faults map[string]int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[string]int{}
	for k, n := range f.faults {
		out[k] = n
	}
	return f.calls, out
}

func (f *Flaky) fault() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.random.Uint64N(1000) >= f.share.Load() {
		return ""
	}
	fault := faults[f.random.IntN(len(faults))]
	f.faults[fault]++
	return fault
}

func (f *Flaky) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch fault := f.fault(); fault {
	case Refused:
		io.Copy(io.Discard, r.Body)
		w.WriteHeader(http.StatusServiceUnavailable)
	case Dropped:
		panic(http.ErrAbortHandler)
	case Swallowed:
		io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		panic(http.ErrAbortHandler)
	case Lost, Forgotten:
		f.proxy.ServeHTTP(&blind{}, r)
		if fault == Forgotten {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusInternalServerError)
	case Cut:
		f.proxy.ServeHTTP(&cutter{ResponseWriter: w}, r)
		panic(http.ErrAbortHandler)
	default:
		f.proxy.ServeHTTP(w, r)
	}
}

// blind takes an answer and tells nobody.
type blind struct{ header http.Header }

func (b *blind) Header() http.Header {
	if b.header == nil {
		b.header = http.Header{}
	}
	return b.header
}
func (b *blind) Write(p []byte) (int, error) { return len(p), nil }
func (b *blind) WriteHeader(int)             {}

// cutter passes on the first half of a body.
type cutter struct {
	http.ResponseWriter
	left int64
}

func (c *cutter) WriteHeader(status int) {
	n, err := strconv.ParseInt(c.Header().Get("Content-Length"), 10, 64)
	if err != nil {
		n = 100
	}
	c.left = n / 2
	c.ResponseWriter.WriteHeader(status)
}

func (c *cutter) Write(p []byte) (int, error) {
	n := min(int64(len(p)), c.left)
	c.left -= n
	if n > 0 {
		if _, err := c.ResponseWriter.Write(p[:n]); err != nil {
			return 0, err
		}
	}
	if c.left == 0 {
		return 0, errors.New("cut here")
	}
	return len(p), nil
}
