package progress

import (
	"context"
	"errors"
	"testing"
)

func TestSlots(t *testing.T) {
	var s Slots
	s.Limit(1)
	s.Limit(0) // changes nothing
	done, err := s.Take(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	gone := errors.New("gone")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(gone)
	if _, err := s.Take(ctx); err != gone {
		t.Errorf("a second place of one: %v", err)
	}
	s.Limit(2)
	for range 2 {
		if _, err := s.Take(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	done() // into what there was before
	if _, err := s.Take(ctx); err != gone {
		t.Errorf("a third place of two: %v", err)
	}
}
