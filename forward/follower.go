package forward

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/containerd/errdefs"

	"github.com/cove-containers/cove/logs"
)

const (
	// waiting is how many lines are read ahead of a receiver, batch how many are sent at once.
	waiting, batch = 256, 128
	// longest is how much of one line is sent as one message.
	longest = 1 << 20
	// noteTime is how often it is noted how far a log was sent.
	noteTime = time.Second
	// shortPause and longPause bound the time between two tries to reach a receiver.
	shortPause, longPause = 100 * time.Millisecond, 5 * time.Second
)

// message is one line for a receiver.
type message struct {
	Source  string
	Time    time.Time
	Data    []byte // without the newline
	Partial bool   // the line goes on in the next message
}

// receiver takes messages. It connects when it must; after an error all messages of the call are sent again.
type receiver interface {
	send(ctx context.Context, batch []message) error
	close()
}

// follower sends one container's log.
type follower struct {
	id     string
	note   func(sent time.Time)
	log    *slog.Logger
	record record // Sent belongs to run

	mu    sync.Mutex
	path  string // of the log
	ended <-chan struct{}
	over  bool
}

// goOn has the follower go on until ended; false: it has come to its end already.
func (f *follower) goOn(ended <-chan struct{}) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.over {
		f.ended = ended
	}
	return !f.over
}

// moved tells where the log lies now.
func (f *follower) moved(path string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.path = path
}

// next is the log to read on and its end; false: there is no end but the one read to, of which last tells.
func (f *follower) next(last <-chan struct{}) (logs.Config, <-chan struct{}, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.over = f.ended == last
	cfg := f.record.Log
	cfg.Path = f.path
	return cfg, f.ended, !f.over
}

func (f *follower) run(ctx context.Context) {
	to, err := receivers[f.record.Driver](f.record.Target)
	if err != nil { // it was checked when the container was made
		f.log.Error("cannot send a container's log", "container", f.id, "error", err)
		return
	}
	defer to.close()
	var last <-chan struct{}
	for {
		cfg, ended, more := f.next(last)
		if !more || ctx.Err() != nil {
			return
		}
		last = ended
		if err := f.read(ctx, cfg, ended, to); err != nil && ctx.Err() == nil {
			f.log.Error("could not read a container's log to send it", "container", f.id, "error", err)
			select {
			case <-ctx.Done():
			case <-time.After(longPause):
				last = nil
			}
		}
	}
}

// read sends the log from where it was sent to until ended.
func (f *follower) read(ctx context.Context, cfg logs.Config, ended <-chan struct{}, to receiver) error {
	lines := make(chan message, waiting)
	var sending sync.WaitGroup
	sending.Go(func() { f.deliver(ctx, lines, to) })
	defer sending.Wait()
	defer close(lines)
	query := logs.Query{Tail: -1, Follow: true, Stdout: true, Stderr: true}
	if !f.record.Sent.IsZero() {
		query.Since = f.record.Sent.Add(1)
	}
	var joins = map[string]*message{}
	err := logs.Read(ctx, cfg, query, ended, func(line logs.Line) error {
		m := joined(joins, line)
		if m == nil {
			return nil
		}
		select {
		case lines <- *m:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	})
	if errdefs.IsNotFound(err) {
		return nil
	}
	if err != nil || ctx.Err() != nil {
		return err
	}
	// What the program has left open ends with it.
	for _, m := range joins {
		select {
		case lines <- *m:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// joined puts the records of a long line together; nil: there are more to come.
func joined(open map[string]*message, line logs.Line) *message {
	m := open[line.Source]
	if m == nil {
		m = &message{Source: line.Source}
		open[line.Source] = m
	}
	m.Time, m.Data = line.Time, append(m.Data, line.Data...)
	if line.Partial && len(m.Data) < longest {
		return nil
	}
	m.Partial = line.Partial
	m.Data = bytes.TrimSuffix(m.Data, []byte("\n"))
	delete(open, line.Source)
	return m
}

// deliver sends what comes, and tries again until the receiver has it.
func (f *follower) deliver(ctx context.Context, lines <-chan message, to receiver) {
	var noted time.Time
	defer func() { f.note(f.record.Sent) }()
	for first := range lines {
		list := []message{first}
		for more := true; more && len(list) < batch; {
			select {
			case m, ok := <-lines:
				if more = ok; ok {
					list = append(list, m)
				}
			default:
				more = false
			}
		}
		if !f.insist(ctx, list, to) {
			continue
		}
		f.record.Sent = list[len(list)-1].Time
		if time.Since(noted) > noteTime {
			noted = time.Now()
			f.note(f.record.Sent)
		}
	}
}

// insist sends messages until the receiver has them; false: ctx ended before.
func (f *follower) insist(ctx context.Context, list []message, to receiver) bool {
	pause := shortPause
	for ctx.Err() == nil {
		err := to.send(ctx, list)
		if err == nil {
			return true
		}
		if pause == shortPause {
			f.log.Warn("a receiver of logs does not take them; trying on", "container", f.id, "driver", f.record.Driver, "error", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, longPause)
	}
	return false
}
