package nft

import (
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch tells when somebody deletes a table. Its goroutine ends with Close.
type Watch struct {
	conn   *netlink.Conn
	closed atomic.Bool
	done   chan struct{}
}

// NewWatch calls gone after a table of this network namespace was deleted, whoever's it was, and when so much
// happened that some of it was missed.
func NewWatch(gone func()) (*Watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	w := &Watch{conn: conn, done: make(chan struct{})}
	go w.run(gone)
	return w, nil
}

func (w *Watch) run(gone func()) {
	defer close(w.done)
	const deleted = netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_DELTABLE)
	for {
		messages, err := w.conn.Receive()
		if w.closed.Load() {
			return
		}
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			if errors.Is(err, os.ErrClosed) || errors.Is(err, unix.EBADF) {
				return
			}
			continue
		}
		call := err != nil
		for _, m := range messages {
			call = call || m.Header.Type == deleted
		}
		if call {
			gone()
		}
	}
}

// Close ends the watch and waits for a call under way.
func (w *Watch) Close() error {
	w.closed.Store(true)
	err := w.conn.Close()
	<-w.done
	return err
}
