package state

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"
)

// Check reads the whole database and holds its pages against one another. It tells how many records there are and what is
// wrong.
func (db *DB) Check(ctx context.Context) (records int, faults []error, err error) {
	// In a transaction that could write, so that nobody else does meanwhile.
	tx, err := db.bolt.Begin(true)
	if err != nil {
		return 0, nil, fmt.Errorf("check state: %w", err)
	}
	defer tx.Rollback()
	for fault := range tx.Check() {
		faults = append(faults, fault)
	}
	err = tx.ForEach(func(_ []byte, b *bolt.Bucket) error {
		records += b.Stats().KeyN
		return ctx.Err()
	})
	return records, faults, err
}
