package source

import (
	"time"

	"github.com/cove-containers/cove/build/step"
)

// meter tells the clients how much has come of something.
type meter struct {
	env          *step.Env
	id           string
	total        int64
	current      int64
	began, shown time.Time
}

func newMeter(env *step.Env, id string, total int64) *meter {
	now := time.Now()
	m := &meter{env: env, id: id, total: max(total, 0), began: now, shown: now}
	m.say(nil)
	return m
}

func (m *meter) say(ended *time.Time) {
	if m.env.Progress != nil {
		m.env.Progress(step.Status{ID: m.id, Current: m.current, Total: m.total, Started: &m.began, Completed: ended})
	}
}

// set tells how much there is by now, at most ten times a second.
func (m *meter) set(current int64) {
	m.current = current
	if now := time.Now(); now.Sub(m.shown) > 100*time.Millisecond {
		m.shown = now
		m.say(nil)
	}
}

// Write counts.
func (m *meter) Write(p []byte) (int, error) {
	m.set(m.current + int64(len(p)))
	return len(p), nil
}

func (m *meter) end() {
	now := time.Now()
	m.say(&now)
}
