package nft

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Watch tells when somebody deletes a table, or what is in it. Its goroutine ends with Close.
type Watch struct {
	name   string
	conn   *netlink.Conn
	closed atomic.Bool
	done   chan struct{}
}

// NewWatch calls gone after a table of this network namespace was deleted, whoever's it was, or rules, chains or sets of
// the tables called name, and when so much happened that some of it was missed.
func NewWatch(name string, gone func()) (*Watch, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	if err := conn.JoinGroup(unix.NFNLGRP_NFTABLES); err != nil {
		conn.Close()
		return nil, fmt.Errorf("watch nftables: %w", err)
	}
	w := &Watch{name: name, conn: conn, done: make(chan struct{})}
	go w.run(gone)
	return w, nil
}

func (w *Watch) run(gone func()) {
	defer close(w.done)
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
			call = call || w.concerns(m)
		}
		if call {
			gone()
		}
	}
}

// concerns tells whether m says that something was deleted that may be missed.
func (w *Watch) concerns(m netlink.Message) bool {
	const tables = unix.NFNL_SUBSYS_NFTABLES << 8
	switch m.Header.Type {
	case tables | unix.NFT_MSG_DELTABLE:
		return true
	case tables | unix.NFT_MSG_DELRULE, tables | unix.NFT_MSG_DELCHAIN, tables | unix.NFT_MSG_DELSET:
	default:
		return false
	}
	const head, nameOfTable = 4, 1 // the same in all of these
	if len(m.Data) < head {
		return false
	}
	all, err := netlink.UnmarshalAttributes(m.Data[head:])
	return err == nil && slices.ContainsFunc(all, func(a netlink.Attribute) bool {
		return a.Type == nameOfTable && string(bytes.TrimRight(a.Data, "\x00")) == w.name
	})
}

// Close ends the watch and waits for a call under way.
func (w *Watch) Close() error {
	w.closed.Store(true)
	err := w.conn.Close()
	<-w.done
	return err
}
