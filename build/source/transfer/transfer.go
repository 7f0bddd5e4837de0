// Package transfer receives a client's folder by the protocol of fsutil: the client lists what it has, in order; what
// differs from the former state is asked for and written on top of that, and nothing else is touched.
//
// The client is a stranger. Names are single components that lead where the listing says; whatever breaks the order, names
// what no file system may hold, or sends what nobody asked for, ends the transfer.
package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"runtime"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/opencontainers/go-digest"
	"github.com/tonistiigi/fsutil/types"

	"github.com/cove-containers/cove/build/content"
	"github.com/cove-containers/cove/sys"
)

// Stream is the connection to the client. Send and Recv are called from one goroutine each.
type Stream interface {
	Send(*types.Packet) error
	Recv() (*types.Packet, error)
}

// Options say what is there, and where to write.
type Options struct {
	// Old is the former state; Begin gives a tree that looks like it, to be written to. It is called at the first
	// difference, if there is one.
	Old   *content.Pile
	Begin func() (*os.File, error)
	// All asks for every file, whatever size and time say; without it that is done for some, see doubts.
	All bool
	// Progress hears how many bytes have come in.
	Progress func(total int64)
}

// Result tells what has come.
type Result struct {
	// Changed: Begin was called.
	Changed bool
	// Contents are the digests of the files written, by path.
	Contents map[string]digest.Digest
	// Newest is the time of the newest entry at the top.
	Newest sys.Timespec
}

// patience is how long a client may take to read the last word.
const patience = 2 * time.Second

func invalid(format string, args ...any) error {
	return errdefs.ErrInvalidArgument.WithMessage("the client's listing: " + fmt.Sprintf(format, args...))
}

// Receive takes in the whole folder. On error what Begin gave is left half made.
func Receive(ctx context.Context, stream Stream, o Options) (Result, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := &receiver{
		o: o, stream: stream, asked: newQueue(), waiting: map[uint32]*file{},
		files: map[string]*content.Node{}, names: map[string]*names{}, inodes: map[inode]struct{}{}, doubts: newDoubts(o.All), result: Result{Contents: map[string]digest.Digest{}},
	}
	sent := make(chan error, 1)
	go func() {
		sent <- r.asked.send(ctx, stream)
	}()
	err := r.run(ctx)
	if err != nil {
		// The client waits for requests or for the end: it hears why there is none.
		r.asked.fail(err)
	}
	r.asked.close()
	select {
	case e := <-sent:
		if err == nil {
			err = e
		}
	case <-time.After(patience): // the client does not even read
		if err == nil {
			err = fmt.Errorf("the client does not read what it is told: %w", errdefs.ErrUnavailable)
		}
	}
	r.closeFiles()
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return r.result, err
}

// receiver is a transfer going on. Everything but the requests is done by the goroutine that reads.
type receiver struct {
	o      Options
	stream Stream
	asked  *queue
	total  int64

	root   *os.File // nil until something differs
	room   *sys.Room
	stack  []*frame
	next   uint32 // number of the next entry
	listed bool   // the listing is complete

	waiting map[uint32]*file // asked for, not here yet
	open    int
	files   map[string]*content.Node // regular files listed so far: what they were, if they still are
	doubts  doubts
	links   []link
	names   map[string]*names  // of files that have several, by the first
	inodes  map[inode]struct{} // of files that had several names and are kept
	dirs    []entry            // directories whose attributes are to be set in the end
	result  Result
}

// frame is a directory that the listing is in.
type frame struct {
	path  string
	entry entry
	old   []*content.Node // what it had, from where the listing has come to
	last  string          // name listed last
	dirty bool            // it is new, or changed, or something in it is: its attributes are to be set in the end
	left  bool            // the listing is past it
}

// entry is one thing listed.
type entry struct {
	path, target string
	mode         uint32 // as stat(2) has it
	size         int64
	uid, gid     int
	mtime        sys.Timespec
	rdev         uint64
	xattrs       map[string][]byte
}

func (r *receiver) run(ctx context.Context) error {
	top := &frame{}
	if r.o.Old != nil && r.o.Old.Root() != nil {
		var err error
		if top.old, err = r.o.Old.Kids(r.o.Old.Root()); err != nil {
			return err
		}
	}
	r.stack = []*frame{top}
	for {
		p, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("the client ended the transfer: %w", io.ErrUnexpectedEOF)
		}
		if err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		r.total += int64(p.SizeVT())
		if r.o.Progress != nil {
			r.o.Progress(r.total)
		}
		done, err := r.packet(p)
		if err != nil {
			return err
		}
		if done {
			return r.end()
		}
	}
}

// packet does what one message says. done tells that everything has come.
func (r *receiver) packet(p *types.Packet) (done bool, err error) {
	switch p.Type {
	case types.PACKET_ERR:
		return false, fmt.Errorf("error from sender: %s", p.Data)
	case types.PACKET_STAT:
		switch {
		case r.listed:
			return false, invalid("it goes on after its end")
		case p.Stat == nil:
			r.listed = true
			err = r.leave("")
		default:
			err = r.list(p.Stat)
			r.next++
		}
	case types.PACKET_DATA:
		err = r.data(p)
	case types.PACKET_FIN:
		return false, invalid("the transfer ended too soon")
	default:
		return false, invalid("unknown message %d", p.Type)
	}
	return r.listed && len(r.waiting) == 0, err
}

// end settles what could not be before, and says goodbye.
func (r *receiver) end() error {
	if err := r.linkAll(); err != nil {
		return err
	}
	if err := r.settle(); err != nil {
		return err
	}
	r.asked.finish()
	for {
		p, err := r.stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if p.Type == types.PACKET_ERR {
			return fmt.Errorf("error from sender: %s", p.Data)
		}
	}
}

// list takes one entry of the listing.
func (r *receiver) list(st *types.Stat) error {
	e, err := parse(st)
	if err != nil {
		return err
	}
	dir, base := path.Split(e.path)
	dir = strings.TrimSuffix(dir, "/")
	if err := r.leave(dir); err != nil {
		return err
	}
	f := r.stack[len(r.stack)-1]
	if f.path != dir || base <= f.last {
		return invalid("%q is out of order", e.path)
	}
	f.last = base
	old, err := r.former(f, base)
	if err != nil {
		return err
	}
	if dir == "" && later(e.mtime, r.result.Newest) {
		r.result.Newest = e.mtime
	}
	switch {
	case e.mode&sys.KindMask == sys.KindDir:
		return r.directory(f, e, old)
	case e.mode&sys.KindMask == sys.KindFile && e.target != "":
		return r.hardLink(f, e, old)
	}
	return r.other(f, e, old)
}

func later(a, b sys.Timespec) bool {
	return a.Sec > b.Sec || a.Sec == b.Sec && a.Nsec > b.Nsec
}

// former is what had the name before. What came before it and is not listed any more is removed.
func (r *receiver) former(f *frame, base string) (*content.Node, error) {
	for len(f.old) > 0 && f.old[0].Name() <= base {
		n := f.old[0]
		f.old = f.old[1:]
		if n.Name() == base {
			return n, nil
		}
		if err := r.remove(f, path.Join(f.path, n.Name())); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// leave ends the directories that dir is not in.
func (r *receiver) leave(dir string) error {
	for {
		f := r.stack[len(r.stack)-1]
		inside := f.path == "" || dir == f.path || strings.HasPrefix(dir, f.path+"/")
		if inside && !(r.listed && f.path == "") {
			return nil
		}
		for _, n := range f.old {
			if err := r.remove(f, path.Join(f.path, n.Name())); err != nil {
				return err
			}
		}
		f.old, f.left = nil, true
		if f.dirty && f.path != "" {
			r.dirs = append(r.dirs, f.entry)
		}
		if len(r.stack) == 1 {
			return nil
		}
		r.stack = r.stack[:len(r.stack)-1]
	}
}

// directory enters a directory, which is made when it is new.
func (r *receiver) directory(in *frame, e entry, old *content.Node) error {
	f := &frame{path: e.path, entry: e}
	if old != nil && old.Stat().Kind() == sys.KindDir {
		var err error
		if f.old, err = r.o.Old.Kids(old); err != nil {
			return err
		}
		f.dirty = !e.like(old)
	} else {
		err := r.place(in, e, old, func(dir sys.FD, name string) error { return sys.MkdirAt(dir, name, 0o700) })
		if err != nil {
			return err
		}
		f.dirty = true
	}
	r.stack = append(r.stack, f)
	return nil
}

// other takes a file, a link, a device or a fifo.
func (r *receiver) other(in *frame, e entry, old *content.Node) error {
	kind := e.mode & sys.KindMask
	same := old != nil && e.like(old) && !(kind == sys.KindFile && r.taken(old))
	if kind == sys.KindFile {
		r.files[e.path] = nil
		if same {
			r.files[e.path] = old
			r.doubt(in, e, old)
		}
	}
	if same {
		return nil
	}
	return r.place(in, e, old, func(dir sys.FD, name string) (err error) {
		switch kind {
		case sys.KindFile:
			r.ask(e)
			return nil
		case sys.KindSymlink:
			err = sys.SymlinkAt(e.target, dir, name)
		default:
			err = sys.MknodAt(dir, name, e.mode&(sys.KindMask|0o777), e.rdev)
		}
		if err != nil {
			return err
		}
		return e.apply(dir, name)
	})
}

// place makes something at an entry's path, where old was.
func (r *receiver) place(in *frame, e entry, old *content.Node, make func(dir sys.FD, name string) error) error {
	r.touch(in)
	if old != nil {
		if err := r.remove(in, e.path); err != nil {
			return err
		}
	}
	return r.within(e.path, make)
}

// touch notes that something in a directory changes, which changes its time.
func (r *receiver) touch(in *frame) {
	if in.left && !in.dirty && in.path != "" {
		r.dirs = append(r.dirs, in.entry)
	}
	in.dirty = true
}

func (r *receiver) remove(in *frame, name string) error {
	r.touch(in)
	return r.within(name, sys.RemoveTreeAt)
}

// settle gives directories their attributes: nothing is written into them any more.
func (r *receiver) settle() error {
	for _, e := range r.dirs {
		if err := r.within(e.path, e.apply); err != nil {
			return err
		}
	}
	return nil
}

// begin makes the tree that is written to.
func (r *receiver) begin() error {
	if r.root != nil {
		return nil
	}
	root, err := r.o.Begin()
	if err != nil {
		return err
	}
	r.root, r.room, r.result.Changed = root, sys.NewRoom(sys.Borrow(root)), true
	return nil
}

// within calls do with the directory of a path that was listed, which is where the listing said: no link leads there.
func (r *receiver) within(name string, do func(dir sys.FD, name string) error) error {
	if err := r.begin(); err != nil {
		return err
	}
	parent, base := path.Split(name)
	if parent == "" {
		parent = "."
	}
	dir, err := sys.OpenDirBelow(sys.Borrow(r.root), parent)
	runtime.KeepAlive(r.root)
	if err != nil {
		return err
	}
	defer dir.Close()
	if err := do(dir, base); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}
