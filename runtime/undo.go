package runtime

// undo is a stack of what has to be taken back when a later step fails, the last first.
type undo struct{ steps []func() }

func (u *undo) push(f func()) { u.steps = append(u.steps, f) }

func (u *undo) run() {
	for i := len(u.steps) - 1; i >= 0; i-- {
		u.steps[i]()
	}
	u.steps = nil
}
