// Package state is the engine's one database: a bbolt file with a bucket for each keeper.
//
// What a user was told is durable before the answer leaves: Put and Delete return after the write has
// reached the disk. What can be read back from shims or the kernel (pids, running state) is not kept here.
// Writes that come while another is on its way to the disk share one transaction, and what may wait travels with the
// next that may not.
//
//	<data-root>/
//	    cove.db            the database; its lock also keeps a second engine out
package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/containerd/errdefs"
	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// Format is the number of the layout of the whole database, kept in bucket "meta".
const Format = "1"

// DB is an open database. It is safe for concurrent use.
type DB struct {
	bolt    *bolt.DB
	changes changes
}

// Open opens or creates the database at path. It fails with errdefs.ErrFailedPrecondition when another
// process holds it, and with errdefs.ErrFailedPrecondition when a newer engine wrote it.
func Open(path string) (*DB, error) {
	b, err := bolt.Open(path, 0o600, &bolt.Options{Timeout: 200 * time.Millisecond, FreelistType: bolt.FreelistMapType, NoFreelistSync: true})
	if errors.Is(err, bolterrors.ErrTimeout) {
		return nil, fmt.Errorf("open state %s: another engine is running on this data root: %w", path, errdefs.ErrFailedPrecondition)
	}
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	db := &DB{bolt: b}
	err = b.Update(func(tx *bolt.Tx) error {
		meta, err := tx.CreateBucketIfNotExists([]byte("meta"))
		if err != nil {
			return err
		}
		switch got := string(meta.Get([]byte("format"))); got {
		case Format:
			return nil
		case "":
			return meta.Put([]byte("format"), []byte(Format))
		default:
			return fmt.Errorf("format %q, this engine reads %q: %w", got, Format, errdefs.ErrFailedPrecondition)
		}
	})
	if err != nil {
		b.Close()
		return nil, fmt.Errorf("open state %s: %w", path, err)
	}
	return db, nil
}

// Close writes what was left for later, waits for running transactions and releases the lock.
func (db *DB) Close() error {
	return errors.Join(db.changes.close(db.bolt), db.bolt.Close())
}

// Update runs fn in a durable transaction: all its writes land, or none. fn may be called again where it shared the
// transaction with one that failed.
func (db *DB) Update(fn func(tx *Tx) error) error { return db.changes.now(db.bolt, fn) }

// Later runs fn in the transaction of the next Update, before it, or by itself after a moment: for what can be missing
// after a crash as long as it is not missed by anything later. Until then nobody sees it.
func (db *DB) Later(fn func(tx *Tx) error) { db.changes.later(db.bolt, fn) }

// View runs fn in a read transaction: it sees one moment of the whole database.
func (db *DB) View(fn func(tx *Tx) error) error {
	return db.bolt.View(func(tx *bolt.Tx) error { return fn(&Tx{tx}) })
}

// Tx is a transaction; valid only inside the function it was given to.
type Tx struct{ tx *bolt.Tx }

// Table is a named bucket of JSON documents of type T. The zero value is not usable; see NewTable.
type Table[T any] struct {
	db   *DB
	name []byte
}

// NewTable opens the bucket called name, creating it if needed.
func NewTable[T any](db *DB, name string) (*Table[T], error) {
	err := db.Update(func(tx *Tx) error {
		_, err := tx.tx.CreateBucketIfNotExists([]byte(name))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open table %s: %w", name, err)
	}
	return &Table[T]{db: db, name: []byte(name)}, nil
}

// Get returns the document under key, or errdefs.ErrNotFound.
func (t *Table[T]) Get(key string) (T, error) {
	var v T
	err := t.db.View(func(tx *Tx) error {
		var err error
		v, err = t.GetIn(tx, key)
		return err
	})
	return v, err
}

// GetIn is Get inside a transaction.
func (t *Table[T]) GetIn(tx *Tx, key string) (T, error) {
	var v T
	raw := tx.tx.Bucket(t.name).Get([]byte(key))
	if raw == nil {
		return v, fmt.Errorf("%s %q: %w", t.name, key, errdefs.ErrNotFound)
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		return v, fmt.Errorf("read %s %q: %w", t.name, key, err)
	}
	return v, nil
}

// Put stores v under key, durably.
func (t *Table[T]) Put(key string, v T) error {
	return t.db.Update(func(tx *Tx) error { return t.PutIn(tx, key, v) })
}

// PutLater is Put by way of Later.
func (t *Table[T]) PutLater(key string, v T) {
	t.db.Later(func(tx *Tx) error { return t.PutIn(tx, key, v) })
}

// PutIn is Put inside a transaction.
func (t *Table[T]) PutIn(tx *Tx, key string, v T) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("encode %s %q: %w", t.name, key, err)
	}
	return tx.tx.Bucket(t.name).Put([]byte(key), raw)
}

// Delete removes key, durably. Removing what is absent is no error.
func (t *Table[T]) Delete(key string) error {
	return t.db.Update(func(tx *Tx) error { return t.DeleteIn(tx, key) })
}

// DeleteLater is Delete by way of Later.
func (t *Table[T]) DeleteLater(key string) {
	t.db.Later(func(tx *Tx) error { return t.DeleteIn(tx, key) })
}

// DeleteIn is Delete inside a transaction.
func (t *Table[T]) DeleteIn(tx *Tx, key string) error {
	return tx.tx.Bucket(t.name).Delete([]byte(key))
}

// All returns every document of the table by key.
func (t *Table[T]) All() (map[string]T, error) {
	all := map[string]T{}
	err := t.db.View(func(tx *Tx) error {
		return tx.tx.Bucket(t.name).ForEach(func(k, raw []byte) error {
			var v T
			if err := json.Unmarshal(raw, &v); err != nil {
				return fmt.Errorf("read %s %q: %w", t.name, k, err)
			}
			all[string(k)] = v
			return nil
		})
	})
	return all, err
}
