package buildkit

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path"
	"slices"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/buildkit/identity"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/upload"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/cove-containers/cove/api"
	"github.com/cove-containers/cove/archive"
	"github.com/cove-containers/cove/build"
	"github.com/cove-containers/cove/sys"
)

const (
	clientSession = "client-session"  // the context is in the client's session
	uploadRequest = "upload-request"  // the context comes by a call of its own, named by uploadPrefix and the build's ID
	uploadPrefix  = "upload-request:" //
)

// uploadURL is where the front end finds a context that a session uploads.
const uploadURL = "http://buildkit-session/"

// context says where the context is: elsewhere, in the client's session, or in the body, which a session of the
// process's own then uploads. That session also has the credentials of the request. end lets go of both.
func (d *Door) context(ctx context.Context, o api.BuildOptions, body io.Reader, request *build.Request) (end func(), err error) {
	if o.Session != "" {
		request.Sessions = append(request.Sessions, o.Session)
	}
	switch o.Remote {
	case clientSession:
		return func() {}, nil
	case uploadRequest:
		if body, err = d.uploads.wait(ctx, o.ID); err != nil {
			return nil, err
		}
	case "":
	default:
		request.Options["context"] = o.Remote
		body = nil
	}
	own := &lender{auth: o.Auth}
	if body != nil {
		own.context, err = spool(d.Scratch, body)
		if brought, ok := body.(*signalled); ok {
			brought.end() // though it may not have been read to its end
		}
		if err != nil {
			return nil, err
		}
		own.id = identity.NewID()
		request.Options["context"] = uploadURL + own.id
		if err = own.measure(o); err != nil {
			own.close()
			return nil, err
		}
	}
	id, hangUp, err := d.lend(ctx, own)
	if err != nil {
		own.close()
		return nil, err
	}
	if own.dockerfile != nil {
		hide(o.Dockerfile, id, request)
	}
	request.Sessions = append(request.Sessions, id)
	return func() { hangUp(); own.close() }, nil
}

// spool keeps a context, decompressed, in a file that has no name any more: it is gone with the process.
func spool(dir string, body io.Reader) (*os.File, error) {
	file, err := os.CreateTemp(dir, ".context-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		file.Close()
		return nil, err
	}
	plain, err := archive.Decompress(body)
	if err == nil {
		_, err = io.Copy(io.MultiWriter(sys.NewRoom(sys.Borrow(file)), file), plain)
		plain.Close()
	}
	if err == nil {
		err = round(file)
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("read build context: %w", err)
	}
	return file, nil
}

// round fills the last block of an archive: the docker client leaves it short when the Dockerfile is not in the context.
func round(file *os.File) error {
	const magicAt = 257
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil || size%block == 0 {
		return err
	}
	magic := make([]byte, 5)
	if _, err := file.ReadAt(magic, magicAt); err != nil || string(magic) != "ustar" {
		return nil // a Dockerfile, or what the front end will not take for an archive
	}
	return file.Truncate(size + block - size%block)
}

// lend opens a session of the process's own and gives its ID.
func (d *Door) lend(ctx context.Context, what *lender) (id string, hangUp func(), err error) {
	s, err := session.NewSession(ctx, "")
	if err != nil {
		return "", nil, err
	}
	s.Allow(what)
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var both sync.WaitGroup
	both.Go(func() {
		_ = s.Run(ctx, func(ctx context.Context, _ string, meta map[string][]string) (net.Conn, error) {
			ours, theirs := net.Pipe()
			both.Go(func() { _ = d.Session(ctx, ours, meta) })
			return theirs, nil
		})
	})
	return s.ID(), func() {
		s.Close()
		cancel()
		both.Wait()
	}, nil
}

// lender is what the process's own session offers to a build.
type lender struct {
	auth    credentials
	id      string
	context *os.File // nil when there is none
	size    int64
	name    string // of the Dockerfile
	ignored
}

// measure looks what there is of a context. What BuildKit's clients bring is taken as it is.
func (l *lender) measure(o api.BuildOptions) (err error) {
	l.name = o.Dockerfile
	if l.size, err = l.context.Seek(0, io.SeekEnd); err != nil || o.BuildKit {
		return err
	}
	if l.ignored, err = ignoring(l.context, l.size, o.Dockerfile); err != nil {
		return fmt.Errorf("read build context: %w", err)
	}
	return nil
}

func (l *lender) close() {
	if l.context != nil {
		l.context.Close()
	}
}

// Register offers the services of a session.
func (l *lender) Register(s *grpc.Server) {
	l.auth.register(s)
	if l.context != nil {
		upload.RegisterUploadServer(s, l)
	}
	if l.dockerfile != nil {
		offer(s, l.name, l.dockerfile)
	}
}

// Pull uploads the context, as often as it is asked for.
func (l *lender) Pull(stream upload.Upload_PullServer) error {
	asked, _ := metadata.FromIncomingContext(stream.Context())
	if p := asked["urlpath"]; len(p) != 1 || path.Base(p[0]) != l.id {
		return errdefs.ErrNotFound.WithMessage("no such context")
	}
	from, err := l.left(l.context, l.size)
	if err != nil {
		return err
	}
	for {
		data := make([]byte, chunk)
		n, err := from.Read(data)
		if n > 0 {
			if err := stream.Send(&upload.BytesMessage{Data: data[:n]}); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// meeting is how long a build and the call that brings its context wait for one another.
const meeting = 5 * time.Second

// uploads are contexts that come by a call of their own: the two calls meet here by the build's ID.
type uploads struct {
	mu      sync.Mutex
	waiting map[string]*meetingPlace
}

// meetingPlace is there as long as somebody waits at it: there may be several with the same ID.
type meetingPlace struct {
	bodies chan brought
	users  int
}

// brought is a body, and what tells the call that brought it that it has been read.
type brought struct {
	body io.Reader
	read chan struct{}
}

// place is where those with this ID meet. Who has come leaves it.
func (u *uploads) place(id string) (bodies chan brought, leave func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.waiting == nil {
		u.waiting = map[string]*meetingPlace{}
	}
	p := u.waiting[id]
	if p == nil {
		p = &meetingPlace{bodies: make(chan brought)}
		u.waiting[id] = p
	}
	p.users++
	return p.bodies, func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if p.users--; p.users == 0 {
			delete(u.waiting, id)
		}
	}
}

// bring hands a body over and stays until it has been read.
func (u *uploads) bring(ctx context.Context, id string, body io.Reader) error {
	b := brought{body: body, read: make(chan struct{})}
	bodies, leave := u.place(id)
	defer leave()
	select {
	case bodies <- b:
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(meeting):
		return errdefs.ErrNotFound.WithMessage("no build " + id + " waits for its context")
	}
	select {
	case <-b.read:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// wait gives the body that another call brings.
func (u *uploads) wait(ctx context.Context, id string) (io.Reader, error) {
	if id == "" {
		return nil, errdefs.ErrInvalidArgument.WithMessage("a context that comes by a call of its own needs a build ID")
	}
	bodies, leave := u.place(id)
	defer leave()
	select {
	case b := <-bodies:
		return &signalled{Reader: b.body, read: b.read}, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-time.After(meeting):
		return nil, errdefs.ErrUnavailable.WithMessage("the context of build " + id + " was not sent")
	}
}

// signalled tells when its end has been read, or it cannot be read further. From then on it says so itself: the call that brought the body may be
// over, and who has had the end together with the last bytes asks once more.
type signalled struct {
	io.Reader
	read chan struct{}
	once sync.Once
	err  error
}

func (s *signalled) Read(p []byte) (n int, err error) {
	if s.err != nil {
		return 0, s.err
	}
	if n, s.err = s.Reader.Read(p); s.err != nil {
		s.end()
	}
	return n, s.err
}

func (s *signalled) end() { s.once.Do(func() { close(s.read) }) }

// cancels are the builds that can be ended by their IDs. Clients choose these: several may have the same.
type cancels struct {
	mu sync.Mutex
	of map[string][]*context.CancelFunc
}

func (c *cancels) watch(ctx context.Context, id string) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	if id == "" {
		return ctx, cancel
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string][]*context.CancelFunc{}
	}
	c.of[id] = append(c.of[id], &cancel)
	return ctx, func() {
		cancel()
		c.mu.Lock()
		defer c.mu.Unlock()
		c.of[id] = slices.DeleteFunc(c.of[id], func(f *context.CancelFunc) bool { return f == &cancel })
		if len(c.of[id]) == 0 {
			delete(c.of, id)
		}
	}
}

func (c *cancels) cancel(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cancel := range c.of[id] {
		(*cancel)()
	}
}
