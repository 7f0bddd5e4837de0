// Package git fetches from git repositories with the git program, and checks commits out. Repositories are strangers':
// none of their hooks, filters or transports runs here, and they see nothing of the host's configuration.
//
//	FOLDER/<hex of the remote's name>/   a bare repository, with what was fetched of it so far; removed when it was not used for long
//	FOLDER/checkout-<random>/            files being checked out; removed by the next start
package git

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/errdefs"
)

// Store is a folder of repositories. It is safe for concurrent use.
type Store struct {
	folder string

	mu    sync.Mutex
	locks map[string]chan struct{} // by remote; full while somebody works on it
}

// New makes a store in a folder, which is made when it is needed, and removes what a former process left half made there.
func New(folder string) *Store {
	all, _ := os.ReadDir(folder)
	for _, e := range all {
		info, err := e.Info()
		if err == nil && (strings.HasPrefix(e.Name(), "checkout-") || time.Since(info.ModTime()) > unused) {
			os.RemoveAll(filepath.Join(folder, e.Name()))
		}
	}
	return &Store{folder: folder, locks: map[string]chan struct{}{}}
}

// Remote is a repository and how it is reached.
type Remote struct {
	URL string
	// Header is sent to the server of an http remote, such as "Authorization: …"; HeaderFor says to which URLs.
	Header, HeaderFor string
	// Agent is the socket of an ssh agent, KnownHosts a file of host keys; without that any host is believed.
	Agent, KnownHosts string
	// Log takes what git says.
	Log io.Writer
}

// Shown is the remote's URL without what may be a password.
func (r Remote) Shown() string {
	if server, shown := r.servers(); server != shown {
		return shown + strings.TrimPrefix(r.URL, server)
	}
	return r.URL
}

// servers is how the remote's URL begins, up to the path, as it is and without what may be a password.
func (r Remote) servers() (server, shown string) {
	scheme, rest, ok := strings.Cut(r.URL, "://")
	host, _, _ := strings.Cut(rest, "/")
	server = scheme + "://" + host
	if at := strings.LastIndex(host, "@"); ok && at >= 0 {
		return server, scheme + "://xxxxx:xxxxx@" + host[at+1:]
	}
	return server, server
}

// unused is for how long a repository may be of no use before it goes.
const unused = 14 * 24 * time.Hour

// lock has the remote's repository for one alone.
func (s *Store) lock(ctx context.Context, remote string) (unlock func(), err error) {
	s.mu.Lock()
	c := s.locks[remote]
	if c == nil {
		c = make(chan struct{}, 1)
		s.locks[remote] = c
	}
	s.mu.Unlock()
	select {
	case c <- struct{}{}:
		return func() { <-c }, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// runner runs git in one place.
type runner struct {
	remote Remote
	config string // a file with the configuration
	dir    string // working directory
	args   []string
	env    []string
	asks   bool // a failure is an answer, of which nobody needs to hear
}

// safe is what every git here is told: no transports but those named, no hooks, nothing that runs on its own.
const safe = `[protocol]
	allow = never
[protocol "http"]
	allow = always
[protocol "https"]
	allow = always
[protocol "ssh"]
	allow = always
[protocol "git"]
	allow = always
[protocol "file"]
	allow = user
[core]
	hooksPath = /dev/null
	fsmonitor = false
	protectHFS = true
	protectNTFS = true
[advice]
	detachedHead = false
[init]
	defaultBranch = master
[gc]
	auto = 0
[maintenance]
	auto = false
[safe]
	directory = *
[fetch]
	fsckObjects = false
`

// begin makes the configuration for calls about a remote; end removes it.
func begin(remote Remote) (r *runner, end func(), err error) {
	f, err := os.CreateTemp("", "cove-git-")
	if err != nil {
		return nil, nil, err
	}
	end = func() { os.Remove(f.Name()) }
	text := safe
	// A repository that is kept names its remote, and its submodules theirs after it: without the password, which git puts
	// back only on the way.
	if server, shown := remote.servers(); server != shown {
		if strings.ContainsAny(server, "\n\r\x00\"\\") {
			end()
			return nil, nil, errdefs.ErrInvalidArgument.WithMessage("the address of a git repository has characters that none can have")
		}
		text += fmt.Sprintf("[url \"%s/\"]\n\tinsteadOf = \"%s/\"\n", server, shown)
	}
	if remote.Header != "" {
		if strings.ContainsAny(remote.Header+remote.HeaderFor, "\n\r\x00\"\\") {
			end()
			return nil, nil, errdefs.ErrInvalidArgument.WithMessage("the secret for a git repository has characters that no header can have")
		}
		text += fmt.Sprintf("[http \"%s\"]\n\textraHeader = \"%s\"\n", remote.HeaderFor, remote.Header)
	}
	_, err = f.WriteString(text) // the file is for root alone
	if err = errors.Join(err, f.Close()); err != nil {
		end()
		return nil, nil, err
	}
	return &runner{remote: remote, config: f.Name()}, end, nil
}

// in is the runner for a repository, with its own place.
func (r *runner) in(dir string, args ...string) *runner {
	c := *r
	c.dir, c.args = dir, args
	return &c
}

// holds tells whether git succeeds.
func (r *runner) holds(ctx context.Context, args ...string) bool {
	c := *r
	c.asks = true
	_, err := c.run(ctx, args...)
	return err == nil
}

// run runs git to its end and gives what it printed.
func (r *runner) run(ctx context.Context, args ...string) (string, error) {
	program, err := exec.LookPath("git")
	if err != nil {
		return "", errdefs.ErrFailedPrecondition.WithMessage("sources from git need the program git on the daemon's host, which is not installed there")
	}
	cmd := exec.CommandContext(ctx, program, append(append([]string{}, r.args...), args...)...)
	cmd.Dir = r.dir
	cmd.Env = append(r.environment(), r.env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) } // its helpers, too
	cmd.WaitDelay = 2 * time.Second
	out, said := bounded{most: maxAnswer, strict: true}, bounded{most: maxWords}
	cmd.Stdout, cmd.Stderr = &out, &said
	if r.remote.Log != nil && !r.asks {
		cmd.Stderr = io.MultiWriter(&said, r.remote.Log)
	}
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", &failure{words: strings.TrimSpace(said.String()), err: err}
	}
	return strings.TrimRight(out.String(), "\n"), nil
}

// Bounds of what is kept of git's output, much of which a server makes up.
const (
	maxAnswer = 16 << 20
	maxWords  = 64 << 10
)

// bounded keeps what is written, up to a limit. What is beyond is an error, or lost.
type bounded struct {
	kept   bytes.Buffer
	most   int
	strict bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	room := b.most - b.kept.Len()
	if len(p) > room && b.strict {
		return 0, errdefs.ErrResourceExhausted.WithMessage(fmt.Sprintf("git answers more than %d bytes", b.most))
	}
	b.kept.Write(p[:min(len(p), room)])
	return len(p), nil
}

// String is what was kept.
func (b *bounded) String() string { return b.kept.String() }

// failure is that git did not succeed.
type failure struct {
	words string
	err   error
}

func (f *failure) Error() string {
	if f.words == "" {
		return f.err.Error()
	}
	return f.words
}

func (f *failure) Unwrap() error { return f.err }

// says tells whether an error is one of git's with one of these words.
func says(err error, words ...string) bool {
	var f *failure
	if !errors.As(err, &f) {
		return false
	}
	for _, w := range words {
		if strings.Contains(f.words, w) {
			return true
		}
	}
	return false
}

func (r *runner) environment() []string {
	ssh := "ssh -F /dev/null -o BatchMode=yes"
	if r.remote.KnownHosts != "" {
		ssh += " -o UserKnownHostsFile=" + r.remote.KnownHosts
	} else {
		ssh += " -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
	}
	env := []string{
		"PATH=" + os.Getenv("PATH"), "HOME=/dev/null", "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_ASKPASS=/bin/false",
		"GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL=" + r.config, "GIT_SSH_COMMAND=" + ssh,
	}
	if r.remote.Agent != "" {
		env = append(env, "SSH_AUTH_SOCK="+r.remote.Agent)
	}
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"} {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// repository opens or makes the bare repository for a remote. The lock is held.
func (s *Store) repository(ctx context.Context, r *runner, sha256Objects bool) (*runner, error) {
	sum := sha256.Sum256([]byte(r.remote.URL + fmt.Sprint(sha256Objects)))
	dir := filepath.Join(s.folder, hex.EncodeToString(sum[:]))
	bare := r.in(dir, "--git-dir="+dir)
	if _, err := os.Stat(filepath.Join(dir, "HEAD")); err == nil {
		os.Remove(filepath.Join(dir, "shallow.lock")) // of a fetch that was killed
		now := time.Now()
		return bare, os.Chtimes(dir, now, now)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	args := []string{"init", "--quiet", "--bare"}
	if sha256Objects {
		args = append(args, "--object-format=sha256")
	}
	if _, err := bare.run(ctx, args...); err != nil {
		return nil, err
	}
	return bare, nil
}
