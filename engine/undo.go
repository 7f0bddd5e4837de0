package engine

import (
	"errors"
	"sync"
)

// undo is what takes back the steps of a recipe, the last one first.
type undo struct{ steps []func() }

func (u *undo) push(step func()) { u.steps = append(u.steps, step) }

// onError runs the steps if the recipe failed. It is deferred at the head of a recipe.
func (u *undo) onError(err *error) {
	if *err == nil {
		return
	}
	for i := len(u.steps) - 1; i >= 0; i-- {
		u.steps[i]()
	}
}

// promise is a step under way.
type promise[T any] struct {
	done  chan struct{}
	value T
	err   error
}

// begin runs a step beside the ones that follow. Whoever begins it waits for it.
func begin[T any](step func() (T, error)) *promise[T] {
	p := &promise[T]{done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.value, p.err = step()
	}()
	return p
}

func (p *promise[T]) wait() (T, error) {
	<-p.done
	return p.value, p.err
}

// eachOf calls fn for every item, at most n at a time, and joins their errors.
func eachOf[T any](items []T, n int, fn func(T) error) error {
	errs := make([]error, len(items))
	slots := make(chan struct{}, n)
	var all sync.WaitGroup
	for i, item := range items {
		slots <- struct{}{}
		all.Go(func() {
			defer func() { <-slots }()
			errs[i] = fn(item)
		})
	}
	all.Wait()
	return errors.Join(errs...)
}
