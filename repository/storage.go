package repository

import (
	"context"
	"io"
	"time"
)

// Object is what a Storage tells of one of its objects.
type Object struct {
	Key      string
	Size     int64
	Modified time.Time
}

// Storage keeps objects by key. A key is a slash-separated path without empty, "." and ".." elements, of letters, digits
// and "._-+=:@"; no key is the folder of another. Any method may be called at any time, also from several processes.
// What Put and Assemble have returned from is durable and what every later call, from anywhere, meets.
type Storage interface {
	Reader
	Writer
}

// Reader is the half of a Storage that changes nothing.
type Reader interface {
	// Open reads an object from offset on; the Object tells the size of the whole. An absent object is errdefs.ErrNotFound,
	// an offset behind its end errdefs.ErrOutOfRange. What was opened is read to its end, though it be replaced or deleted
	// meanwhile; where that cannot be had the reader fails, never ends early.
	Open(ctx context.Context, key string, offset int64) (io.ReadCloser, Object, error)
	// Stat tells of an object; an absent one is errdefs.ErrNotFound.
	Stat(ctx context.Context, key string) (Object, error)
	// List returns up to n objects (all, when n is 0 or less) whose key begins with prefix and sorts behind after, in the order
	// of their bytes.
	List(ctx context.Context, prefix, after string, n int) ([]Object, error)
}

// Writer is the half of a Storage that changes it.
type Writer interface {
	// Put stores what r gives up to its end, whole or not at all, in place of what was there. A size of -1 is one that is not
	// known; content of another size than told is errdefs.ErrFailedPrecondition. An error of r leaves everything as it was.
	Put(ctx context.Context, key string, r io.Reader, size int64) error
	// Assemble makes to of the objects from, one after another, in the storage itself; from stays. One that is absent
	// is errdefs.ErrNotFound. With one object in from it copies.
	Assemble(ctx context.Context, from []string, to string) error
	// Delete removes objects; that one is absent is no error.
	Delete(ctx context.Context, keys ...string) error
}
